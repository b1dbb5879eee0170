"""The service that defects are seeded into: events, built features, a model, rows in Redis run by run.

Events are simulated, or those of a workspace. Materialization runs every six hours. Each run's rows lie in a Redis
database of their own, so that requests of any hour can be served from what Redis held at that hour, again and again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from feature_repo.errors import EventDataError
from feature_repo.workspace import REDIS_VARIABLE, Workspace
from materialization import feast_store
from materialization.events.store import EventStore
from materialization.feature_build.build import build_features
from materialization.feature_build.instants import ceiling
from materialization.private_redis import private_redis
from materialization.simulator.run import START, simulate
from ranking_service import bundle as bundles
from ranking_service.bundle import Bundle
from ranking_service.online.request import RankRequest
from ranking_service.training.labelled import Split
from ranking_service.training.train import Recipe, train
from skew_checks.bench.arrivals import requests_of, slates_of

DAY, STEP = timedelta(days=1), timedelta(hours=6)
HOUR = timedelta(hours=1)
FRIDAY = 4
LEAST_DAYS, MOST_DAYS = 6, 11
"""Of a workspace's events, before the served day."""
DENSE_DAYS = 2
QUIET = timedelta(hours=1)
"""A day is whole although nobody came in its first or last hour."""
OWN_ROUNDS = 40
OWN_REQUESTS, OWN_CANDIDATES = 576, 15


@dataclass(frozen=True)
class Size:
    """How much there is."""

    users: int = 450
    items: int = 300
    days: int = 13
    """Simulated; the first is a Monday."""
    served_day: int = 11
    """Number of the day whose requests are served: a Friday, so that the next one is a weekend's."""
    dense_days: int = 13
    """So many days at the end have snapshots every six hours, those before at midnight only."""
    has_weekend: bool = True
    rounds: int = 40
    seed: int = 5


TINY = Size(users=150, items=90, days=5, served_day=4, dense_days=2, has_weekend=False, rounds=8)
"""For tests."""
QUICK = Size(users=260, items=160, days=9, served_day=8, dense_days=3, has_weekend=False, rounds=15)


@dataclass(frozen=True)
class Days:
    """Midnights (UTC)."""

    first: datetime
    """Features are built from the day after it on."""
    dense_from: datetime
    """From here on there are snapshots every six hours, before it at midnight only."""
    served: datetime
    """The day whose requests are served begins."""
    has_weekend: bool
    """Whether the day after it is a Saturday to be served too."""

    @property
    def end(self) -> datetime:
        """Of the last snapshots."""
        return self.served + (2 if self.has_weekend else 1) * DAY


@dataclass(frozen=True)
class World:
    """Made once; each night is served on it and leaves it as it was."""

    workspace: Workspace
    redis_url: str
    """Without a database's number."""
    bundle: Bundle
    day: datetime
    """Midnight at which the served day begins."""
    instants: tuple[datetime, ...]
    """Of the materialization runs, oldest first: database k holds what Redis held after run k."""
    requests: tuple[RankRequest, ...]
    """Of the served day, in time order."""
    weekend: tuple[RankRequest, ...] = field(default=())
    """Of the Saturday after it; none in a small world."""
    may_drift: bool = False
    """Whether its population changes from day to day, as a real one's does."""

    def database(self, step: int) -> str:
        """URL of what Redis held after run `step`."""
        return f"{self.redis_url}/{step}"


@contextmanager
def made_world(folder: Path, size: Size) -> Iterator[World]:
    """Simulate, build, apply, train, materialize; the Redis is gone when the block ends."""
    workspace = Workspace(folder)
    store = EventStore(workspace.events)
    simulate(store, users=size.users, items=size.items, days=size.days, seed=size.seed)
    days = Days(
        first=START,
        dense_from=START + (size.days - size.dense_days) * DAY,
        served=START + size.served_day * DAY,
        has_weekend=size.has_weekend,
    )
    with _prepared(workspace, days, size.rounds) as world:
        yield world


@contextmanager
def own_world(folder: Path, events: Path) -> Iterator[World]:
    """The same on the events of a workspace, which stay as they are: a Friday of theirs, if there is one.

    Events that say what one user saw at one instant make short requests; they are filled up with what others saw.
    Raises MissingInputError without events, EventDataError for those of less than a week and where nobody came on the
    day to be served.
    """
    folder.mkdir(parents=True)
    workspace = Workspace(folder)
    workspace.events.symlink_to(events.resolve())
    source = EventStore(workspace.events).source()
    first, last = (datetime.fromisoformat(source[name]) for name in ("first_event", "last_event"))
    days = own_days(first, last)
    fill = partial(slates_of, count=OWN_REQUESTS, candidates=OWN_CANDIDATES)
    requests = fill(requests_of(workspace, days.served))
    weekend = fill(requests_of(workspace, days.served + DAY)) if days.has_weekend else ()
    with _prepared(workspace, days, OWN_ROUNDS) as world:
        yield replace(world, requests=requests, weekend=weekend, may_drift=True)


def own_days(first: datetime, last: datetime) -> Days:
    """What is served of events between two instants. Raises EventDataError for less than a week."""
    start, end = ceiling(first - QUIET, DAY), ceiling(last + QUIET, DAY) - DAY
    whole = (end - start) // DAY
    if whole < LEAST_DAYS + 1:
        raise EventDataError(f"{max(whole, 0)} whole days of events are too few; have {LEAST_DAYS + 1}")
    fridays = [
        start + number * DAY
        for number in range(LEAST_DAYS, whole - 1)
        if (start + number * DAY).weekday() == FRIDAY
    ]
    served = fridays[-1] if fridays else end - DAY
    return Days(
        first=max(start, served - MOST_DAYS * DAY),
        dense_from=served - DENSE_DAYS * DAY,
        served=served,
        has_weekend=bool(fridays),
    )


@contextmanager
def _prepared(workspace: Workspace, days: Days, rounds: int) -> Iterator[World]:
    _build(workspace, days)
    feast_store.apply_definitions(workspace)
    day = days.served
    split = Split(days.first + DAY, day - 2 * DAY, day - DAY, day)
    path = train(workspace, Recipe(rounds=rounds, threads=1), split=split, now=day + HOUR)
    steps = 9 if days.has_weekend else 5
    instants = tuple(day + (number - 1) * STEP for number in range(steps))
    with private_redis() as server:
        url = server.url.rpartition("/")[0]
        for number, instant in enumerate(instants):
            materialize(workspace, f"{url}/{number}", instant)
        bundle = bundles.load(path)
        bundle.booster.set_param({"nthread": 1})  # a handful of rows at a time: threads would only wait
        yield World(
            workspace,
            url,
            bundle,
            day,
            instants,
            requests_of(workspace, day),
            requests_of(workspace, day + DAY) if days.has_weekend else (),
        )


def materialize(workspace: Workspace, url: str, end: datetime) -> None:
    """Every view as of `end` into that Redis; Feast's settings come from the environment."""
    before = os.environ.get(REDIS_VARIABLE)
    os.environ[REDIS_VARIABLE] = url
    try:
        feast_store.materialize(workspace, end=end)
    finally:
        os.environ.pop(REDIS_VARIABLE)
        if before is not None:
            os.environ[REDIS_VARIABLE] = before


def _build(workspace: Workspace, days: Days) -> None:
    if days.first + DAY <= days.dense_from:
        build_features(workspace, start=days.first + DAY, end=days.dense_from, every=DAY)
    build_features(workspace, start=max(days.dense_from, days.first + DAY), end=days.end, every=STEP)
