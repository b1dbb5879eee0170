"""`marquee bench data-plane`: our Feast plug-ins next to the stock stores and to the floor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from marquee.bench_figures import Measures, judge, show

if TYPE_CHECKING:
    from materialization.bench.run import DataPlaneResult
    from materialization.progress import Report

OWN_USERS, OWN_CANDIDATES = 50, 500


def _known() -> tuple[str, ...]:
    from materialization.bench.sizes import MEASURES

    return tuple(MEASURES)


@click.command(short_help="Our Feast plug-ins next to the stock stores and to the floor.")
@click.option("--only", type=Measures(_known), help="Some of fetch, materialize, growth, join, large-join.")
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
    show(result.findings, result.setting, quick=quick)
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
