"""The table of `make chaos`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from .lab import Result
from .outcome import Outcome

HEADINGS = (
    "scenario",
    "requests",
    "available",
    "p50 ms",
    "p99 ms",
    "levels",
    "errors",
    "wrong",
    "recovery",
    "goodput",
    "goals",
)


def table(results: Sequence[Result]) -> Table:
    made = Table(title="Fault tests of the ranking server", title_justify="left", box=None, pad_edge=False)
    for heading in HEADINGS:
        made.add_column(
            heading, justify="left" if heading in ("scenario", "levels", "errors", "goals") else "right"
        )
    for result in results:
        verdict = "met" if result.is_passed else "missed"
        is_surge = result.scenario.surge is not None
        cells = _cells(result.outcome, is_surge=is_surge) if result.outcome else ("",) * (len(HEADINGS) - 2)
        if result.outcome is None and result.is_passed:
            verdict = "; ".join(result.notes)
        made.add_row(result.scenario.name, *cells, verdict, style=None if result.is_passed else "bold")
    return made


def _cells(outcome: Outcome, *, is_surge: bool) -> tuple[str, ...]:
    recovery = outcome.recovery_seconds
    return (
        str(outcome.requests),
        f"{outcome.availability:.2%}",
        f"{outcome.p50_millis:.1f}",
        f"{outcome.p99_millis:.1f}",
        _shares(outcome.levels),
        ", ".join(f"{status} {count}" for status, count in outcome.errors.items()),
        str(outcome.wrong_count),
        "never" if recovery is None else f"{recovery:.1f} s",
        f"{outcome.goodput_share:.0%} ({outcome.whole_share:.0%})" if is_surge else "",
    )


def _shares(levels: Mapping[int, int]) -> str:
    whole = sum(levels.values())
    return " ".join(f"{level}:{count / whole:.1%}" for level, count in levels.items())
