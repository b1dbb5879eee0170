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

from skew_checks.verdict import ChangedTransform, Example, Finding, Kind, Outcome, Verdict

HEADLINES = {
    Outcome.CLEAN: "clean: what was served is what the training join gives",
    Outcome.MISMATCHES: "skew: served values differ from what the training join gives",
    Outcome.TOO_LITTLE: "not enough data to judge",
}
CHANGED_CODE = "skew: transforms run other code than the model was trained on; the values compared agree"
SHOWN_ENTRIES = 4
"""Of a list value."""
SHOWN_GROUPS, SHOWN_FEATURES, SHOWN_FOLLOWERS = 20, 6, 20


def render(verdict: Verdict) -> RenderableType:
    """For the terminal, about one screen: headline, what differs, examples, notes; the JSON has all of it."""
    parts: list[RenderableType] = [Text(_headline(verdict)), Text(_extent(verdict))]
    groups = _groups(verdict.causes)
    one_bundle = len(verdict.bundles) == 1
    parts += [_code_block(changed) for changed in verdict.changed_transforms]
    parts += [_block(group, one_bundle=one_bundle) for group in groups[:SHOWN_GROUPS]]
    if len(groups) > SHOWN_GROUPS:
        parts.append(Text(f"... and {len(groups) - SHOWN_GROUPS} more of the kind in the JSON report"))
    follows = list(dict.fromkeys(finding.feature for finding in verdict.findings if finding.follows))
    if follows:
        names = _listed(follows, SHOWN_FOLLOWERS)
        parts.append(Text(f"\nmodel columns that differ only because of the values above: {names}"))
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
    if verdict.changed_transforms and not verdict.findings:
        return CHANGED_CODE
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


def _code_block(changed: ChangedTransform) -> RenderableType:
    lines = _lines()
    lines.add_row("  what", Text(f"code of a transform, bundle {changed.bundle}"))
    lines.add_row("  features", Text(_listed(list(changed.features), SHOWN_FOLLOWERS)))
    lines.add_row("  looks like", Text(changed.hint))
    return Group(Text(""), Text(changed.name, style="bold"), lines)


def _block(group: list[Finding], *, one_bundle: bool) -> RenderableType:
    """One group: its features, then the numbers, the hint and an example of its worst feature."""
    worst = group[0]
    lines = _lines()
    subject = "value" if worst.kind is Kind.RAW else "model column"
    lines.add_row(
        "  what", Text(f"{subject} of {worst.view}" + ("" if one_bundle else f", bundle {worst.bundle}"))
    )
    lines.add_row("  differ", Text(_numbers(worst)))
    lines.add_row("  looks like", Text(worst.hint))
    lines.add_row("  example", Text(_example(worst.examples[0])))
    names = _listed([finding.feature for finding in group], SHOWN_FEATURES)
    return Group(Text(""), Text(names, style="bold"), lines)


def _lines() -> Table:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    return lines


def _numbers(finding: Finding) -> str:
    keys = " x ".join(key.removesuffix("_id") for key in finding.keyed_by)
    return (
        f"{finding.mismatches:,} of {finding.rows:,} ({finding.share:.1%}), "
        f"{finding.entities:,} different {keys} keys"
    )


def _listed(names: list[str], most: int) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _example(example: Example) -> str:
    return (
        f"served {_shown(example.served)}, offline {_shown(example.offline)} "
        f"(user {example.user_id}, item {example.item_id}, request {example.request_id})"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list):
        listed = ", ".join(_shown(entry) for entry in value[:SHOWN_ENTRIES])
        return f"[{listed}{', ...' if len(value) > SHOWN_ENTRIES else ''}] ({len(value)})"
    return f"{value:.9g}" if isinstance(value, float) else str(value)
