"""Materialization of ever more rows: the time grows with them, the memory does not."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import redis

from materialization.bench.alone import Alone, peak_mb, run_alone
from materialization.bench.figures import Figure, Findings, Measured, at_most
from materialization.bench.made_up import MadeUpView, ids, write_rows
from materialization.bench.sizes import Sizes
from materialization.private_redis import private_redis
from materialization.progress import Report

GROWTH = "growth"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TOLERANCE = 1.25
"""How much more a row may cost among the most rows than among the fewest, to call it linear."""
PEAK_MB = 1_536.0


def materialize_alone(*, folder: str, redis_url: str, features: int, at: str) -> Alone:
    """Materialize `folder`/users.parquet by our plug-ins; made for a process of its own."""
    from materialization.bench.sides import Repository, Side, open_store, quiet

    registry = Path(folder) / f"registry-{time.time_ns()}.db"
    store = open_store(Side.OURS, Repository(Path(folder), registry, redis_url), [_view(features)])
    end = datetime.fromisoformat(at)
    with quiet():
        store.materialize(end - 9 * DAY, end - 8 * DAY)
        started = time.perf_counter()
        store.materialize(end - DAY, end)
        elapsed = time.perf_counter() - started
    return Alone(elapsed, peak_mb(), [])


def measure_growth(
    folder: Path, sizes: Sizes, *, at: datetime, random: np.random.Generator, report: Report
) -> Findings:
    """Each number of rows on an emptied Redis, in a process of its own; Redis is not in the peak."""
    seconds: dict[int, list[float]] = defaultdict(list)
    peaks: dict[int, list[float]] = defaultdict(list)
    turns = [(turn, rows) for turn in range(sizes.growths) for rows in sizes.growth_rows]
    with private_redis() as server:
        client: Any = redis.Redis.from_url(server.url, socket_timeout=None)
        for number, (_, rows) in enumerate(turns):
            report("materializations of many rows", number, len(turns))
            source = folder / str(rows)
            if not source.exists():
                view = _view(sizes.user_features)
                write_rows(source, view, {"user_id": ids("user", rows)}, [at - HOUR], random)
            client.flushall()
            run = run_alone(__name__, materialize_alone.__name__, _arguments(source, server.url, sizes, at))
            _check_rows(client, rows)
            seconds[rows].append(run.seconds)
            peaks[rows].append(run.peak_mb)
        report("materializations of many rows", len(turns), len(turns))
    return _findings(seconds, peaks, sizes)


def _view(features: int) -> MadeUpView:
    return MadeUpView("users", ("user_id",), features)


def _arguments(source: Path, redis_url: str, sizes: Sizes, at: datetime) -> dict[str, Any]:
    return {
        "folder": str(source),
        "redis_url": redis_url,
        "features": sizes.user_features,
        "at": at.isoformat(),
    }


def _check_rows(client: Any, rows: int) -> None:
    """One key for each row, and one for the layout."""
    found = int(client.dbsize())
    assert found >= rows, f"{found} keys of {rows} rows"


def _findings(seconds: dict[int, list[float]], peaks: dict[int, list[float]], sizes: Sizes) -> Findings:
    def timed(rows: int) -> Measured:
        what = f"{rows:,} rows x {sizes.user_features} features"
        return Measured.of(GROWTH, "ours", what, unit="s", values=seconds[rows])

    def peak(rows: int) -> Measured:
        return Measured.of(GROWTH, "ours", f"peak memory of {rows:,} rows", unit="MB", values=peaks[rows])

    few, most = min(seconds), max(seconds)
    per_row = {rows: float(np.median(seconds[rows])) / rows for rows in (few, most)}
    figures = (
        Figure(
            GROWTH,
            f"cost of a row among {most:,} next to among {few:,}",
            per_row[most] / per_row[few],
            at_most(TOLERANCE),
        ),
        Figure(GROWTH, f"peak memory of {most:,} rows, MB", max(peaks[most]), at_most(PEAK_MB)),
    )
    return Findings((*map(timed, seconds), *map(peak, peaks)), figures)
