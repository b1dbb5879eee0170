"""Simulate the service day by day into an event store, in memory that does not grow with the exposures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from feature_repo.errors import SettingError
from materialization.events.store import EventStore
from materialization.events.writer import EventWriter
from materialization.progress import Report, silent
from materialization.simulator.audience import Audience, make_audience
from materialization.simulator.catalogue import Catalogue, Indices, make_catalogue
from materialization.simulator.clock import Period, Times
from materialization.simulator.memory import Memory
from materialization.simulator.outcomes import LABEL, Flags, Outcomes, draw, exposures_table, truth_table
from materialization.simulator.profiles import item_ids, items_table, user_ids, users_table
from materialization.simulator.slates import Shelf, Slates, make_slates
from materialization.simulator.taste import Shown, truth
from materialization.simulator.visits import Requests, make_requests

START = datetime(2024, 3, 4, tzinfo=UTC)
"""A Monday."""
BLOCK = 8192
"""Users' sessions are worked off in blocks of about this many requests."""


@dataclass(frozen=True)
class Summary:
    """What a simulation wrote."""

    users: int
    items: int
    days: int
    requests: int
    exposures: int
    click_rate: float
    long_view_rate: float
    completed_rate: float


@dataclass(frozen=True)
class World:
    """Everything that stays the same through the simulation."""

    seed: int
    period: Period
    catalogue: Catalogue
    audience: Audience
    ids: tuple[pa.Array, pa.Array]
    """Ids of the users and of the items."""


def make_world(*, users: int, items: int, days: int, seed: int, start: datetime = START) -> World:
    """Titles and users, the same for the same arguments. Raises SettingError for unusable ones."""
    for name, count, least in (("users", users, 1), ("items", items, 1), ("seed", seed, 0)):
        if count < least:
            raise SettingError(f"{name} is {count}, expected at least {least}")
    period = Period.of(start, days)
    catalogue = make_catalogue(np.random.default_rng([seed, 0]), items=items, period=period)
    audience = make_audience(
        np.random.default_rng([seed, 1]), users=users, authors=len(catalogue.author_name), period=period
    )
    return World(seed, period, catalogue, audience, (user_ids(users), item_ids(items)))


def simulate(
    store: EventStore,
    *,
    users: int,
    items: int,
    days: int,
    seed: int,
    start: datetime = START,
    progress: Report | None = None,
) -> Summary:
    """Replace the store by a simulated service; the same arguments give the same bytes.

    `start` is a midnight in UTC. Raises SettingError for unusable arguments, EventDataError when so few users
    come that nothing is shown.
    """
    world = make_world(users=users, items=items, days=days, seed=seed, start=start)
    report = progress or silent
    counts: Counter[str] = Counter()
    with store.rewrite(_source(world)) as writer:
        writer.write("items", items_table(world.catalogue, world.period))
        writer.write("users", users_table(np.random.default_rng([seed, 2]), world.audience, world.period))
        memory = Memory.empty(users=users, items=items)
        for day in range(days):
            memory = _simulate_day(writer, world, memory, day=day, counts=counts)
            report("simulating days", day + 1, days)
    return _summary(world, counts)


def _simulate_day(
    writer: EventWriter, world: World, memory: Memory, *, day: int, counts: Counter[str]
) -> Memory:
    """Write the day's exposures and truth; returns the memory after it."""
    rng = np.random.default_rng([world.seed, 3, day])
    requests = make_requests(rng, world.audience, period=world.period, day=day)
    shelf = Shelf.of(world.catalogue, world.period.midnight(day))
    views: list[Views] = []
    for rows in _blocks(requests):
        block = requests.take(rows)
        slates = make_slates(
            rng, block, shelf=shelf, catalogue=world.catalogue, audience=world.audience, memory=memory
        )
        outcomes = _write_block(writer, rng, world, memory, block, slates, day=day)
        views.append(Views.of(block, slates, outcomes))
        _count(counts, slates, outcomes)
    return _remember(memory, views)


@dataclass(frozen=True)
class Views:
    """What was clicked: arrays with one row per click."""

    user: Indices
    item: Indices
    time: Times
    completed: Flags

    @classmethod
    def of(cls, requests: Requests, slates: Slates, outcomes: Outcomes) -> Views:
        clicked = np.flatnonzero(outcomes.click)
        row = slates.request[clicked]
        return cls(requests.user[row], slates.item[clicked], requests.time[row], outcomes.completed[clicked])


def _remember(memory: Memory, parts: list[Views]) -> Memory:
    """The memory after the day's clicks."""
    if not parts:
        return memory
    user, item, time = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "item", "time")
    )
    completed = np.concatenate([part.completed for part in parts])
    order = np.lexsort((item, user, time))
    return memory.after(user[order], item[order], completed[order])


def _blocks(requests: Requests) -> list[Indices]:
    """Row numbers in blocks: in time order within, and all of a user's requests of the day in one."""
    cuts = max(1, round(len(requests) / BLOCK))
    return [rows for part in range(cuts) if len(rows := np.flatnonzero(requests.user % cuts == part))]


def _write_block(
    writer: EventWriter,
    rng: np.random.Generator,
    world: World,
    memory: Memory,
    requests: Requests,
    slates: Slates,
    *,
    day: int,
) -> Outcomes:
    shown = _shown(requests, slates)
    known = truth(shown, world.catalogue, world.audience, memory)
    outcomes = draw(rng, shown, known, world.catalogue)
    table = exposures_table(
        rng,
        requests,
        slates,
        outcomes,
        catalogue=world.catalogue,
        shuffled=world.audience.shuffled[requests.user],
        ids=world.ids,
    )
    writer.write("exposures", table)
    writer.write("truth", truth_table(table["exposure_id"], known), day=world.period.date(day))
    return outcomes


def _shown(requests: Requests, slates: Slates) -> Shown:
    row = slates.request
    return Shown(
        user=requests.user[row],
        item=slates.item,
        time=requests.time[row],
        surface=requests.surface[row],
        position=slates.position,
        device=requests.device[row],
        country=requests.country[row],
        local_hour=requests.local_hour[row],
    )


def _count(counts: Counter[str], slates: Slates, outcomes: Outcomes) -> None:
    counts["exposures"] += len(slates.item)
    counts["requests"] += len(np.unique(slates.request))
    for name in ("click", "long_view", "completed"):
        counts[name] += int(getattr(outcomes, name).sum())


def _source(world: World) -> dict[str, object]:
    start = datetime.fromtimestamp(world.period.start / 1_000_000, UTC)
    return {
        "kind": "simulation",
        "label": LABEL,
        "arguments": {
            "users": len(world.audience),
            "items": len(world.catalogue),
            "days": world.period.days,
            "seed": world.seed,
            "start": start.isoformat(),
        },
        "notes": ["invented: the table truth has the probability each outcome was drawn from"],
    }


def _summary(world: World, counts: Counter[str]) -> Summary:
    exposures = counts["exposures"]
    return Summary(
        users=len(world.audience),
        items=len(world.catalogue),
        days=world.period.days,
        requests=counts["requests"],
        exposures=exposures,
        click_rate=counts["click"] / exposures,
        long_view_rate=counts["long_view"] / exposures,
        completed_rate=counts["completed"] / exposures,
    )
