"""Nights side by side for the terminal, on 80 columns."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from skew_checks.formats.history import Course, History, Night, sentence
from skew_checks.formats.terminal import STYLES
from skew_checks.formats.wording import OUTCOME_STATUS, OUTCOME_WORDS, clipped, percent
from skew_checks.result.parts import Outcome, Status

SIGNS = {Status.FAIL: "F", Status.WARN: "w", Status.OK: ".", Status.INSUFFICIENT: "?"}
STRIP = 30
"""Most nights of a strip, the last ones."""


def render_history(history: History, *, nights: int = 14, courses: int = 20) -> RenderableType:
    """What is open, each defect's nights as a strip of letters, then the last nights."""
    parts: list[RenderableType] = [Text(sentence(history), style="bold")]
    found = history.courses()
    if found:
        parts += [Text(""), _courses(history, found[:courses])]
        parts.append(
            Text(
                "each letter a night: F fail, w warn, . none, ? not judged; newest at the right", style="dim"
            )
        )
    if len(found) > courses:
        parts.append(Text(f"... and {len(found) - courses} more defects", style="dim"))
    if history.nights:
        parts += [Text(""), _nights(history.nights[-nights:])]
    if any(night.label.endswith("*") for night in history.nights):
        parts.append(Text("* no whole day, or a sample: does not compare with the others", style="dim"))
    if history.unreadable:
        parts += [Text(""), Text("not readable, left out:", style="bold")]
        parts += [Text(f"   {one.path.name}: {one.why}") for one in history.unreadable]
    return Group(*parts)


def _courses(history: History, courses: tuple[Course, ...]) -> Table:
    table = _table()
    table.add_column("since", no_wrap=True)
    table.add_column("nights", no_wrap=True)
    table.add_column("worst", no_wrap=True, justify="right")
    table.add_column("defect", overflow="fold")
    for course in courses:
        view, cause = course.key
        since = history.since(course)
        table.add_row(
            Text(since.label if since else "over", style=STYLES[course.worst.status] if since else "dim"),
            Text(_strip(history, course)),
            percent(course.worst.rate.share),
            Text(f"{view}: {cause.value}"),
        )
    return table


def _strip(history: History, course: Course) -> str:
    pairs = zip(history.nights[-STRIP:], course.nights[-STRIP:], strict=True)
    return "".join(SIGNS[defect.status] if defect else _without(night) for night, defect in pairs)


def _without(night: Night) -> str:
    is_unknown = night.report.outcome in (Outcome.NOT_ENOUGH, Outcome.INTERNAL)
    return SIGNS[Status.INSUFFICIENT if is_unknown else Status.OK]


def _nights(nights: tuple[Night, ...]) -> Table:
    table = _table()
    for name, justify in (
        ("night", "left"),
        ("verdict", "left"),
        ("requests", "right"),
        ("defects", "right"),
    ):
        table.add_column(name, no_wrap=True, justify=justify)  # type: ignore[arg-type]
    table.add_column("in a sentence", overflow="fold")
    for night in reversed(nights):
        report = night.report
        table.add_row(
            night.label,
            Text(OUTCOME_WORDS[report.outcome], style=STYLES[OUTCOME_STATUS[report.outcome]]),
            f"{report.volume.requests:,}",
            str(len(report.defects)),
            Text(clipped(report.sentence, 76)),
        )
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
