"""A Feast project in one folder, and the naive point-in-time join that the offline store is judged by."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.data_format import ParquetFormat
from feast.repo_config import RepoConfig
from feast.types import Int64

OURS = "materialization.data_plane.offline_store.AsofDuckDBOfflineStore"
STOCK = "duckdb"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
USER = Entity(name="user", join_keys=["user_id"])
ITEM = Entity(name="item", join_keys=["item_id"])
Row = Mapping[str, Any]


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def open_store(folder: Path, *, type: str = OURS, **options: Any) -> FeatureStore:
    """A store with its registry in `folder`; `options` are the offline store's."""
    folder.mkdir(parents=True, exist_ok=True)
    return FeatureStore(
        config=RepoConfig(
            project="world",
            provider="local",
            registry={"registry_type": "file", "path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
            offline_store={"type": type, **options},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )


def apply(store: FeatureStore, *things: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.apply(list(things))


def a_view(
    name: str,
    path: Path | str,
    *,
    entities: Sequence[Entity] = (USER,),
    features: Iterable[Field] | None = None,
    ttl: float | None = None,
    created: bool = True,
    **source: Any,
) -> FeatureView:
    """A view of one int64 feature `value`, unless others are given, on a parquet source."""
    return FeatureView(
        name=name,
        entities=list(entities),
        schema=list(features or [Field(name="value", dtype=Int64)]),
        ttl=timedelta(seconds=ttl) if ttl else None,
        source=FileSource(
            name=f"{name}_source",
            path=str(path),
            file_format=ParquetFormat(),
            **{
                "timestamp_field": "event_timestamp",
                "created_timestamp_column": "created_timestamp" if created else "",
                **source,
            },
        ),
    )


def write_rows(path: Path, rows: Sequence[Row], **types: pa.DataType) -> Path:
    """Rows as a parquet file; times are microseconds in UTC and everything else int64 unless `types` says."""
    names = list(rows[0]) if rows else list(types)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: timely([row[name] for row in rows], types.get(name) or _kind(name)) for name in names}
    pq.write_table(pa.table(columns), path)
    return path


def timely(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values in a type; aware instants in a type without zone are written as UTC."""
    if not pa.types.is_timestamp(kind):
        return pa.array(values, kind)
    return pa.array(values, pa.timestamp("us", tz="UTC")).cast(pa.timestamp(kind.unit, tz="UTC")).cast(kind)


def _kind(name: str) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if name.endswith("_timestamp") else pa.int64()


def naive_join(
    request: Sequence[Row],
    source: Sequence[Row],
    keys: Mapping[str, str],
    *,
    ttl: float | None = None,
    knowledge: bool = True,
) -> list[Row | None]:
    """For each request row, the source row that was valid and known then; `keys` goes from source to request.

    Written to be read: row by row, no sorting, no SQL.
    """
    return [_valid_row(asked, source, keys, ttl=ttl, knowledge=knowledge) for asked in request]


def _valid_row(
    asked: Row, source: Sequence[Row], keys: Mapping[str, str], *, ttl: float | None, knowledge: bool
) -> Row | None:
    label, best = asked["event_timestamp"], None
    if label is None:
        return None
    for row in source:
        if any(row[key] is None or row[key] != asked[column] for key, column in keys.items()):
            continue
        event, created = row["event_timestamp"], row.get("created_timestamp")
        if event is None or event > label:
            continue
        if ttl and event < label - timedelta(seconds=ttl):
            continue
        if knowledge and created is not None and created > label:
            continue
        if best is None or _newness(row) >= _newness(best):
            best = row
    return best


def _newness(row: Row) -> tuple[datetime, datetime]:
    created = row.get("created_timestamp")
    return row["event_timestamp"], created or datetime.min.replace(tzinfo=UTC)
