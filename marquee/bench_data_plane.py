"""`marquee bench data-plane`: our Feast plug-ins next to the stock stores and to the floor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from materialization.bench.figures import Figure, Findings
    from materialization.bench.run import DataPlaneResult
    from materialization.progress import Report

OWN_USERS, OWN_CANDIDATES = 50, 500


class Measures(click.ParamType[tuple[str, ...]]):
    """Names of measures, separated by commas."""

    name = "measure,..."

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Raises a usage error for a name there is not."""
        from materialization.bench.sizes import MEASURES

        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        unknown = [name for name in names if name not in MEASURES]
        if unknown or not names:
            self.fail(f"{value!r}: choose from {', '.join(MEASURES)}, separated by commas", param, ctx)
        return names


@click.command(short_help="Our Feast plug-ins next to the stock stores and to the floor.")
@click.option("--only", type=Measures(), help="Some of fetch, materialize, growth, join, large-join.")
@click.option(
    "--quick", is_flag=True, help="Less data, fewer repetitions: a first look, not the bars' ratios."
)
@click.option("--gate", is_flag=True, help="Exit code 1 when a figure does not reach its bar.")
@click.option(
    "--own", is_flag=True, help="The workspace's own ranker_v1 instead, beside stock in a private Redis."
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures to this file."
)
def bench_data_plane(
    only: tuple[str, ...] | None, quick: bool, gate: bool, own: bool, json_path: Path | None
) -> None:
    """Our Feast plug-ins next to the stock stores and to the floor, interleaved in one run on the same data.

    Makes up its data (135,000 online rows of 190 float features in three views, a month of snapshots for joins) in
    temporary folders and private Redis servers. Takes about 10 minutes, 10 GB of memory for the stock join and up to
    15 GB of disk; ratios mean something on an otherwise idle machine only.
    """
    import json

    from marquee.terminal import console
    from materialization.bench.run import measure
    from materialization.bench.sizes import MEASURES, QUICK, Sizes
    from materialization.progress import bars

    with bars(console) as report:
        if own:
            result = _own(report)
        else:
            result = measure(QUICK if quick else Sizes(), only=only or tuple(MEASURES), report=report)
    _show(result, quick=quick)
    if json_path is not None:
        json_path.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
        console.print(f"figures in {json_path}")
    if gate:
        judge(result.findings)


def _own(report: Report) -> DataPlaneResult:
    from feature_repo.workspace import Workspace
    from marquee.catalogue import active_users, popular_items
    from materialization.bench.own import Slates, measure_own
    from materialization.bench.run import DataPlaneResult, machine

    workspace = Workspace.from_environment()
    slates = Slates(active_users(workspace, OWN_USERS), popular_items(workspace, OWN_CANDIDATES))
    return DataPlaneResult(measure_own(workspace, slates, report=report), machine())


def judge(findings: Findings) -> None:
    """Exit code 1 where a bar is missed; names every figure that misses its own."""
    from marquee.terminal import console

    for figure in findings.missed:
        console.print(f"missed: {figure.measure}, {figure.what}: {figure.value:.2f}, must be {figure.bar}")
    if findings.missed:
        raise click.exceptions.Exit(1)


def _show(result: DataPlaneResult, *, quick: bool) -> None:
    from rich.table import Table

    from marquee.terminal import console

    setting = result.setting
    machine = f"{setting['cores']} cores, {setting['memory_gb']} GB, {setting['cpu']}"
    measured = Table("measure", "contender", "median", "p99", "times", "what", title=machine)
    for column in measured.columns:
        column.overflow = "fold"
    for one in result.findings.measured:
        tail = "" if one.p99 is None else f"{_rounded(one.p99)} {one.unit}"
        median = f"{_rounded(one.median)} {one.unit}"
        measured.add_row(one.measure, one.name, median, tail, str(one.times), one.what)
    console.print(measured)
    figures = Table("measure", "figure", "value", "must be", "reached")
    for figure in result.findings.figures:
        figures.add_row(figure.measure, figure.what, _rounded(figure.value), *_verdict(figure))
    console.print(figures)
    for note in result.findings.notes:
        console.print(note)
    if quick:
        console.print("--quick: less data than the bars are for; run without it before believing a ratio")


def _verdict(figure: Figure) -> tuple[str, str]:
    if figure.bar is None:
        return "", ""
    return str(figure.bar), "yes" if figure.reached else "NO"


def _rounded(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
