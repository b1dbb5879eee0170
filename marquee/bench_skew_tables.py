"""The tables of `marquee bench skew`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from skew_checks.bench.judged import Judged
    from skew_checks.bench.others import OtherNight
    from skew_checks.bench.speed import SpeedRun


def nights_table(nights: Sequence[Judged]) -> Table:
    """A row per defect: by share what became of it; then the controls."""
    from rich.table import Table

    shares = sorted({night.share for night in nights if night.share is not None})
    table = Table(
        "night", *(f"{share:.1%}" for share in shares), "first fail", "cause", title="seeded and said"
    )
    for name in dict.fromkeys(night.name for night in nights if night.share is not None):
        mine = {night.share: night for night in nights if night.name == name}
        last = mine[max(share for share in mine if share is not None)]
        first = last.said[0] if last.said else None
        marks = (_mark(mine.get(share)) for share in shares)
        table.add_row(name, *marks, first.view if first else "", first.cause if first else "")
    for night in (night for night in nights if night.share is None and (night.found or night.name != "a-a")):
        fails = ", ".join(f"{said.view}: {said.cause}" for said in night.said) or ", ".join(night.drifted[:3])
        table.add_row(
            night.name,
            *("" for _ in shares),
            f"{night.outcome} {fails}",
            "NOT SILENT" if night.found else "silent",
        )
    return table


def _mark(night: Judged | None) -> str:
    """found and named; found; nothing; and how many wrong fails there were beside."""
    if night is None:
        return ""
    if not night.touched.units:
        return "nothing to change"
    word = "named" if night.named else "found" if night.found else "-"
    return f"{word} +{night.wrong}" if night.wrong else word


def others_table(nights: Sequence[Judged], others: Sequence[OtherNight]) -> Table:
    """Who finds what: share of defects by share of rows, and of healthy nights with an alarm."""
    from rich.table import Table

    from skew_checks.bench.comparison import compared

    table = Table("tool", "nights", "found", "of", "columns named", title="the same nights, by who looks")
    for row in compared(nights, others):
        table.add_row(
            row.tool,
            row.nights,
            str(row.found),
            str(row.of),
            "" if row.columns is None else f"{row.columns:.1f}",
        )
    return table


def speeds_table(runs: Sequence[SpeedRun]) -> Table:
    from rich.table import Table

    table = Table(
        "rows", "requests", "seconds", "processor s", "rows/s", "peak GB", "exit", title="the whole job"
    )
    for run in runs:
        values: tuple[Any, ...] = (
            f"{run.rows:,}",
            f"{run.requests:,}",
            f"{run.seconds:.1f}",
            f"{run.processor_seconds:.1f}",
            f"{run.rows_per_second:,.0f}",
            f"{run.peak_gigabytes:.2f}",
            run.exit_code,
        )
        table.add_row(*map(str, values))
    return table
