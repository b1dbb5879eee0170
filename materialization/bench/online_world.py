"""The same rows behind stock Feast and behind ours, each with a Redis server of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import redis
from feast import FeatureStore

from materialization.bench.made_up import MadeUpView, Shelf, made_up_views, write_online_rows
from materialization.bench.sides import Repository, Side, open_store, quiet
from materialization.bench.sizes import Sizes
from materialization.private_redis import private_redis

WINDOW = timedelta(days=1)


@dataclass(frozen=True)
class Served:
    """One side, and the Redis only it uses."""

    side: Side
    store: FeatureStore
    redis_url: str
    empty_bytes: int
    """Memory of the server before it held anything."""

    def client(self) -> Any:
        return redis.Redis.from_url(self.redis_url)

    def load(self, at: datetime) -> float:
        """Empty the server, materialize all views, and return the seconds of the materialize call."""
        self.client().flushall()
        with quiet():
            started = time.perf_counter()
            self.store.materialize(at - WINDOW, at)
            elapsed = time.perf_counter() - started
        gc.collect()
        return elapsed

    def memory_mb(self) -> float:
        """What the rows take."""
        return (used_bytes(self.client()) - self.empty_bytes) / 2**20


@dataclass(frozen=True)
class OnlineWorld:
    """What is materialized and fetched."""

    stock: Served
    ours: Served
    views: tuple[MadeUpView, ...]
    shelf: Shelf
    at: datetime


@contextmanager
def online_world(
    folder: Path, sizes: Sizes, *, at: datetime, random: np.random.Generator
) -> Iterator[OnlineWorld]:
    """Sources written, views registered, two empty servers running."""
    shelf, views = Shelf.made_up(sizes, random), made_up_views(sizes)
    write_online_rows(folder, sizes, shelf, at, random)
    with private_redis() as of_stock, private_redis() as of_ours:
        stock, ours = (
            _served(side, folder, server.url, views)
            for side, server in ((Side.STOCK, of_stock), (Side.OURS, of_ours))
        )
        yield OnlineWorld(stock, ours, views, shelf, at)


def _served(side: Side, folder: Path, url: str, views: tuple[MadeUpView, ...]) -> Served:
    empty_bytes = used_bytes(redis.Redis.from_url(url))
    store = open_store(side, Repository(folder, folder / f"{side.value}.db", url), views)
    return Served(side, store, url, empty_bytes)


def used_bytes(client: Any) -> int:
    """Memory a server uses now."""
    return int(client.info("memory")["used_memory"])
