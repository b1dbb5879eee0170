"""The join itself: for every request row, the position of the one source row that was valid and known then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.errors import FeatureError
from materialization.data_plane.offline.asof_keys import EXACT_FLOAT, comparison, is_float
from materialization.data_plane.offline.asof_plan import PlannedView, Side
from materialization.data_plane.offline.asof_request import INT64_MAX, Request, scattered
from materialization.data_plane.offline.duck import name
from materialization.data_plane.offline.duck_sources import POSITION, window_sql

ASKED = "asked"
MICROSECOND = timedelta(microseconds=1)
LATE_STEPS = """ranked AS (
            SELECT *, CASE WHEN created > event THEN created ELSE event END AS available,
                row_number() OVER (PARTITION BY {keys} ORDER BY event, created NULLS FIRST, position) AS rank
            FROM source SEMI JOIN request USING ({keys}) WHERE event IS NOT NULL
        ),
        steps AS (
            SELECT * FROM ranked
            QUALIFY rank = max(rank) OVER (
                PARTITION BY {keys} ORDER BY available RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        )"""
STEPS = """steps AS (
            SELECT *, event AS available FROM source SEMI JOIN request USING ({keys}) WHERE event IS NOT NULL
            QUALIFY lead(event) OVER (PARTITION BY {keys} ORDER BY event, created NULLS FIRST, position)
                IS DISTINCT FROM event
        )"""
"""The rows that take over, and from when on, with and without rows that become known after they happened."""


def match(connection: duckdb.DuckDBPyConnection, request: Request, planned: PlannedView) -> pa.Array:
    """Positions (`POSITION`) in request order, null where nothing was valid.

    Raises FeatureError where a key of the request cannot be compared with the source's.
    """
    side = planned.side
    ns = _in_nanoseconds(request, side)
    with _asked(connection, request, side, ns=ns):
        compared = _compared_keys(connection, planned)
        seen = window(request, side)
        late = _has_late_rows(connection, side, window=seen, ns=ns)
        sql = match_sql(side, compared, window=seen, ns=ns, late=late)
        found = connection.sql(sql).to_arrow_table()
    return scattered(found.column("row_id").to_numpy(), found.column("position").to_numpy(), len(request))


def match_sql(
    side: Side, compared: list[tuple[str, str]], *, window: str, ns: bool, late: bool = True
) -> str:
    """The query for (row_id, position), of rows that found one.

    A row becomes available when it has happened and is known. In the order of availability a row takes over when
    it is newer (event, then created time, then place in the source) than all before it; the others never show. The
    last takeover before the label is then the newest known row, and where its event is older than ttl all are.
    Without late rows, known only after they happened, that is the newest of each key and event: one sort less.
    """
    keys = ", ".join(f"k{index}" for index in range(len(compared)))
    asked = ", ".join(f"{left} AS k{index}" for index, (left, _) in enumerate(compared))
    known = ", ".join(f"{right} AS k{index}" for index, (_, right) in enumerate(compared))
    event, created = _times_sql(side, ns=ns)
    same = " AND ".join(f"request.k{index} = steps.k{index}" for index in range(len(compared)))
    in_time = ""
    if side.ttl:
        in_time = f"WHERE steps.event >= request.label_time::HUGEINT - {side.ttl // MICROSECOND * (1000 if ns else 1)}"
    return f"""
        WITH request AS (SELECT row_id, label_time, {asked} FROM {ASKED} WHERE label_time IS NOT NULL),
        source AS (
            SELECT {known}, {event} AS event, {created} AS created, {POSITION} AS position
            FROM {side.table} WHERE {window}
        ),
        {LATE_STEPS.format(keys=keys) if late else STEPS.format(keys=keys)}
        SELECT request.row_id, steps.position
        FROM request ASOF JOIN steps ON {same} AND request.label_time >= steps.available {in_time}"""


def _times_sql(side: Side, *, ns: bool) -> tuple[str, str]:
    """Event and created time of a source row."""
    event = instant_sql(name(side.times.event), side.times.event_type, ns=ns)
    if not (side.times.created and side.created_type):
        return event, "NULL::BIGINT"
    return event, instant_sql(name(side.times.created), side.created_type, ns=ns)


def _has_late_rows(connection: duckdb.DuckDBPyConnection, side: Side, *, window: str, ns: bool) -> bool:
    """Whether knowledge time can differ from event time; a look at two columns."""
    if not (side.knowledge and side.times.created):
        return False
    event, created = _times_sql(side, ns=ns)
    query = f"SELECT coalesce(bool_or({created} > {event}), false) FROM {side.table} WHERE {window}"
    ((late,),) = connection.execute(query).fetchall()
    return bool(late)


def window(request: Request, side: Side) -> str:
    """The condition on the source's event time outside which no row can match."""
    bounds = request.bounds()
    if bounds is None:
        return "true"
    try:
        first = bounds[0] - side.ttl if side.ttl else None
        return window_sql(side.times, first, bounds[1] + MICROSECOND)
    except OverflowError:
        return "true"


def instant_sql(column: str, kind: str, *, ns: bool) -> str:
    """A time of any type as an integer since the epoch; naive is UTC; beyond nanoseconds' range its ends."""
    if not kind.startswith("TIMESTAMP"):
        column, kind = f"{column}::TIMESTAMPTZ", "TIMESTAMPTZ"
    if not ns:
        return f"epoch_us({column})"
    if kind.endswith("_NS"):
        return f"epoch_ns({column})"
    bound = INT64_MAX // 1000
    return (
        f"CASE WHEN epoch_us({column}) > {bound} THEN {bound} WHEN epoch_us({column}) < -{bound} THEN -{bound} "
        f"ELSE epoch_us({column}) END * 1000"
    )


def _in_nanoseconds(request: Request, side: Side) -> bool:
    """Microseconds do where nothing is finer."""
    kinds = (side.times.event_type, side.created_type or "")
    return request.is_ns or any(kind.endswith("_NS") for kind in kinds)


@contextmanager
def _asked(
    connection: duckdb.DuckDBPyConnection, request: Request, side: Side, *, ns: bool
) -> Iterator[None]:
    """The request's keys, times and row ids as a table: nothing else takes part in the join."""
    columns = {f"q{index}": request.table.column(asked) for index, (_, asked) in enumerate(side.keys)}
    rows = pa.array(np.arange(len(request)))
    connection.register(ASKED, pa.table({**columns, "label_time": request.instants(ns=ns), "row_id": rows}))
    try:
        yield
    finally:
        connection.unregister(ASKED)


def _compared_keys(connection: duckdb.DuckDBPyConnection, planned: PlannedView) -> list[tuple[str, str]]:
    """SQL of every key on both sides; a view without entity has one key that is always the same."""
    described = connection.execute(f"DESCRIBE {ASKED}").fetchall()
    kinds = {row[0]: str(row[1]).strip('"') for row in described}
    compared = []
    for index, (column, asked) in enumerate(planned.side.keys):
        left, right = kinds[f"q{index}"], planned.types[column]
        both = comparison(left, right)
        if both is None:
            raise FeatureError(
                f"{planned.view}: key {asked} is {left} in the request and {right} in the source (column {column}); "
                "convert the request's column to the source's type"
            )
        if is_float(left) and not is_float(right):
            _refuse_inexact(connection, planned.view, key=asked, column=f"q{index}")
        compared.append((both[0].format(f"q{index}"), both[1].format(name(column))))
    return compared or [("0", "0")]


def _refuse_inexact(connection: duckdb.DuckDBPyConnection, view: str, *, key: str, column: str) -> None:
    query = f"SELECT max(abs({column})) FROM {ASKED} WHERE NOT isnan({column})"
    ((largest,),) = connection.execute(query).fetchall()
    if largest is not None and largest >= EXACT_FLOAT:
        raise FeatureError(
            f"{view}: key {key} comes as a float and holds {largest:.0f}; from 2^53 on floats do not tell integers "
            "apart; pass the key as integers (pandas: Int64)"
        )
