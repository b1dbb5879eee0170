"""A small Feast project on a real Redis, for the tests of the online store; Feast's own store fits in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Float32, Int64, String

from materialization.data_plane.online_store import PackedRedisOnlineStore

PACKED = "materialization.data_plane.online_store.PackedRedisOnlineStore"
STOCK = "redis"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENT = {"connect_timeout_ms": 2_000, "command_timeout_ms": 2_000}
"""These tests are about values, on a machine that may be busy; what a stalled server costs has tests of its own."""

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def feature_store(
    folder: Path,
    connection: str,
    *,
    store: str = PACKED,
    project: str = "rank",
    registry: Any = None,
    **settings: Any,
) -> FeatureStore:
    """A project of its own; `connection` is `host:port`, as both stores read it."""
    online = {
        "type": store,
        "connection_string": connection,
        **(PATIENT if store == PACKED else {}),
        **settings,
    }
    config = RepoConfig(
        project=project,
        provider="local",
        registry={"path": str(folder / f"{project}.db"), **(registry or {})},
        online_store=online,
        offline_store={"type": "file"},
        batch_engine={"type": "local"},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    return FeatureStore(config=config)


def source(folder: Path, name: str) -> FileSource:
    return FileSource(
        name=name,
        path=str(folder / f"{name}.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )


def user_view(
    folder: Path, name: str = "activity", ttl: timedelta | None = timedelta(days=1), **more: Any
) -> FeatureView:
    """Keyed by user_id: `plays` Int64, `score` Float32, `genre` String."""
    schema = [
        Field(name="plays", dtype=Int64),
        Field(name="score", dtype=Float32),
        Field(name="genre", dtype=String),
    ]
    return FeatureView(
        name=name,
        entities=[user],
        ttl=ttl,
        schema=[Field(name="user_id", dtype=Int64), *schema],
        source=more.pop("source", None) or source(folder, f"{name}_source"),
        **more,
    )


def pair_view(folder: Path, name: str = "seen", ttl: timedelta | None = None) -> FeatureView:
    """Keyed by user_id and item_id: `times` Int64."""
    return FeatureView(
        name=name,
        entities=[user, item],
        ttl=ttl,
        schema=[
            Field(name="user_id", dtype=Int64),
            Field(name="item_id", dtype=String),
            Field(name="times", dtype=Int64),
        ],
        source=source(folder, f"{name}_source"),
    )


def entity_key(**values: Any) -> EntityKey:
    """From Python ints and strings."""
    return EntityKey(
        join_keys=list(values), entity_values=[python_values_to_proto_values([v])[0] for v in values.values()]
    )


def write(
    store: FeatureStore,
    view: Any,
    rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Value], datetime, datetime | None]],
) -> None:
    """(entity, values, event time, created time) each."""
    data = [(entity_key(**entity), dict(values), event, created) for entity, values, event, created in rows]
    store._get_provider().online_write_batch(store.config, view, data, None)


def at(store: FeatureStore, moment: datetime) -> PackedRedisOnlineStore:
    """Let the online store's clock stand still."""
    online: PackedRedisOnlineStore = store._get_provider().online_store
    online.clock = moment.timestamp
    return online


def answer(
    store: FeatureStore, features: Any, rows: Any, **more: Any
) -> dict[str, list[tuple[Any, str, datetime]]]:
    """(value, status, event time) of every row, by feature."""
    response = store.get_online_features(features=features, entity_rows=rows, **more)
    values = response.to_dict()
    return {
        name: [
            (value, FieldStatus.Name(status), stamp.ToDatetime(UTC))
            for value, status, stamp in zip(
                values[name], vector.statuses, vector.event_timestamps, strict=True
            )
        ]
        for name, vector in zip(
            response.proto.metadata.feature_names.val, response.proto.results, strict=True
        )
    }
