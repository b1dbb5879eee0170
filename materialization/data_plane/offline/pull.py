"""All or the newest rows of a source within a window, as materialization reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa
from feast.data_source import DataSource
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.feature_logging import LOG_DATE_FIELD, LOG_TIMESTAMP_FIELD
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from feature_repo.errors import FeatureError
from materialization.data_plane.offline.arrow_lists import plain_lists
from materialization.data_plane.offline.duck import DuckSettings, connect, literal, name
from materialization.data_plane.offline.duck_sources import (
    TimeColumns,
    latest_rows_sql,
    source_columns,
    source_sql,
    window_sql,
)


def source_schema(source: DataSource, repo_path: object, settings: DuckSettings) -> pa.Schema:
    """The source's columns as joins and pulls will give them, hive partitions included."""
    with connect(settings) as connection:
        table = source_sql(connection, source, repo_path)
        schema = connection.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema
    return plain_lists(schema)


@dataclass(frozen=True)
class Pull:
    """Which columns, by the source's own names, of which rows; the window includes both ends."""

    source: DataSource
    repo_path: object
    keys: tuple[str, ...]
    features: tuple[str, ...]
    """None named means every column."""
    event: str
    created: str | None
    start: datetime | None
    end: datetime | None

    def all_sql(self, connection: duckdb.DuckDBPyConnection) -> str:
        table, types = self._open(connection)
        times = TimeColumns(self.event, types[self.event], self.created)
        return f"SELECT {self._selected(types)} FROM {table} WHERE {window_sql(times, self.start, self.end)}"

    def latest_sql(self, connection: duckdb.DuckDBPyConnection) -> str:
        table, types = self._open(connection)
        return latest_rows_sql(
            table,
            keys=[key for key in self.keys if key in types],
            times=TimeColumns(self.event, types[self.event], self.created),
            select=self._selected(types),
            start=self.start,
            end=self.end,
        )

    def _open(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, dict[str, str]]:
        table = source_sql(connection, self.source, self.repo_path)
        types = source_columns(connection, table)
        missing = set(self.keys) - {DUMMY_ENTITY_ID} - set(types)
        if missing:
            raise FeastJoinKeysDuringMaterialization(self.source.name, set(self.keys), set(types))
        times = {self.event, self.created or self.event}
        absent = sorted((times | set(self.features)) - set(types) - {LOG_DATE_FIELD, DUMMY_ENTITY_ID})
        if absent:
            raise FeatureError(
                f"the source {self.source.name} has no column {', '.join(absent)}; found {', '.join(types)}; correct "
                "the view's schema or the source"
            )
        return table, types

    def _selected(self, types: dict[str, str]) -> str:
        """The columns; times as microseconds in UTC, since Feast cannot convert nanoseconds with a time zone."""
        times = [self.event, *([self.created] if self.created else [])]
        wanted = [*self.keys, *self.features, *times] if self.features else [*self.keys, *types, *times]
        columns = [column for column in dict.fromkeys(wanted) if column in types and column != LOG_DATE_FIELD]
        shown = [
            f"{name(column)}::TIMESTAMPTZ AS {name(column)}" if column in times else name(column)
            for column in columns
        ]
        entityless = not self.keys or DUMMY_ENTITY_ID in self.keys
        if entityless and DUMMY_ENTITY_ID not in types and self.event != LOG_TIMESTAMP_FIELD:
            shown.append(f"{literal(DUMMY_ENTITY_VAL)} AS {name(DUMMY_ENTITY_ID)}")
        return ", ".join(shown)
