"""The service that defects are seeded into: simulated events, built features, a model, rows in Redis run by run.

Materialization runs every six hours. Each run's rows lie in a Redis database of their own, so that requests of any
hour can be served from what Redis held at that hour, again and again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from feature_repo.workspace import REDIS_VARIABLE, Workspace
from materialization import feast_store
from materialization.events.store import EventStore
from materialization.feature_build.build import build_features
from materialization.private_redis import private_redis
from materialization.simulator.run import START, simulate
from ranking_service import bundle as bundles
from ranking_service.bundle import Bundle
from ranking_service.online.request import RankRequest
from ranking_service.training.labelled import Split
from ranking_service.training.train import Recipe, train
from skew_checks.bench.arrivals import requests_of

DAY, STEP = timedelta(days=1), timedelta(hours=6)
TRAINED_AT = datetime(2024, 3, 15, 1, tzinfo=UTC)


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

    def database(self, step: int) -> str:
        """URL of what Redis held after run `step`."""
        return f"{self.redis_url}/{step}"


@contextmanager
def made_world(folder: Path, size: Size) -> Iterator[World]:
    """Simulate, build, apply, train, materialize; the Redis is gone when the block ends."""
    workspace = Workspace(folder)
    store = EventStore(workspace.events)
    simulate(store, users=size.users, items=size.items, days=size.days, seed=size.seed)
    _build(workspace, size)
    feast_store.apply_definitions(workspace)
    day = START + size.served_day * DAY
    split = Split(START + DAY, day - 2 * DAY, day - DAY, day)
    path = train(workspace, Recipe(rounds=size.rounds, threads=1), split=split, now=TRAINED_AT)
    steps = 9 if size.has_weekend else 5
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
            requests_of(workspace, day + DAY) if size.has_weekend else (),
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


def _build(workspace: Workspace, size: Size) -> None:
    dense_from = START + (size.days - size.dense_days) * DAY
    if size.dense_days < size.days:
        build_features(workspace, end=dense_from, every=DAY)
    build_features(workspace, start=max(dense_from, START + DAY), every=STEP)
