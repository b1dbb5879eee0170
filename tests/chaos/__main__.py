"""`make chaos`: every fault test, and a table of what became of them."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from . import cluster_faults, network_faults, redis_faults, server_faults
from .lab import Lab, Result
from .scenario import Scenario
from .table import table

ALL: tuple[Scenario, ...] = (
    *redis_faults.SCENARIOS,
    *network_faults.SCENARIOS,
    *cluster_faults.SCENARIOS,
    *server_faults.SCENARIOS,
)


WIDTH = 150
"""Where the output is no terminal."""

BUSY_MILLIS = 10.0
"""A load that is sent so late tells of a machine that has no time for it."""


@click.command()
@click.option("--only", help="Run these scenarios only: NAME,NAME ...")
@click.option("--list", "listing", is_flag=True, help="Tell the scenarios and run none.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures to this file.")
@click.option("--candidates", default=500, show_default=True, help="Of each request.")
@click.option("--rate", default=0.0, help="Calls per second. [default: 60 % of the measured capacity]")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep what the servers said in this folder.")
def main(
    only: str | None, listing: bool, json_file: Path | None, candidates: int, rate: float, keep: Path | None
) -> None:
    """Break the ranking server in every way that is declared, under load, and check each answer.

    The exit code is 1 when a goal is missed. See docs/chaos.md.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    chosen = _chosen(only)
    if listing:
        for scenario in chosen:
            console.print(f"{scenario.name:18} {scenario.what}", markup=False, highlight=False)
        return
    with tempfile.TemporaryDirectory(prefix="marquee-chaos-") as temporary:
        folder = keep or Path(temporary)
        lab = Lab.open(folder, candidates=candidates, rate=rate)
        results = [_told(lab, scenario, console) for scenario in chosen]
    console.print(table(results))
    for result in results:
        for line in _story(result):
            console.print(line, markup=False, highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps([result.to_json() for result in results], indent=1))
    sys.exit(0 if all(result.is_passed for result in results) else 1)


def _told(lab: Lab, scenario: Scenario, console: Console) -> Result:
    with console.status(f"{scenario.name}: {scenario.what}"):
        result = lab.run(scenario)
    outcome = "passed" if result.is_passed else "missed: " + "; ".join(result.missed)
    console.print(f"{scenario.name}: {outcome[:200]}", markup=False, highlight=False)
    return result


def _chosen(only: str | None) -> list[Scenario]:
    known = {scenario.name: scenario for scenario in ALL}
    names = [name.strip() for name in only.split(",")] if only else list(known)
    strangers = [name for name in names if name not in known]
    if strangers:
        raise click.BadParameter(f"no scenario {', '.join(strangers)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _story(result: Result) -> list[str]:
    """What the table has no room for."""
    lines = [f"{result.scenario.name}: {missed}" for missed in result.missed]
    lines += [
        f"{result.scenario.name}: {wrong}" for wrong in (result.outcome.wrong if result.outcome else [])
    ]
    if result.missed:
        lines += [f"{result.scenario.name}: {note}" for note in result.notes]
    return lines


if __name__ == "__main__":
    main()
