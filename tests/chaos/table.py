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
        cells = _cells(result.outcome) if result.outcome else ("",) * (len(HEADINGS) - 2)
        if result.outcome is None and result.is_passed:
            verdict = "; ".join(result.notes)
        made.add_row(result.scenario.name, *cells, verdict, style=None if result.is_passed else "bold")
    return made


def _cells(outcome: Outcome) -> tuple[str, ...]:
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
    )


def _shares(levels: Mapping[int, int]) -> str:
    whole = sum(levels.values())
    return " ".join(f"{level}:{count / whole:.1%}" for level, count in levels.items())
