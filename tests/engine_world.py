"""A Feast project on real parquet and a real Redis, once with our batch engine and once with Feast's local one."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float32, Int64, String
from feast.value_type import ValueType

OWN = "materialization.data_plane.batch_engine.PackedBatchEngine"
ONLINE = "materialization.data_plane.online_store.PackedRedisOnlineStore"
OFFLINE = "materialization.data_plane.offline_store.AsofDuckDBOfflineStore"

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
VIEW_WAS_LOCAL = "users was materialized by Feast's local engine, because it has a transformation"
MICROS = pa.timestamp("us", "UTC")
VALUE_TYPES = {ValueType.INT64: Int64, ValueType.STRING: String}


def open_project(
    folder: Path, redis_port: int, *, project: str = "world", engine: Any = OWN, **settings: Any
) -> FeatureStore:
    """An empty project; ttl-free views read whatever is written."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "project": project,
        "provider": "local",
        "registry": {"registry_type": "file", "path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
        "offline_store": {"type": OFFLINE},
        "online_store": {
            "type": ONLINE,
            "connection_string": f"127.0.0.1:{redis_port}",
        },
        "batch_engine": engine,
        "entity_key_serialization_version": 3,
        **settings,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FeatureStore(config=RepoConfig(repo_path=folder, **config))


def key(name: str, value_type: ValueType = ValueType.INT64) -> Entity:
    """An entity with one join key of its own name."""
    return Entity(name=name, join_keys=[name], value_type=value_type)


def source(folder: Path, name: str, columns: dict[str, Any], **options: Any) -> FileSource:
    """A parquet file of these columns."""
    table = pa.table(columns)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    pq.write_table(table, path)
    if "created" in columns and "created_timestamp_column" not in options:
        options["created_timestamp_column"] = "created"
    options.setdefault("timestamp_field", "event_timestamp")
    return FileSource(name=f"{name}_source", path=str(path), **options)


def view(
    name: str,
    entities: Sequence[Entity],
    origin: Any,
    *,
    features: dict[str, Any] | None = None,
    **options: Any,
) -> FeatureView:
    """A view with one float feature `x`, unless told otherwise."""
    keys = [Field(name=one.join_key, dtype=VALUE_TYPES.get(one.value_type, String)) for one in entities]
    declared = {"x": Float32} if features is None else features
    return FeatureView(
        name=name,
        entities=list(entities),
        schema=[*keys, *(Field(name=feature, dtype=dtype) for feature, dtype in declared.items())],
        source=origin,
        **options,
    )


def apply(store: FeatureStore, *objects: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.apply(list(objects))


def materialize(store: FeatureStore, *views: str, start: datetime = START, end: datetime = END) -> str:
    """What Feast printed."""
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        store.materialize(start, end, feature_views=list(views) or None)
    return said.getvalue()


def served(store: FeatureStore, view_name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Values, statuses and event times of all features of a view, one entry per entity."""
    declared = store.get_feature_view(view_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        response = store.get_online_features(
            [f"{view_name}:{feature.name}" for feature in declared.features], rows
        )
    names, values = list(response.proto.metadata.feature_names.val), response.to_dict()
    return [
        {
            name: (
                values[name][at],
                column.statuses[at],
                column.event_timestamps[at].ToMicroseconds(),
            )
            for name, column in zip(names, response.proto.results, strict=True)
            if name not in rows[0]
        }
        for at in range(len(rows))
    ]


def instants(*texts: str, kind: pa.DataType = MICROS) -> pa.Array:
    """A column of times, given as `2024-01-05` or `2024-01-05T10:00`."""
    moments = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]
    return pa.array(moments, MICROS).cast(kind)
