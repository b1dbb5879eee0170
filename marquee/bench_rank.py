"""`marquee bench rank`: latency of Rank and its stages, next to the floor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ranking_service.bench.rank import BenchResult
    from ranking_service.bench.world import BenchWorld


@click.command(short_help="Latency of Rank and its stages, next to the floor.")
@click.option(
    "--rounds", default=300, show_default=True, type=click.IntRange(10), help="How often to measure."
)
@click.option(
    "--candidates", default=500, show_default=True, type=click.IntRange(1, 2000), help="Per request."
)
@click.option("--trees", default=300, show_default=True, type=click.IntRange(1), help="Of the model.")
@click.option(
    "--own", is_flag=True, help="The workspace's own bundle and rows, in the Redis of MARQUEE_REDIS_URL."
)
@click.option("--log", is_flag=True, help="Let the server write its serving log meanwhile.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures to this file."
)
def bench_rank(
    rounds: int, candidates: int, trees: int, own: bool, log: bool, json_path: Path | None
) -> None:
    """Latency of Rank and its stages, next to the floor, all interleaved in one run.

    Runs on made-up rows (190 float features in three views) in a Redis of its own, or with --own on what is
    materialized; the server is a process of its own on the same cores. Beside the floor: what Feast's own online
    read takes.
    """
    import json

    from marquee.terminal import console
    from materialization.progress import bars
    from ranking_service.bench.rank import measure

    worlds = _own_world(candidates) if own else _made_up_world(candidates, trees)
    with worlds as (world, redis_url), bars(console) as report:
        result = measure(world, redis_url=redis_url, rounds=rounds, log=log, report=report)
    _show(result)
    if json_path is not None:
        json_path.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
        console.print(f"figures in {json_path}")


@contextmanager
def _made_up_world(candidates: int, trees: int) -> Iterator[tuple[BenchWorld, str]]:
    import tempfile

    from marquee.terminal import console
    from materialization.private_redis import private_redis
    from ranking_service.bench.world import Size, make_world

    with tempfile.TemporaryDirectory() as folder, private_redis() as server:
        with console.status("Storing rows through Feast, training a model"):
            world = make_world(Path(folder), server.url, Size(candidates=candidates, trees=trees))
        yield world, server.url


@contextmanager
def _own_world(candidates: int) -> Iterator[tuple[BenchWorld, str]]:
    from feature_repo.errors import SettingError
    from feature_repo.workspace import REDIS_VARIABLE, Workspace
    from marquee.catalogue import active_users, popular_items
    from materialization.feast_settings import redis_url
    from ranking_service.bench.world import workspace_world

    url = redis_url()
    if url is None:
        raise SettingError(f"--own reads the Redis of {REDIS_VARIABLE}; set it, or leave out --own")
    workspace = Workspace.from_environment()
    (user,) = active_users(workspace, 1)
    yield workspace_world(workspace, user_id=user, item_ids=popular_items(workspace, candidates)), url


def _show(result: BenchResult) -> None:
    from rich.table import Table

    from marquee.terminal import console
    from ranking_service.bench.rank import RANK, STOCK

    setting = result.setting
    title = (
        f"{setting['candidates']} candidates x {setting['features']} features, {setting['trees']} trees, "
        f"{setting['cores']} cores, {setting['rounds']} rounds"
    )
    table = Table("operation", "median ms", "p99 ms", "what", title=title)
    for timing in result.timings:
        table.add_row(timing.name, f"{timing.median_ms:.2f}", f"{timing.p99_ms:.2f}", timing.what)
    console.print(table)
    rank, stock = result.median(RANK), result.median(STOCK)
    console.print(
        f"Rank takes {rank / result.floor_ms:.2f} x its floor of {result.floor_ms:.2f} ms (read, model and "
        f"call bare); Feast's own read alone takes {stock / rank:.1f} x as long as Rank"
    )
