"""Hold a table against a canonical schema: its columns, their order and types, no null where none may be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from feature_repo.errors import EventDataError

DAY_US = 86_400_000_000
EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC).date()


def conform(table: pa.Table, schema: pa.Schema, *, name: str) -> pa.Table:
    """The table with exactly the schema's columns; a nullable column it lacks becomes null.

    Raises EventDataError listing all problems: columns lacking, unknown, of the wrong type, or with nulls.
    """
    problems = [
        f"column {column} is not in the schema" for column in table.column_names if column not in schema.names
    ]
    columns = []
    for field in schema:
        try:
            columns.append(_column(table, field))
        except EventDataError as problem:
            problems.append(str(problem))
    if problems:
        raise EventDataError(f"table {name}: " + "; ".join(problems))
    return pa.Table.from_arrays(columns, schema=schema)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.column_names:
        if field.nullable:
            return pa.nulls(table.num_rows, field.type)
        raise EventDataError(f"column {field.name} is missing")
    column = table[field.name]
    try:
        cast = column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as problem:
        raise EventDataError(
            f"column {field.name} is {column.type}, expected {field.type} ({problem})"
        ) from problem
    if cast.null_count and not field.nullable:
        raise EventDataError(f"column {field.name} is null in {cast.null_count} rows")
    return cast


def by_day(table: pa.Table, column: str) -> Iterator[tuple[date, pa.Table]]:
    """The table's rows by UTC day of a timestamp column without nulls: days ascending, rows as they were."""
    if not table.num_rows:
        return
    numbers = table[column].cast(pa.int64()).to_numpy() // DAY_US
    order = np.argsort(numbers, kind="stable")
    days, starts = np.unique(numbers[order], return_index=True)
    ends = [*starts[1:], len(order)]
    for number, start, end in zip(days, starts, ends, strict=True):
        yield EPOCH_DAY + timedelta(days=int(number)), table.take(order[start:end])
