"""`marquee bench rank`: Rank next to its floors and next to stock Feast, for one client and under load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marquee.bench_figures import Measures, judge, show

if TYPE_CHECKING:
    from ranking_service.bench.rank import BenchResult
    from ranking_service.bench.sizes import Plan
    from ranking_service.bench.world import BenchWorld

FLOATS, RANKER, OWN = "floats", "ranker_v1", "own"
OWN_USERS, OWN_CATALOGUE = 50, 20_000


def _known() -> tuple[str, ...]:
    from ranking_service.bench.sizes import MEASURES

    return tuple(MEASURES)


@click.command(short_help="Rank next to its floors and stock Feast, for one client and under load.")
@click.option(
    "--only",
    type=Measures(_known),
    help="Some of latency, stock, cache, log, saturation, open-loop, growth, start.",
)
@click.option(
    "--ranker-v1", "rows", flag_value=RANKER, help="Made-up rows of ranker_v1 instead of plain floats."
)
@click.option(
    "--own",
    "rows",
    flag_value=OWN,
    help="The workspace's own bundle and rows, in the Redis of MARQUEE_REDIS_URL.",
)
@click.option("--quick", is_flag=True, help="Little of everything: a first look, not the bars' ratios.")
@click.option("--gate", is_flag=True, help="Exit code 1 when a figure does not reach its bar.")
@click.option("--rounds", type=click.IntRange(10), help="How often one client calls.  [default: 4000]")
@click.option(
    "--candidates", default=500, show_default=True, type=click.IntRange(1, 2000), help="Per request."
)
@click.option(
    "--trees", default=300, show_default=True, type=click.IntRange(1), help="Of a made-up world's model."
)
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Processes of the server, and of its floor, under load.",
)
@click.option("--log", is_flag=True, help="Let the servers write their serving log meanwhile.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures to this file."
)
def bench_rank(
    only: tuple[str, ...] | None,
    rows: str | None,
    quick: bool,
    gate: bool,
    rounds: int | None,
    candidates: int,
    trees: int,
    workers: int,
    log: bool,
    json_path: Path | None,
) -> None:
    """Rank next to its floors and to stock Feast, for one client and under load, all in one run.

    Starts `marquee serve` and every floor as processes of their own and lets them take turns:

    \b
    latency     one client: Rank, and what its parts cost bare: an empty call of the
                same payload, the same bytes from Redis, the model on the same rows
    stock       the same call with Feast's get_online_features behind it, on-demand
                views included
    cache       item rows from the server's memory and from Redis
    log         the same call with and without serving log
    saturation  requests/s, next to a server that does only the bare parts
    open-loop   60 % of that, evenly spaced and at random instants; latency counts from
                when a request was due, so that a stall is charged for everybody who waits
    growth      one more candidate, feature, view
    start       from the command to ready, and the first request

    Runs on made-up rows (190 float features in three views of 20,000 items) in a Redis of its own. Takes about
    10 minutes, with --quick less than one; ratios mean something on an otherwise idle machine only.
    """
    import json

    from marquee.terminal import console
    from materialization.progress import bars
    from ranking_service.bench.rank import measure
    from ranking_service.bench.sizes import MEASURES, QUICK, Plan

    plan = _plan(
        QUICK if quick else Plan(), rounds=rounds, candidates=candidates, trees=trees, workers=workers
    )
    with _world(rows or FLOATS, plan) as world, bars(console) as report:
        result = measure(world, plan, only=only or tuple(MEASURES), log=log, report=report)
    _show(result, quick=quick)
    if json_path is not None:
        json_path.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
        console.print(f"figures in {json_path}")
    if gate:
        judge(result.findings)


def _plan(plan: Plan, *, rounds: int | None, candidates: int, trees: int, workers: int) -> Plan:
    catalogue = max(plan.size.catalogue, candidates)
    size = replace(plan.size, candidates=candidates, trees=trees, catalogue=catalogue)
    plan = replace(plan, size=size, workers=workers)
    if rounds is None:
        return plan
    return replace(plan, rounds=rounds, side_rounds=min(rounds, plan.side_rounds))


@contextmanager
def _world(rows: str, plan: Plan) -> Iterator[BenchWorld]:
    import tempfile

    from marquee.terminal import console
    from materialization.private_redis import private_redis
    from ranking_service.bench.world import floats_world, ranker_world

    if rows == OWN:
        yield _own_world(plan.size.candidates)
        return
    make = floats_world if rows == FLOATS else ranker_world
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder, private_redis() as server:
        with console.status("Storing rows, training a model"):
            world = make(Path(folder), server.url, plan.size)
        yield world


def _own_world(candidates: int) -> BenchWorld:
    from feature_repo.errors import SettingError
    from feature_repo.workspace import REDIS_VARIABLE, Workspace
    from marquee.catalogue import active_users, popular_items
    from materialization.feast_settings import redis_url
    from ranking_service.bench.world import workspace_world

    url = redis_url()
    if url is None:
        raise SettingError(f"--own reads the Redis of {REDIS_VARIABLE}; set it, or leave out --own")
    workspace = Workspace.from_environment()
    return workspace_world(
        workspace,
        url,
        user_ids=active_users(workspace, OWN_USERS),
        item_ids=popular_items(workspace, OWN_CATALOGUE),
        candidates=candidates,
    )


def _show(result: BenchResult, *, quick: bool) -> None:
    from marquee.terminal import console

    setting = result.setting
    console.print(
        f"{setting['rows']}: {setting['candidates']} candidates of {setting['catalogue']:,} items x "
        f"{setting['features']} features from {setting['views']} views, {setting['trees']} trees"
    )
    show(result.findings, setting, quick=quick)
