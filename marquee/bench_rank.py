"""`marquee bench rank`: latency of Rank and its stages, next to the floor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ranking_service.bench.rank import BenchResult


@click.command(short_help="Latency of Rank and its stages, next to the floor.")
@click.option(
    "--rounds", default=300, show_default=True, type=click.IntRange(10), help="How often to measure."
)
@click.option(
    "--candidates", default=500, show_default=True, type=click.IntRange(1, 2000), help="Per request."
)
@click.option("--trees", default=300, show_default=True, type=click.IntRange(1), help="Of the model.")
@click.option("--log", is_flag=True, help="Let the server write its serving log meanwhile.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures to this file."
)
def bench_rank(rounds: int, candidates: int, trees: int, log: bool, json_path: Path | None) -> None:
    """Latency of Rank and its stages, next to the floor, all interleaved in one run.

    Runs on made-up rows (190 float features in three views) in a Redis of its own, with the server in a
    process of its own on the same cores. Beside the floor: what Feast's own online read takes.
    """
    import json
    import tempfile

    from marquee.terminal import console
    from materialization.private_redis import private_redis
    from materialization.progress import bars
    from ranking_service.bench.rank import measure
    from ranking_service.bench.world import Size, make_world

    with tempfile.TemporaryDirectory() as folder, private_redis() as server:
        with console.status("Storing rows through Feast, training a model"):
            world = make_world(Path(folder), server.url, Size(candidates=candidates, trees=trees))
        with bars(console) as report:
            result = measure(world, redis_url=server.url, rounds=rounds, log=log, report=report)
    _show(result)
    if json_path is not None:
        json_path.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
        console.print(f"figures in {json_path}")


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
