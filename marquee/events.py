"""`marquee events`: bring events in, or make some up, and look at them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marquee.lazy import LazyGroup, Verb
from marquee.terminal import DAY

if TYPE_CHECKING:
    from materialization.events.store import EventStore

events = LazyGroup(
    "events",
    verbs={
        "import": Verb("marquee.events:import_", "Read a public data set as it is."),
        "simulate": Verb("marquee.events:simulate", "Make up a believable streaming service."),
        "describe": Verb("marquee.events:describe", "Tables, rates, gaps and quarantine."),
    },
    help="Bring events in, or make some up, and look at them.",
)

import_ = LazyGroup(
    "import",
    verbs={
        "kuairand": Verb("marquee.events:kuairand", "KuaiRand-Pure: exposures of a short-video app."),
        "movietweetings": Verb("marquee.events:movietweetings", "MovieTweetings: film ratings with titles."),
    },
    help="Read a public data set as it is. Rows that break the schema go to quarantine, with a reason.",
)

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=FOLDER)
def kuairand(folder: Path) -> None:
    """Replace the workspace's events by the KuaiRand-Pure files in FOLDER."""
    from marquee.terminal import console
    from materialization.events.kuairand import import_kuairand
    from materialization.progress import bars

    with bars(console) as report:
        import_kuairand(_store(), folder, report=report)
    _show()


@click.command()
@click.argument("folder", type=FOLDER)
def movietweetings(folder: Path) -> None:
    """Replace the workspace's events by the MovieTweetings files in FOLDER."""
    from marquee.terminal import console
    from materialization.events.movietweetings import import_movietweetings
    from materialization.progress import bars

    with bars(console) as report:
        import_movietweetings(_store(), folder, report=report)
    _show()


@click.command()
@click.option(
    "--users",
    default=2000,
    show_default=True,
    type=click.IntRange(1, 10_000_000),
    help="People who come during the period.",
)
@click.option(
    "--items",
    default=2000,
    show_default=True,
    type=click.IntRange(1, 10_000_000),
    help="Titles in the catalogue by its end.",
)
@click.option("--days", default=14, show_default=True, type=click.IntRange(1, 3660), help="Length in days.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Same seed, same bytes."
)
@click.option("--start", type=DAY, help="First day (UTC) [default: 2024-03-04]")
def simulate(users: int, items: int, days: int, seed: int, start: datetime | None) -> None:
    """Replace the workspace's events by those of a made-up service whose true preferences are known."""
    from marquee.terminal import console
    from materialization.progress import bars
    from materialization.simulator.run import START
    from materialization.simulator.run import simulate as run

    with bars(console) as progress:
        run(_store(), users=users, items=items, days=days, seed=seed, start=start or START, progress=progress)
    _show()


@click.command()
def describe() -> None:
    """Show what the workspace's events hold."""
    _show()


def _store() -> EventStore:
    from feature_repo.workspace import Workspace
    from materialization.events.store import EventStore

    return EventStore(Workspace.from_environment().events)


def _show() -> None:
    from marquee.terminal import console
    from materialization.events import describe as description

    console.print(description.render(description.describe(_store())))
    console.print("next: marquee features build")
