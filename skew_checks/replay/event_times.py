"""Which rows of a view there are offline, straight from the built partitions: the join tells values, not times."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.columns import Columns
from feature_repo.frames import columns_from_table
from feature_repo.workspace import Workspace
from materialization.feast_store import reading_features
from ranking_service.contract import ViewPlan

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
MARGIN_SECONDS = 3 * 86_400.0
"""How much further back than twice the ttl rows are looked for."""
TAKEOVERS = """
    ranked AS (
        SELECT *, greatest(event, created) AS available,
            row_number() OVER (PARTITION BY {keys} ORDER BY event, created) AS rank
        FROM built
    ),
    steps AS (
        SELECT * FROM ranked QUALIFY rank = max(rank) OVER (
            PARTITION BY {keys} ORDER BY available RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )"""
"""As the training join does: a row takes over when it has happened, is known, and is newer than all before it."""


@dataclass(frozen=True)
class RowTimes:
    """Of one row per place: Unix seconds, float64; NaN where there is none."""

    event: Floats
    created: Floats

    @property
    def available(self) -> Floats:
        """From when on it could be known."""
        return np.fmax(self.event, self.created)


@dataclass(frozen=True)
class DueTimes:
    """The row valid at each instant, and the one that had to be readable by then."""

    newest: RowTimes
    due: RowTimes


@dataclass(frozen=True)
class StoredRows:
    """Rows found by key and event time."""

    places: Rows
    """int64 [found]: which of the rows asked for each answers; rows that are not there are left out."""
    columns: Columns
    """The view's fields."""
    created: Floats
    versions: Rows
    """int64 [found]: rows of that key and event time; more than one were corrected."""


def row_times(workspace: Workspace, view: ViewPlan, keys: pa.Table, at: Floats) -> RowTimes:
    """The row of the view that is valid and known at each instant `at` (Unix seconds), whatever its age.

    `keys` has the view's join keys, a row for each instant. Raises FeatureError for a damaged partition.
    """
    names = ", ".join(f'"{key}"' for key in view.join_keys)
    sql = f"""
        WITH built AS (
            SELECT {names}, epoch_us(event_timestamp) AS event, epoch_us(created_timestamp) AS created
            FROM {source_sql(workspace, view)} SEMI JOIN wanted USING ({names})
            WHERE {_bounds(view, at)}
        ), {TAKEOVERS.format(keys=names)}
        SELECT place, event / 1e6 AS event, created / 1e6 AS created
        FROM wanted ASOF LEFT JOIN steps
        ON {_same_keys(view, "steps")} AND wanted.at_us >= steps.available ORDER BY place"""
    found = _run(sql, _wanted(view, keys, at))
    return RowTimes(_floats(found["event"]), _floats(found["created"]))


def due_times(workspace: Workspace, view: ViewPlan, keys: pa.Table, at: Floats, *, target: float) -> DueTimes:
    """Rows valid at `at`, and `target` seconds before."""
    names = list(view.join_keys)
    twice = pa.concat_tables([keys.select(names), keys.select(names)])
    both = row_times(workspace, view, twice, np.concatenate((at, at - target)))
    sides = zip(np.split(both.event, 2), np.split(both.created, 2), strict=True)
    newest, due = (RowTimes(event, created) for event, created in sides)
    return DueTimes(newest, due)


def rows_of_event(
    workspace: Workspace, view: ViewPlan, keys: pa.Table, event: Floats, *, back: int = 0
) -> StoredRows:
    """The view's row of each key with just that event time: of several versions the last known, or `back` before."""
    fields = ", ".join(f'built."{field.name}"' for field in view.fields)
    sql = f"""
        SELECT place, {fields}, epoch_us(built.created_timestamp) / 1e6 AS created,
            count(*) OVER (PARTITION BY place) AS versions
        FROM wanted JOIN {source_sql(workspace, view)} AS built
        ON {_same_keys(view, "built")} AND epoch_us(built.event_timestamp) = wanted.at_us
        QUALIFY row_number() OVER (PARTITION BY place ORDER BY built.created_timestamp DESC) = {back + 1}
        ORDER BY place"""
    found = _run(sql, _wanted(view, keys, event))
    places = found["place"].to_numpy()
    columns = columns_from_table(found.select([field.name for field in view.fields]))
    return StoredRows(places, columns, _floats(found["created"]), found["versions"].to_numpy())


def next_times(workspace: Workspace, view: ViewPlan, keys: pa.Table, event: Floats) -> Floats:
    """Event time of each key's first row after `event`: Unix seconds, NaN where there is none."""
    names = ", ".join(f'"{key}"' for key in view.join_keys)
    sql = f"""
        WITH built AS (SELECT {names}, epoch_us(event_timestamp) AS event FROM {source_sql(workspace, view)})
        SELECT place, built.event / 1e6 AS event
        FROM wanted ASOF LEFT JOIN built ON {_same_keys(view, "built")} AND wanted.at_us < built.event
        ORDER BY place"""
    return _floats(_run(sql, _wanted(view, keys, event))["event"])


def offline_event_times(workspace: Workspace, view: ViewPlan, rows: pa.Table) -> Floats:
    """Event time of the view's newest row at each row's `request_timestamp`: Unix seconds, float64 [rows].

    NaN where there is none, or none within the view's ttl.
    """
    at = np.asarray(rows["request_timestamp"].to_numpy(), np.float64)
    seconds = row_times(workspace, view, rows.select(list(view.join_keys)), at).event
    return np.where((at - seconds > view.ttl_seconds) & (view.ttl_seconds > 0), np.nan, seconds)


def _wanted(view: ViewPlan, keys: pa.Table, at: Floats) -> pa.Table:
    """Instants that are missing find nothing."""
    micros = np.where(np.isnan(at), -1.0, np.round(at * 1e6)).astype(np.int64)
    table = keys.select(list(view.join_keys)).append_column("place", pa.array(np.arange(len(keys))))
    return table.append_column("at_us", pa.array(micros))


def source_sql(workspace: Workspace, view: ViewPlan) -> str:
    """The view's built partitions as a table of DuckDB."""
    pattern = str(workspace.feature_path(view.name) / "*" / "*.parquet").replace("'", "''")
    return f"read_parquet('{pattern}', hive_partitioning = false)"


def _bounds(view: ViewPlan, at: Floats) -> str:
    """On the event time; without ttl the whole past counts."""
    known = at[~np.isnan(at)]
    if not len(known):
        return "false"
    first = known.min() - 2 * view.ttl_seconds - MARGIN_SECONDS
    since = f"event_timestamp >= make_timestamptz({round(first * 1e6)}) AND " if view.ttl_seconds else ""
    return f"{since}event_timestamp <= make_timestamptz({round(known.max() * 1e6)})"


def _same_keys(view: ViewPlan, source: str) -> str:
    return " AND ".join(f'wanted."{key}" = {source}."{key}"' for key in view.join_keys)


def _run(sql: str, wanted: pa.Table) -> pa.Table:
    with reading_features(), duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        connection.register("wanted", wanted)
        return connection.sql(sql).to_arrow_table()


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.to_numpy(), np.float64)
