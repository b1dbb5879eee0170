"""A verdict for people and for machines."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from skew_checks.verdict import Example, Finding, Outcome, Verdict

HEADLINES = {
    Outcome.CLEAN: "clean: what was served is what the training join gives",
    Outcome.MISMATCHES: "skew: served values differ from what the training join gives",
    Outcome.TOO_LITTLE: "not enough data to judge",
}
SHOWN_ENTRIES = 4
"""Of a list value."""
SHOWN_GROUPS, SHOWN_FEATURES, SHOWN_EXAMPLES, SHOWN_FOLLOWERS = 20, 6, 10, 20


def render(verdict: Verdict) -> RenderableType:
    """For the terminal, about one screen: headline, what differs, examples, notes; the JSON has all of it."""
    parts: list[RenderableType] = [Text(_headline(verdict)), Text(_extent(verdict))]
    groups = _groups(verdict.causes)
    if groups:
        shown = groups[:SHOWN_GROUPS]
        parts += [_table(shown, one_bundle=len(verdict.bundles) == 1), *_examples(shown)]
    if len(groups) > SHOWN_GROUPS:
        parts.append(Text(f"... and {len(groups) - SHOWN_GROUPS} more lines of the kind in the JSON report"))
    follows = list(dict.fromkeys(finding.feature for finding in verdict.findings if finding.follows))
    if follows:
        names = _listed(follows, SHOWN_FOLLOWERS)
        parts.append(Text(f"model columns that differ only because of stored values above: {names}"))
    parts += [Text(f"note: {note}") for note in verdict.notes]
    return Group(*parts)


def write(verdict: Verdict, reports: Path, *, now: datetime) -> Path:
    """The whole verdict as JSON, named after the window's day, else after today; returns the file."""
    reports.mkdir(parents=True, exist_ok=True)
    path = reports / f"skew-{verdict.window.start or now:%Y-%m-%d}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(to_json(verdict, now=now), indent=1, allow_nan=False))
    partial.replace(path)
    return path


def to_json(verdict: Verdict, *, now: datetime) -> dict[str, Any]:
    """Plain JSON; instants in ISO 8601, NaN and missing as null."""
    content = {
        "checked_at": now,
        "outcome": verdict.outcome.name.lower(),
        "exit_code": int(verdict.outcome),
        **dataclasses.asdict(verdict),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _headline(verdict: Verdict) -> str:
    headline = HEADLINES[verdict.outcome]
    if verdict.outcome is Outcome.TOO_LITTLE:
        wanted = verdict.minimum
        return f"{headline}: wanted {wanted.requests:,} requests and {wanted.rows:,} candidate rows"
    return headline


def _extent(verdict: Verdict) -> str:
    bundles = ", ".join(verdict.bundles) or "no bundle"
    return (
        f"{verdict.requests:,} requests, {verdict.rows:,} candidate rows, {verdict.features:,} features, "
        f"{verdict.values:,} values compared; {bundles}"
    )


def _groups(findings: tuple[Finding, ...]) -> list[list[Finding]]:
    """Features of one view that look alike, together: a view that lags is one line, not forty."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        alike = (finding.bundle, finding.kind, finding.view, finding.hint.split(" (")[0])
        groups.setdefault(alike, []).append(finding)
    return list(groups.values())


def _table(groups: list[list[Finding]], *, one_bundle: bool) -> Table:
    """A line per group, with the numbers and the hint of its worst feature."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("feature", overflow="fold", ratio=2)
    table.add_column("kind")
    table.add_column("view", overflow="fold")
    for name in ("differ", "share", "entities"):
        table.add_column(name, justify="right")
    table.add_column("looks like", overflow="fold", ratio=3)
    for group in groups:
        worst = group[0]
        table.add_row(
            _listed([finding.feature for finding in group], SHOWN_FEATURES),
            worst.kind,
            worst.view,
            f"{worst.mismatches:,} of {worst.rows:,}",
            f"{worst.share:.1%}",
            f"{worst.entities:,}",
            worst.hint + ("" if one_bundle else f" (bundle {worst.bundle})"),
        )
    return table


def _listed(names: list[str], most: int) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _examples(groups: list[list[Finding]]) -> list[Text]:
    """The first example of each group's worst feature."""
    worst = [group[0] for group in groups[:SHOWN_EXAMPLES]]
    return [Text(f"{finding.feature} ({finding.kind}): {_example(finding.examples[0])}") for finding in worst]


def _example(example: Example) -> str:
    return (
        f"request {example.request_id}, user {example.user_id}, item {example.item_id}: "
        f"served {_shown(example.served)}, offline {_shown(example.offline)}"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list):
        listed = ", ".join(_shown(entry) for entry in value[:SHOWN_ENTRIES])
        return f"[{listed}{', ...' if len(value) > SHOWN_ENTRIES else ''}] ({len(value)})"
    return f"{value:.9g}" if isinstance(value, float) else str(value)
