"""What each view of a historical request is, in the words of its source: columns, keys, times, output names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView

from feature_repo.errors import FeatureError
from materialization.data_plane.offline.duck_sources import TimeColumns, source_columns, source_sql


@dataclass(frozen=True)
class Side:
    """What decides which row of a source belongs to a request row; views alike in this are joined once."""

    table: str
    """As `source_sql` gives it."""
    keys: tuple[tuple[str, str], ...]
    """Column of the source, column of the request; none for a view without entity."""
    times: TimeColumns
    created_type: str | None
    ttl: timedelta | None
    knowledge: bool
    """Whether rows created after the label are unknown."""


@dataclass(frozen=True)
class PlannedView:
    view: str
    side: Side
    types: dict[str, str]
    """DuckDB's types of the source's columns."""
    features: tuple[tuple[str, str], ...]
    """Column of the source, name in the result."""


def requested(view: FeatureView, feature_refs: Sequence[str], *, full: bool) -> list[tuple[str, str]]:
    """(feature, name in the result) of one view, in the order of the references."""
    prefix = f"{view.projection.name_to_use()}:"
    shown = view.projection.name_alias or view.name
    names = [ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix)]
    return [(feature, f"{shown}__{feature}" if full else feature) for feature in dict.fromkeys(names)]


def request_keys(view: FeatureView) -> dict[str, str]:
    """Join key of the view to column of the request; a view without entity has none."""
    renamed = view.projection.join_key_map or {}
    return {
        column.name: renamed.get(column.name, column.name)
        for column in view.entity_columns
        if column.name != DUMMY_ENTITY_ID
    }


def batch_source(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise ValueError(f"Feature view '{view.name}' has no batch_source and cannot be queried.")
    return view.batch_source


@dataclass(frozen=True)
class Planner:
    """Turns views into sides, on one connection."""

    connection: duckdb.DuckDBPyConnection
    repo_path: object
    knowledge: bool

    def plan(
        self, views: Sequence[FeatureView], feature_refs: Sequence[str], *, full: bool
    ) -> list[PlannedView]:
        """Raises FeatureError where a source lacks a column that a view needs."""
        tables: dict[DataSource, tuple[str, dict[str, str]]] = {}
        planned = []
        for view in views:
            source = batch_source(view)
            if source not in tables:
                table = source_sql(self.connection, source, self.repo_path)
                tables[source] = table, source_columns(self.connection, table)
            planned.append(self._view(view, *tables[source], requested(view, feature_refs, full=full)))
        return planned

    def _view(
        self, view: FeatureView, table: str, types: dict[str, str], features: list[tuple[str, str]]
    ) -> PlannedView:
        source = view.batch_source
        column = ColumnNames(view.name, source, types)
        event = column(source.timestamp_field)
        created = column(source.created_timestamp_column) if source.created_timestamp_column else None
        side = Side(
            table=table,
            keys=tuple((column(key), asked) for key, asked in request_keys(view).items()),
            times=TimeColumns(event, types[event], created),
            created_type=types[created] if created else None,
            ttl=view.ttl or None,
            knowledge=self.knowledge and created is not None,
        )
        return PlannedView(
            view=view.projection.name_to_use(),
            side=side,
            types=types,
            features=tuple((column(feature), shown) for feature, shown in features),
        )


@dataclass(frozen=True)
class ColumnNames:
    """Feast's names to the source's: a field mapping goes from source column to feature, key or timestamp."""

    view: str
    source: Any
    types: dict[str, str]

    def __call__(self, wanted: str) -> str:
        mapped = {new: old for old, new in self.source.field_mapping.items()}.get(wanted, wanted)
        for name in (mapped, wanted):
            if name in self.types:
                return name
        raise FeatureError(
            f"{self.view}: its source {self.source.name} has no column {mapped}; found {', '.join(self.types)}; "
            "correct the view's schema or the source's field_mapping"
        )
