"""What an A/A trial found, as JSON, as text, and as a page that loads nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ranking_service.training.baseline.bins import Kind
from skew_checks.distributions.settings import DriftSettings
from skew_checks.distributions.trial import LEVELS, Calibration, Floats

SCHEMA = 1
POINTS = 100
"""Of each curve."""
NAMES = {
    Kind.USER: "features of users",
    Kind.ITEM: "features of items",
    Kind.PAIR: "of pairs and requests",
}
COLOURS = {Kind.USER: "#2563eb", Kind.ITEM: "#d97706", Kind.PAIR: "#059669"}
SIZE, EDGE = 420, 56
"""Pixels of the plot, and of the room around it."""
BAR = 24


def to_json(found: Calibration, settings: DriftSettings, *, source: str, now: datetime) -> dict[str, Any]:
    """Curves are [expected, observed] quantiles of the p-values of any difference."""
    return {
        "schema": SCHEMA,
        "checked_at": now.isoformat(),
        "source": source,
        "splits": found.splits,
        "seed": found.seed,
        "features": found.features,
        "users": found.users,
        "requests": found.requests,
        "rows": found.rows,
        "false_alarm_nights": found.false_nights,
        "false_fail_nights": found.failed_nights,
        "features_judged": found.judged,
        "false_discovery_rate": settings.false_discovery_rate,
        "tolerances": dict(settings.tolerances),
        "p_values": {
            str(kind): {
                "tests": len(found.p_any[kind]),
                "share_at_most": dict(zip(map(str, LEVELS), rates, strict=True)),
                "curve": [[round(x, 4), round(y, 4)] for x, y in curve(found.p_any[kind])],
            }
            for kind, rates in found.rates().items()
        },
    }


def curve(p_values: Floats) -> list[tuple[float, float]]:
    """(expected, observed) quantiles; on the diagonal where p-values are uniform, above it where they are too large."""
    at = (np.arange(POINTS) + 0.5) / POINTS
    return list(zip(at.tolist(), np.quantile(p_values, at).tolist(), strict=True))


def to_text(found: Calibration) -> str:
    """For the terminal, 80 columns at most."""
    lines = [
        f"{found.splits} splits of {found.users:,} users, {found.requests:,} requests, {found.features} features",
        "",
        f"false alarms   {found.false_nights:7.1%} of nights named any feature as changed",
        f"               {found.failed_nights:7.1%} of nights had one past three tolerances",
        f"judged         {found.judged:7.1%} of features had enough data",
        "",
        "p-values of any difference: share at most the nominal level (equal is right)",
        f"{'nominal':24}" + "".join(f"{level:>9.0%}" for level in LEVELS),
    ]
    for kind, rates in found.rates().items():
        lines.append(f"{NAMES[kind]:24}" + "".join(f"{rate:>9.1%}" for rate in rates))
    for kind, values in found.p_any.items():
        lines += ["", f"{NAMES[kind]}: p-values by tenths (| is a tenth of them)", *_bars(values)]
    return "\n".join(lines)


def _bars(values: Floats) -> list[str]:
    shares = np.histogram(values, bins=10, range=(0, 1))[0] / len(values)
    lines = []
    for tenth, share in enumerate(shares.tolist()):
        bar = list("#" * min(round(share * 10 * BAR), 2 * BAR) + " " * (2 * BAR))[: 2 * BAR]
        bar[BAR - 1] = "|"
        lines.append(
            f"  {tenth / 10:.1f}-{(tenth + 1) / 10:.1f} {''.join(bar).rstrip():{2 * BAR}} {share:6.1%}"
        )
    return lines


def to_page(raw: Mapping[str, Any]) -> str:
    """One HTML page from `to_json`'s answer."""
    rows = "".join(
        f"<tr><th>{NAMES[Kind(kind)]}</th>"
        + "".join(f"<td>{share:.1%}</td>" for share in each["share_at_most"].values())
        + f"<td>{each['tests']:,}</td></tr>"
        for kind, each in raw["p_values"].items()
    )
    levels = "".join(f"<th>{float(level):.0%}</th>" for level in LEVELS)
    facts = (
        f"{raw['splits']} random splits of {raw['users']:,} users ({raw['requests']:,} requests, {raw['rows']:,} rows, "
        f"{raw['features']} features) from the {escape(str(raw['source']))}, seed {raw['seed']}, "
        f"{escape(raw['checked_at'])}."
    )
    return PAGE.format(
        nights=f"{raw['false_alarm_nights']:.1%}",
        fails=f"{raw['false_fail_nights']:.1%}",
        judged=f"{raw['features_judged']:.1%}",
        facts=facts,
        levels=levels,
        rows=rows,
        plot=_plot(raw["p_values"]),
    )


