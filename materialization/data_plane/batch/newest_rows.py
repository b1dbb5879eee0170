"""The newest row of every entity of a view in a window: found narrowly, then streamed in Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView
from feast.data_source import DataSource
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.feature_view import DUMMY_ENTITY_ID

from feature_repo.errors import FeatureError
from materialization.data_plane.offline.duck import name
from materialization.data_plane.offline.duck_files import FileStamps
from materialization.data_plane.offline.duck_sources import (
    POSITION,
    TimeColumns,
    latest_rows_sql,
    source_columns,
    source_sql,
)

EVENT, CREATED, PLACE = "__event", "__created", "__place"
"""Columns of a batch beside the keys and features: two times, and where the row lies in the source."""


@dataclass(frozen=True)
class ViewColumns:
    """A view's columns: their declared names, and their names in its source."""

    view: str
    source: DataSource
    keys: Mapping[str, str]
    """Without the key of an entity-less view, which no source has."""
    features: Mapping[str, str]
    event: str
    created: str | None

    @classmethod
    def of(cls, view: FeatureView) -> ViewColumns:
        """Field mappings of the batch source read backwards, for keys and times too."""
        source = view.batch_source
        assert source is not None
        mapped = {declared: column for column, declared in (source.field_mapping or {}).items()}
        keys = [field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]
        created = source.created_timestamp_column
        return cls(
            view.name,
            source,
            {key: mapped.get(key, key) for key in keys},
            {field.name: mapped.get(field.name, field.name) for field in view.features},
            mapped.get(source.timestamp_field, source.timestamp_field),
            mapped.get(created, created) if created else None,
        )

    def check(self, found: Mapping[str, str]) -> None:
        """That the source has them all; `found` are its columns.

        Raises FeastJoinKeysDuringMaterialization for a missing key, FeatureError for another.
        """
        present = {column.lower() for column in found}
        if any(column.lower() not in present for column in self.keys.values()):
            raise FeastJoinKeysDuringMaterialization(
                self.source.name or self.view, set(self.keys.values()), set(found)
            )
        wanted = [*self.features.values(), self.event, *([self.created] if self.created else [])]
        missing = sorted({column for column in wanted if column.lower() not in present})
        if missing:
            raise FeatureError(
                f"the source of {self.view} has no column {', '.join(missing)}; it has {', '.join(found)}. Correct "
                "the view's schema, its field mapping or the source"
            )


@dataclass(frozen=True)
class NewestRows:
    """The newest row of every entity, found but not yet read; whoever opened the connection closes it."""

    connection: duckdb.DuckDBPyConnection
    table: str
    columns: ViewColumns
    event_type: str
    """DuckDB's type of the event time."""
    stamps: FileStamps
    """The source's files as they were when the rows were found."""

    def count(self) -> int:
        """How many rows there are to read, those without a key included."""
        return int(self.connection.execute("SELECT count(*) FROM newest").fetchall()[0][0])

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """All of them, in batches of at most `rows`: keys and features by declared names, `EVENT`, `CREATED`."""
        times = [f"{_time(self.columns.event, self.event_type)} AS {EVENT}"]
        if self.columns.created:
            times.append(f"{name(self.columns.created)} AS {CREATED}")
        declared = {**self.columns.keys, **self.columns.features}
        return self._read(
            [*(f"{name(column)} AS {name(as_)}" for as_, column in declared.items()), *times], rows
        )

    def keys(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Keys by declared names, and `PLACE`."""
        keys = [f"{name(column)} AS {name(declared)}" for declared, column in self.columns.keys.items()]
        return self._read([*keys, f"{POSITION} AS {PLACE}"], rows)

    def keep(self, places: npt.NDArray[np.int64]) -> None:
        """Forget the others."""
        self.connection.register("kept_places", pa.table({"place": places}))
        self.connection.execute("DELETE FROM newest WHERE place NOT IN (SELECT place FROM kept_places)")
        self.connection.unregister("kept_places")

    def _read(self, select: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        query = f"SELECT {', '.join(select)} FROM {self.table} WHERE {POSITION} IN (SELECT place FROM newest)"
        yield from self.connection.sql(query).to_arrow_reader(rows)
        self.stamps.check()


def find_newest(
    connection: duckdb.DuckDBPyConnection,
    columns: ViewColumns,
    *,
    repo_path: object,
    start: datetime | None,
    end: datetime,
) -> NewestRows:
    """Look for them in [start, end], both included; sorts keys and times only.

    Raises what `ViewColumns.check` and `source_sql` raise.
    """
    stamps = FileStamps.of([columns.source], repo_path)
    table = source_sql(connection, columns.source, repo_path)
    found = source_columns(connection, table)
    columns.check(found)
    event_type = {column.lower(): kind for column, kind in found.items()}[columns.event.lower()]
    query = latest_rows_sql(
        table,
        keys=list(columns.keys.values()),
        times=TimeColumns(columns.event, event_type, columns.created),
        select=f"{POSITION} AS place",
        start=start,
        end=end,
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE newest AS {query}")
    return NewestRows(connection, table, columns, event_type, stamps)


def instants(array: pa.Array, *, missing: int) -> npt.NDArray[np.int64]:
    """Times as microseconds since 1970 UTC, rounded down; naive ones are UTC."""
    if pa.types.is_timestamp(array.type):
        if array.type.unit == "ns":
            array = pc.floor_temporal(array, unit="microsecond")
        array = array.cast(pa.timestamp("us", array.type.tz))
    elif not pa.types.is_null(array.type):
        array = array.cast(pa.timestamp("us"))
    return np.asarray(array.cast(pa.int64()).fill_null(missing).to_numpy(zero_copy_only=False))


def micros(moment: datetime) -> int:
    """The same for one instant."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _time(column: str, kind: str) -> str:
    return name(column) if kind.startswith("TIMESTAMP") else f"{name(column)}::TIMESTAMPTZ"
