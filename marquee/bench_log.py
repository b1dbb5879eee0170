"""`marquee bench serving-log`: what the log costs the requests beside it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="What the serving log costs the requests beside it.")
@click.option(
    "--candidates", default=500, show_default=True, type=click.IntRange(1, 2000), help="Per request."
)
@click.option(
    "--rate", default=100.0, show_default=True, type=click.FloatRange(1, 10_000), help="Requests per second."
)
@click.option(
    "--pairs", default=15, show_default=True, type=click.IntRange(1, 1000), help="Turns of 2 s each."
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures to this file."
)
def bench_log(candidates: int, rate: float, pairs: int, json_path: Path | None) -> None:
    """What the serving log costs the requests beside it, next to the same requests without it.

    Made-up requests of 200 features, scored by 300 trees, at a fixed rate on an event loop; every one is logged. No
    gRPC and no Redis, so that nothing but the log makes the difference.
    """
    import json
    import tempfile

    from rich.table import Table

    from marquee.terminal import console
    from materialization.progress import spoken
    from ranking_service.bench.log_cost import Load, measure
    from ranking_service.settings_sections import LogSettings

    load = Load(candidates=candidates, requests_per_second=rate, pairs=pairs)
    with tempfile.TemporaryDirectory() as folder, spoken(console) as step:
        figures = measure(load, Path(folder), LogSettings(), report=step).to_json()
    table = Table(
        "figure", "value", title=f"{candidates} candidates x 200 features, {rate:g} requests/s, all logged"
    )
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,.3f}")
    console.print(table)
    console.print(
        f"offer takes {figures['offer_share']:.2%} of the time that an answer takes to work out; what requests feel of "
        "the writer's thread is in the latency ratios, which mean something only where nothing else runs and the rate "
        "leaves the processor some rest"
    )
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        console.print(f"figures in {json_path}")
