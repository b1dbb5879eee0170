"""How both benchmarks show what they measured, and judge it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from materialization.bench.figures import Figure, Findings


class Measures(click.ParamType[tuple[str, ...]]):
    """Names of measures, separated by commas."""

    name = "measure,..."

    def __init__(self, known: Callable[[], Collection[str]]) -> None:
        """`known` is asked when names are given, not before: what knows them is slow to import."""
        self._known = known

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Raises a usage error for a name there is not."""
        if isinstance(value, tuple):
            return value
        known = self._known()
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if not names or not set(names) <= set(known):
            self.fail(f"{value!r}: choose from {', '.join(known)}, separated by commas", param, ctx)
        return names


def judge(findings: Findings) -> None:
    """Exit code 1 where a bar is missed; names every figure that misses its own."""
    from marquee.terminal import console

    for figure in findings.missed:
        console.print(f"missed: {figure.measure}, {figure.what}: {figure.value:.2f}, must be {figure.bar}")
    if findings.missed:
        raise click.exceptions.Exit(1)


def show(findings: Findings, setting: dict[str, Any], *, quick: bool) -> None:
    """What was measured, the figures made of it with their bars, and the notes."""
    from rich.table import Table

    from marquee.terminal import console

    machine = f"{setting['cores']} cores, {setting['memory_gb']} GB, {setting['cpu']}"
    measured = Table("measure", "contender", "median", "p99", "p99.9", "times", "what", title=machine)
    for column in measured.columns:
        column.overflow = "fold"
    for one in findings.measured:
        values = (_with_unit(value, one.unit) for value in (one.median, one.p99, one.p999))
        measured.add_row(one.measure, one.name, *values, str(one.times), one.what)
    console.print(measured if findings.measured else machine)
    figures = Table("measure", "figure", "value", "must be", "reached")
    for figure in findings.figures:
        figures.add_row(figure.measure, figure.what, _rounded(figure.value), *_verdict(figure))
    console.print(figures)
    for note in findings.notes:
        console.print(note)
    if quick:
        console.print("--quick: less data than the bars are for; run without it before believing a ratio")


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{_rounded(value)} {unit}"


def _verdict(figure: Figure) -> tuple[str, str]:
    if figure.bar is None:
        return "", ""
    return str(figure.bar), "yes" if figure.reached else "NO"


def _rounded(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
