"""The point-in-time join as three contenders do it, each made for a process of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from materialization.bench.alone import Alone, peak_mb
from materialization.bench.made_up import made_up_views
from materialization.bench.sizes import Sizes

WARM_UP_ROWS = 1_000
CHECKED = 5
"""Every so-many-th feature goes into the checksum."""


def through_feast(*, side: str, folder: str, request: str, sizes: dict[str, Any]) -> Alone:
    """`get_historical_features(frame).to_arrow()`, of the stock store or ours."""
    from materialization.bench.sides import Repository, Side, open_store, quiet

    views = made_up_views(Sizes(**sizes))[:2]
    repository = Repository(Path(folder), Path(request).with_name(f"registry-{side}-{time.time_ns()}.db"))
    store = open_store(Side(side), repository, views)
    references = [f"{view.name}:{feature}" for view in views for feature in view.features]
    frame = pq.read_table(request).to_pandas()
    with quiet():
        store.get_historical_features(frame.head(WARM_UP_ROWS), references).to_arrow()
        started = time.perf_counter()
        joined = store.get_historical_features(frame, references).to_arrow()
        elapsed = time.perf_counter() - started
    return Alone(elapsed, peak_mb(), _checksum(joined))


def bare(*, folder: str, request: str, sizes: dict[str, Any]) -> Alone:
    """Two ASOF joins in plain DuckDB, request and result in Arrow."""
    import duckdb

    views = made_up_views(Sizes(**sizes))[:2]
    table = pq.read_table(request)
    columns, joins = [], []
    for view in views:
        (key,) = view.join_keys
        columns += [f"{view.name}.{feature}" for feature in view.features]
        joins.append(
            f"ASOF LEFT JOIN '{folder}/{view.name}.parquet' {view.name} ON request.{key} = {view.name}.{key} "
            f"AND request.event_timestamp >= {view.name}.event_timestamp"
        )
    query = f"SELECT request.*, {', '.join(columns)} FROM request {' '.join(joins)}"
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("request", table.slice(0, WARM_UP_ROWS))
        connection.sql(query).to_arrow_table()
        connection.register("request", table)
        started = time.perf_counter()
        joined = connection.sql(query).to_arrow_table()
        elapsed = time.perf_counter() - started
    return Alone(elapsed, peak_mb(), _checksum(joined))


def streamed(*, folder: str, request: str, result: str, memory_limit: str, sizes: dict[str, Any]) -> Alone:
    """Ours from a parquet request to a parquet result: neither is ever held as a whole."""
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

    from materialization.bench.sides import Repository, Side, open_store, quiet

    views = made_up_views(Sizes(**sizes))[:2]
    registry = Path(request).with_name(f"registry-{time.time_ns()}.db")
    store = open_store(Side.OURS, Repository(Path(folder), registry, memory_limit=memory_limit), views)
    references = [f"{view.name}:{feature}" for view in views for feature in view.features]
    with quiet():
        started = time.perf_counter()
        job = store.get_historical_features(request, references)
        job.persist(SavedDatasetFileStorage(result))
        elapsed = time.perf_counter() - started
    return Alone(elapsed, peak_mb(), [float(pq.ParquetFile(result).metadata.num_rows)])


def _checksum(joined: pa.Table) -> list[float]:
    """Row count, and for each view's first and every fifth feature its values weighted with the row's number."""
    rows = joined.column("row").to_numpy().astype(np.float64)
    features = [name for name in joined.column_names if name.startswith(("users_", "items_"))]
    sums = [float(np.nansum(joined.column(name).to_numpy() * rows)) for name in sorted(features)[::CHECKED]]
    return [float(len(rows)), *sums]