def _plot(p_values: Mapping[str, Any]) -> str:
    def at(x: float, y: float) -> str:
        return f"{EDGE + x * SIZE:.1f},{EDGE + (1 - y) * SIZE:.1f}"

    lines = [
        f'<polyline points="{" ".join(at(x, y) for x, y in each["curve"])}" fill="none" stroke-width="2.5" '
        f'stroke="{COLOURS[Kind(kind)]}"><title>{NAMES[Kind(kind)]}</title></polyline>'
        for kind, each in p_values.items()
    ]
    names = [
        f'<text x="{EDGE + 12}" y="{EDGE + 20 + 20 * place}" fill="{COLOURS[Kind(kind)]}">{NAMES[Kind(kind)]}</text>'
        for place, kind in enumerate(p_values)
    ]
    ticks = [
        f'<text x="{EDGE + tick * SIZE:.0f}" y="{EDGE + SIZE + 18}" text-anchor="middle">{tick:g}</text>'
        f'<text x="{EDGE - 8}" y="{EDGE + (1 - tick) * SIZE + 4:.0f}" text-anchor="end">{tick:g}</text>'
        for tick in (0, 0.25, 0.5, 0.75, 1)
    ]
    whole = SIZE + 2 * EDGE
    return (
        f'<svg viewBox="0 0 {whole} {whole}" role="img" aria-label="Quantiles of p-values against uniform ones">'
        f'<rect x="{EDGE}" y="{EDGE}" width="{SIZE}" height="{SIZE}" class="frame"/>'
        f'<polyline points="{at(0, 0)} {at(1, 1)}" class="diagonal"/>{"".join(lines + names + ticks)}'
        f'<text x="{whole / 2}" y="{whole - 6}" text-anchor="middle">uniform p-value</text>'
        f'<text x="14" y="{whole / 2}" text-anchor="middle" transform="rotate(-90 14 {whole / 2})">p-value found</text>'
        "</svg>"
    )


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Calibration of the drift checks</title>
<style>
:root {{ color-scheme: light dark; --line: #8886; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }}
svg {{ width: 100%; max-width: 32rem; height: auto; font-size: 13px; fill: currentColor; }}
.frame {{ fill: none; stroke: var(--line); }} .diagonal {{ fill: none; stroke: currentColor; stroke-dasharray: 5 5; }}
div {{ overflow-x: auto; }} table {{ border-collapse: collapse; }}
th, td {{ padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }}
th:first-child {{ text-align: left; }} strong {{ font-size: 1.4rem; }}
</style>
<h1>Do the drift checks cry wolf?</h1>
<p><strong>{nights}</strong> of nights in which nothing differs would have named a feature as changed;
<strong>{fails}</strong> would have found one past three tolerances. {judged} of features had enough data.</p>
<p>{facts} Each split judges one half of the users against the other; nothing differs but who they are.</p>
<h2>p-values of any difference</h2>
<p>Share of p-values at most the nominal level; equal to it is right, below it is cautious, above it cries wolf.</p>
<div><table><tr><th>nominal</th>{levels}<th>tests</th></tr>{rows}</table></div>
<p>Quantiles found against those of uniform p-values: a curve above the diagonal is cautious, below it cries wolf.</p>
{plot}
</html>
"""


def write(raw: Mapping[str, Any], folder: Path, *, now: datetime) -> tuple[Path, Path]:
    """`skew-calibration-<time>.json` and `.html`."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = (folder / f"skew-calibration-{now:%Y%m%dT%H%M%S}.{kind}" for kind in ("json", "html"))
    data.write_text(json.dumps(raw, indent=1, allow_nan=False), encoding="utf-8")
    page.write_text(to_page(raw), encoding="utf-8")
    return data, page
