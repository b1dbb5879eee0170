"""Materialization of the rows that are served: the whole call, the write alone, and the memory it fills."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from materialization.bench.figures import ONE_THIRD, Figure, Findings, Measured, at_least, at_most
from materialization.bench.online_world import OnlineWorld, Served
from materialization.bench.sizes import Sizes
from materialization.data_plane.online.writing import RowWriter
from materialization.data_plane.online_store import PackedRedisOnlineStore
from materialization.data_plane.rows.keys import ViewKeys, escaped
from materialization.data_plane.rows.view_layout import keys_of
from materialization.progress import Report

LOAD, WRITE, MEMORY = "materialize", "write", "memory"
STOCK, OURS, BARE = "stock", "ours", "bare pipeline"
ROWS_PER_PIPELINE = 1_000


def measure_load(world: OnlineWorld, sizes: Sizes, *, report: Report) -> Findings:
    """Both sides take turns on emptied servers; afterwards both servers hold the rows."""
    turns = [OURS] * sizes.loads
    for number in range(sizes.stock_loads):
        turns.insert((number + 1) * len(turns) // (sizes.stock_loads + 1), STOCK)
    seconds: dict[str, list[float]] = defaultdict(list)
    for number, name in enumerate(turns):
        report("materializations", number, len(turns))
        seconds[name].append((world.stock if name == STOCK else world.ours).load(world.at))
    report("materializations", len(turns), len(turns))
    what = {
        OURS: "the same call on our plug-ins",
        STOCK: f"FeatureStore.materialize of {sizes.online_rows:,} rows in three views",
    }
    measured = tuple(Measured.of(LOAD, name, what[name], unit="s", values=seconds[name]) for name in what)
    ratio = float(np.median(seconds[STOCK]) / np.median(seconds[OURS]))
    loaded = Findings(measured, (Figure(LOAD, "times faster than stock", ratio, at_least(12)),))
    return loaded + _memory(world)


def _memory(world: OnlineWorld) -> Findings:
    stock, ours = world.stock.memory_mb(), world.ours.memory_mb()
    measured = (
        Measured.of(MEMORY, OURS, "Redis memory of the same rows", unit="MB", values=[ours]),
        Measured.of(MEMORY, STOCK, "Redis memory of the rows", unit="MB", values=[stock]),
    )
    return Findings(measured, (Figure(MEMORY, "share of stock's memory", ours / stock, at_most(ONE_THIRD)),))


@dataclass(frozen=True)
class ReadyRows:
    """Rows of one view as they lie in Redis."""

    keys: ViewKeys
    places: list[bytes]
    fields: list[bytes] | None
    rows: list[bytes]


def measure_write(world: OnlineWorld, sizes: Sizes, *, report: Report) -> Findings:
    """The rows that ours has online, written again to the emptied server: by our writer, and bare."""
    config = world.ours.store.config
    registered = [world.ours.store.get_feature_view(view.name) for view in world.views]
    views = [ready_rows(world.ours, keys_of(config, view)) for view in registered]
    writers = [PackedRedisOnlineStore().writer(config, view) for view in registered]
    client = world.ours.client()
    ways: dict[str, Callable[[], object]] = {
        OURS: lambda: _by_writers(writers, views),
        BARE: lambda: _bare(client, views),
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    for number in range(-1, sizes.loads):
        report("writes", number + 1, sizes.loads + 1)
        for name, write in ways.items():
            client.flushall()
            started = time.perf_counter()
            write()
            elapsed = time.perf_counter() - started
            if number >= 0:
                seconds[name].append(elapsed)
    report("writes", sizes.loads + 1, sizes.loads + 1)
    world.ours.load(world.at)
    return _written(seconds, sum(len(view.rows) for view in views))


def _written(seconds: dict[str, list[float]], count: int) -> Findings:
    what = {
        OURS: f"{count:,} packed rows, last event wins, with expiry",
        BARE: "SET and HSET of the same keys and bytes by redis-py",
    }
    measured = tuple(Measured.of(WRITE, name, what[name], unit="s", values=seconds[name]) for name in what)
    ratio = float(np.median(seconds[OURS]) / np.median(seconds[BARE]))
    return Findings(measured, (Figure(WRITE, "times the bare pipeline", ratio, at_most(3)),))


def ready_rows(served: Served, keys: ViewKeys) -> ReadyRows:
    """Every row of a view, in no order of entities."""
    client = served.client()
    found = list(client.scan_iter(match=escaped(keys.prefix) + b"*", count=1_000))
    if not keys.is_hash:
        return ReadyRows(keys, found, None, client.mget(found))
    rows = [(key, field, row) for key in found for field, row in client.hgetall(key).items()]
    places, fields, values = (list(column) for column in zip(*rows, strict=True))
    return ReadyRows(keys, places, fields, values)


def _by_writers(writers: Sequence[RowWriter], views: Sequence[ReadyRows]) -> None:
    for writer, view in zip(writers, views, strict=True):
        writer.write(view.places, view.fields, view.rows)


def _bare(client: Any, views: Sequence[ReadyRows]) -> None:
    """A SET for each string, an HSET for all of a hash that is in one pipeline."""
    for view in views:
        for start in range(0, len(view.rows), ROWS_PER_PIPELINE):
            part = slice(start, start + ROWS_PER_PIPELINE)
            pipeline = client.pipeline(transaction=False)
            if view.fields is None:
                for key, row in zip(view.places[part], view.rows[part], strict=True):
                    pipeline.set(key, row)
            else:
                hashes: dict[bytes, dict[bytes, bytes]] = defaultdict(dict)
                for key, field, row in zip(
                    view.places[part], view.fields[part], view.rows[part], strict=True
                ):
                    hashes[key][field] = row
                for key, rows in hashes.items():
                    pipeline.hset(key, mapping=rows)
            pipeline.execute()
