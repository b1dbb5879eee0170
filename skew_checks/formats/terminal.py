"""A skew report for the terminal: the same verdict as on the page, whole on 80 columns."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from skew_checks.formats.cause_help import HELP
from skew_checks.formats.report_files import Written
from skew_checks.formats.wording import (
    BY_SEVERITY,
    OUTCOME_STATUS,
    OUTCOME_WORDS,
    clipped,
    count,
    duration,
    effect_words,
    feature_list,
    instant,
    percent,
    rate_words,
    shown,
    window_words,
)
from skew_checks.result.parts import Outcome, Status
from skew_checks.result.population import Drift
from skew_checks.result.report import Defect, EvidenceRow, SkewReport

STYLES = {
    Status.FAIL: "bold red",
    Status.WARN: "bold yellow",
    Status.OK: "bold green",
    Status.INSUFFICIENT: "bold",
}
SHOWN_DEFECTS, SHOWN_FEATURES, SHOWN_DRIFT, SHOWN_NOTES = 12, 6, 10, 12
TEXT = 160
"""Most characters of one value."""
IN_JSON = "in the JSON report"
REPLAYED = "replayed"


def render(report: SkewReport) -> RenderableType:
    """The verdict, its extent, the defects by harm, freshness, drift, notes. Colour only repeats words."""
    status = OUTCOME_STATUS[report.outcome]
    head = Text.assemble((OUTCOME_WORDS[report.outcome], STYLES[status]), "  ", report.sentence)
    parts: list[RenderableType] = [head, Text(_extent(report), style="dim")]
    for place, defect in enumerate(report.defects[:SHOWN_DEFECTS], 1):
        parts += [Text(""), _defect(place, defect, one_bundle=len(report.bundles) <= 1)]
    parts += _left(len(report.defects) - SHOWN_DEFECTS, "defects")
    parts += [*_block("freshness", _freshness(report)), *_drift_block(report)]
    follows = tuple(dict.fromkeys(one.feature for one in report.features if one.follows))
    if follows:
        told = f"model columns that differ only because of stored values: {feature_list(follows, 12)}"
        parts += [Text(""), Text(told)]
    notes = [Text(note) for note in report.notes[:SHOWN_NOTES]]
    return Group(*parts, *_block("notes", notes), *_left(len(report.notes) - SHOWN_NOTES, "notes"))


def render_written(written: Written, outcome: Outcome) -> RenderableType:
    """Where to read on, and the exit code with its meaning."""
    words = {
        Outcome.OK: "ok",
        Outcome.WARN: "warn",
        Outcome.FAIL: "fail",
        Outcome.NOT_ENOUGH: "not enough data",
        Outcome.INTERNAL: "the check failed",
    }
    lines = _lines()
    lines.add_row("page", Text(str(written.html), overflow="fold"))
    lines.add_row("also", Text(", ".join(path.suffix for path in (written.json, written.xml, written.prom))))
    lines.add_row("exit code", f"{int(outcome)}, {words[outcome]}")
    return Group(Text(""), lines)


def _extent(report: SkewReport) -> str:
    volume = report.volume
    told = [
        count(volume.requests, "request"),
        count(volume.rows, "candidate row"),
        count(volume.features, "feature"),
        f"{count(volume.values, 'value')} compared",
    ]
    if volume.dropped:
        told.append(f"{percent(volume.drop_share)} dropped by the log")
    if volume.degraded:
        told.append(f"{count(volume.degraded, 'degraded request')} not judged")
    if volume.duplicates:
        told.append(count(volume.duplicates, "duplicate log row"))
    bundles = ", ".join(report.bundles) or "no bundle"
    return f"{window_words(report.window)}: {', '.join(told)}; {bundles}"


def _defect(place: int, defect: Defect, *, one_bundle: bool) -> RenderableType:
    head = Text.assemble(
        f"{place}. ", (defect.status.value.upper(), STYLES[defect.status]), "  ", (defect.headline, "bold")
    )
    lines = _lines()
    told = HELP[defect.cause]
    where = defect.view if one_bundle else f"{defect.view}, bundle {defect.bundle}"
    lines.add_row("cause", Text(f"{defect.cause.value}: {told.meaning}"))
    lines.add_row("in", Text(f"{where}: {feature_list(defect.features, SHOWN_FEATURES)}"))
    lines.add_row("differ", Text(rate_words(defect.rate, defect.unit.value)))
    lines.add_row("since", Text(instant(defect.since)))
    lines.add_row("ranking", Text(effect_words(defect.effect)))
    for name, fact in zip(["seen", "", ""], defect.facts, strict=False):
        lines.add_row(name, Text(clipped(fact, 2 * TEXT)))
    if defect.evidence:
        lines.add_row("example", Text(_example(defect.evidence[0])))
    lines.add_row("to do", Text(f"{told.mend} ({told.page(defect.cause)})"))
    lines.add_row("replay", Text(defect.command))
    return Group(head, Padding(lines, (0, 0, 0, 3)))


def _example(row: EvidenceRow) -> str:
    return (
        f"served {shown(row.served, TEXT)}, offline {shown(row.offline, TEXT)} (user {clipped(row.user_id, 60)}, "
        f"item {clipped(row.item_id, 60)}, request {clipped(row.request_id, 60)})"
    )


def _freshness(report: SkewReport) -> list[Text]:
    behind = [one for one in report.freshness if one.status is not Status.OK]
    return [
        Text(
            f"{one.view}: {percent(one.lagging.share)} of rows read were past the target of "
            f"{duration(one.target_seconds)} ({one.status.value})"
        )
        for one in behind
    ]


def _drift_block(report: SkewReport) -> list[RenderableType]:
    told = [one for one in report.drift if one.status in (Status.FAIL, Status.WARN)]
    found = sorted(told, key=lambda one: BY_SEVERITY[one.status])
    wrong = {feature for defect in report.defects for feature in defect.features}
    paired = [one for one in found if one.against == REPLAYED and one.feature not in wrong]
    moved = [one for one in found if one.against != REPLAYED]
    unknown = dict.fromkeys(one.feature for one in report.drift if one.status is Status.INSUFFICIENT)
    last = [Text(f"too little data to tell of {count(len(unknown), 'feature')}")] if unknown else []
    return [
        *_block("served otherwise distributed than replayed (skew)", _drifts(paired)),
        *_block("drift (another population, no defect)", [*_drifts(moved), *last]),
    ]


def _drifts(found: list[Drift]) -> list[Text]:
    return [*(Text(_drift(one)) for one in found[:SHOWN_DRIFT]), *_left(len(found) - SHOWN_DRIFT, "features")]


def _drift(one: Drift) -> str:
    beyond = [test for test in one.tests if test.status is one.status]
    told = ", ".join(f"{test.statistic} {test.value:.3g} of {test.tolerance:.3g}" for test in beyond[:3])
    effect = f"; {effect_words(one.effect)}" if one.effect else ""
    return f"{one.feature} against {one.against}: {one.status.value}{', ' + told if told else ''}{effect}"


def _block(name: str, lines: Iterable[RenderableType]) -> list[RenderableType]:
    """A heading with its lines; nothing where there are none."""
    listed = [Padding(line, (0, 0, 0, 3)) for line in lines]
    return [Text(""), Text(name, style="bold"), *listed] if listed else []


def _left(left: int, what: str) -> list[Text]:
    return [Text(f"... and {left} more {what} {IN_JSON}", style="dim")] if left > 0 else []


def _lines() -> Table:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    return lines
