"""Everything that was compared, and what it would take to run the check again."""

from __future__ import annotations

import json
from typing import Any

from skew_checks.formats.report_json import plain
from skew_checks.formats.wording import BY_SEVERITY, clipped, instant, percent, window_words
from skew_checks.page.limits import Limits
from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.signs import cell, more, pill, row_head, section, table, text_cell
from skew_checks.result.parts import Status
from skew_checks.result.report import FeatureResult, SkewReport

HEADS = [("feature", "name"), ("view", ""), ("compared", ""), ("status", ""), ("differ", "n"), ("of", "n")]
HEADS += [("counted", ""), ("share", "n"), ("surely over", "n"), ("allowed", "n")]
DEPTH = 4
"""Of nested manifest entries; below, they are JSON."""


def features(report: SkewReport, limits: Limits) -> Html | None:
    """Worst first; None for a check that came to nothing."""
    if not report.features:
        return None
    ordered = sorted(report.features, key=_order)[: limits.features]
    rows = [_row(one, limits) for one in ordered]
    counted = {status: sum(one.status is status for one in report.features) for status in BY_SEVERITY}
    lead = ", ".join(f"{number:,} {_word(status)}" for status, number in counted.items() if number)
    content = tag("div", table(HEADS, rows, "All features", tall=True), class_="card")
    left = more(len(report.features) - len(rows), "comparisons")
    return section("features", "Features", f"Everything that was compared: {lead}.", content, left)


def _word(status: Status) -> str:
    return "without enough data" if status is Status.INSUFFICIENT else status.value


def _order(one: FeatureResult) -> tuple[int, bool, float, str]:
    return BY_SEVERITY[one.status], one.follows, -one.rate.share, one.feature


def _row(one: FeatureResult, limits: Limits) -> list[Html]:
    kind = "model column" if one.is_model_column else "stored value"
    follows = tag("div", "follows from stored values", class_="soft small") if one.follows else None
    return [
        row_head(tag("code", breakable(clipped(one.feature, limits.text)))),
        text_cell(clipped(one.view, limits.text)),
        cell((tag("span", kind, class_="t"), follows)),
        cell(pill(one.status)),
        cell(f"{one.rate.bad:,}", "n"),
        cell(f"{one.rate.units:,}", "n"),
        cell(one.unit.value, "t"),
        cell(percent(one.rate.share), "n"),
        cell(percent(one.rate.lower), "n"),
        cell(percent(one.rate.budget), "n"),
    ]


def manifest(report: SkewReport, limits: Limits) -> Html:
    """The window, and all that the check says of itself."""
    entries: list[tuple[str, str]] = [
        ("window", window_words(report.window)),
        ("first instant", instant(report.window.start)),
        ("before", instant(report.window.end)),
        ("checked at", instant(report.checked_at)),
        ("bundles", ", ".join(report.bundles) or "none"),
        ("exit code", f"{report.exit_code}"),
    ]
    entries += [(f"volume {name}", f"{value:,}") for name, value in plain(report.volume).items()]
    entries += _flat(plain(report.manifest))
    rows = [
        [
            row_head(breakable(clipped(name, limits.text))),
            cell(breakable(clipped(value, 8 * limits.text)), "w"),
        ]
        for name, value in entries[: limits.manifest]
    ]
    content = tag("div", table([("what", "name"), ("value", "w")], rows, "Manifest"), class_="card")
    left = more(len(entries) - len(rows), "entries")
    return section("manifest", "Manifest", "What it takes to run this check again.", content, left)


def _flat(values: Any, above: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Nested objects as dotted names."""
    if isinstance(values, dict) and values and len(above) < DEPTH:
        return [entry for name, inner in values.items() for entry in _flat(inner, (*above, str(name)))]
    text = values if isinstance(values, str) else json.dumps(values, ensure_ascii=False)
    return [(".".join(above) or "manifest", text)]
