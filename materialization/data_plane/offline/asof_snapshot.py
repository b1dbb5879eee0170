"""The request of a retrieval without entity frame: every entity seen in a range of time, as of its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import duckdb
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.repo_config import RepoConfig
from feast.utils import compute_non_entity_date_range

from feature_repo.errors import FeatureError
from materialization.data_plane.offline.asof_plan import PlannedView, Planner, request_keys
from materialization.data_plane.offline.asof_request import EVENT_TIMESTAMP, RESULT_TIME, Request
from materialization.data_plane.offline.duck import DuckSettings, connect, name
from materialization.data_plane.offline.duck_sources import window_sql


def snapshot_request(
    views: Sequence[FeatureView],
    config: RepoConfig,
    settings: DuckSettings,
    *,
    start_date: datetime | None,
    end_date: datetime | None,
) -> tuple[Request, tuple[datetime, datetime]]:
    """The request and the range; without `start_date` it begins the longest ttl (30 days without one) before its end.

    Raises FeatureError where views are keyed differently, so that no set of entities fits them all.
    """
    start, end = compute_non_entity_date_range(list(views), start_date=start_date, end_date=end_date)
    keyed = [view for view in views if request_keys(view)]
    if len({frozenset(request_keys(view).values()) for view in keyed}) > 1:
        raise FeatureError(
            f"views of different keys ({', '.join(view.name for view in keyed)}) were asked for without an entity "
            "frame; pass one, or ask for the views of one key at a time"
        )
    with connect(settings) as connection:
        planned = Planner(connection, config.repo_path, knowledge=False).plan(keyed, [], full=False)
        entities = _entities(connection, planned, start, end)
    columns = (
        {field.name: entities.column(field.name) for field in entities.schema} if entities is not None else {}
    )
    at = pa.array([end] * (1 if entities is None else len(entities)), RESULT_TIME)
    return Request(pa.table({**columns, EVENT_TIMESTAMP: at}), EVENT_TIMESTAMP, at), (start, end)


def _entities(
    connection: duckdb.DuckDBPyConnection, planned: list[PlannedView], start: datetime, end: datetime
) -> pa.Table | None:
    """Distinct keys in order; None without any keyed view."""
    if not planned:
        return None
    seen = []
    for view in planned:
        side = view.side
        keys = sorted(side.keys, key=lambda pair: pair[1])
        columns = ", ".join(f"{name(column)} AS {name(asked)}" for column, asked in keys)
        filled = " AND ".join(f"{name(column)} IS NOT NULL" for column, _ in keys)
        seen.append(
            f"SELECT {columns} FROM {side.table} WHERE {window_sql(side.times, start, end)} AND {filled}"
        )
    table = connection.sql(
        f"SELECT DISTINCT * FROM ({' UNION ALL '.join(seen)}) ORDER BY ALL"
    ).to_arrow_table()
    return table.combine_chunks()
