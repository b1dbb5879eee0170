"""Feast projects on the stock stores and on ours, asked the same things through Feast's public API."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig
from feast import Field as FeastField
from feast.data_format import ParquetFormat
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float32, Int64, PrimitiveFeastType, String
from feast.value_type import ValueType

NOW = datetime.now(UTC).replace(microsecond=0)
"""Rows of these tests are hours old, because an online read compares a ttl with the clock."""
START, END = NOW - timedelta(days=30), NOW + timedelta(minutes=1)
VALUE_TYPES = {Int64: ValueType.INT64, String: ValueType.STRING}


@dataclass(frozen=True)
class Side:
    """One implementation of each seam."""

    name: str
    online: str
    offline: str
    engine: str
    database: int
    """Of Redis, so that neither side can see the other's keys."""

    def __str__(self) -> str:
        return self.name


STOCK = Side("stock", "redis", "duckdb", "local", 1)
OURS = Side(
    "ours",
    "materialization.data_plane.online_store.PackedRedisOnlineStore",
    "materialization.data_plane.offline_store.AsofDuckDBOfflineStore",
    "materialization.data_plane.batch_engine.PackedBatchEngine",
    2,
)
SIDES = (STOCK, OURS)
"""A test over both takes the fixture `project`; one that compares them opens a project of each."""


def settings(side: Side, redis_url: str, **changes: Any) -> dict[str, Any]:
    """What stands in feature_store.yaml, without registry."""
    address = redis_url.removeprefix("redis://").split("/")[0]
    offline = {"offline_store": {"type": side.offline} | changes.pop("offline", {})}
    connection = f"{address},db={side.database}"
    online = {"type": side.online, "connection_string": connection} | changes.pop("online", {})
    return {
        "project": "contract",
        "provider": "local",
        **offline,
        "online_store": online,
        "batch_engine": {"type": side.engine},
        "entity_key_serialization_version": 3,
        **changes,
    }


@dataclass
class Project:
    """An open feature store and its folder."""

    side: Side
    folder: Path
    redis_url: str
    store: FeatureStore = field(init=False)
    registry: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = self.reopen()

    def reopen(self) -> FeatureStore:
        """Another store on the same registry, as another process would open it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        registry = {"registry_type": "file", "path": str(self.folder / "registry.db"), "cache_ttl_seconds": 0}
        config = RepoConfig(
            repo_path=self.folder,
            registry=registry | dict(self.registry),
            **settings(self.side, self.redis_url, **self.changes),
        )
        with quietly():
            return FeatureStore(config=config)

    def apply(self, *things: Any, **options: Any) -> None:
        with quietly():
            self.store.apply(list(things), **options)

    def write(
        self, name: str, columns: Mapping[str, Any] | pa.Table | pd.DataFrame, **options: Any
    ) -> FileSource:
        """A parquet file of these columns as a source."""
        path = self.folder / f"{name}.parquet"
        if isinstance(columns, pd.DataFrame):
            columns.to_parquet(path)
        else:
            pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(dict(columns)), path)
        return source(path, name=f"{name}_source", **options)

    def materialize(self, *views: str, start: datetime = START, end: datetime = END) -> None:
        with quietly():
            self.store.materialize(start, end, feature_views=list(views) or None)

    def push(self, *words: Any, **options: Any) -> None:
        with quietly():
            self.store.push(*words, **options)

    def write_online(self, view: str, columns: Mapping[str, Any] | pd.DataFrame) -> None:
        with quietly():
            self.store.write_to_online_store(view, pd.DataFrame(columns))

    def online(self, features: Any, rows: Any, **options: Any) -> dict[str, list[Any]]:
        """Values by name."""
        return self.ask(features, rows, **options).to_dict()

    def ask(self, features: Any, rows: Any, **options: Any) -> OnlineResponse:
        with quietly():
            return self.store.get_online_features(features, rows, **options)

    def historical(self, entity_df: Any, features: Any, **options: Any) -> pd.DataFrame:
        with quietly():
            return self.store.get_historical_features(entity_df, features, **options).to_df()


def source(path: Path | str, **options: Any) -> FileSource:
    """A parquet source; its times are `event_timestamp` and, unless told otherwise, nothing else."""
    options = {"timestamp_field": "event_timestamp", "file_format": ParquetFormat()} | options
    return FileSource(path=str(path), **options)


def entity(name: str, dtype: PrimitiveFeastType = Int64, *, join_key: str = "") -> Entity:
    return Entity(
        name=name, join_keys=[join_key or name], value_type=VALUE_TYPES.get(dtype, dtype.to_value_type())
    )


def view(
    name: str,
    entities: Sequence[Entity],
    origin: Any,
    features: Mapping[str, Any] | None = None,
    **options: Any,
) -> FeatureView:
    """A view of one float feature `value`, unless told otherwise; the join keys stand in its schema."""
    keys = [FeastField(name=one.join_key, dtype=_key_type(one)) for one in entities]
    declared = {"value": Float32} if features is None else features
    fields = [FeastField(name=feature, dtype=dtype) for feature, dtype in declared.items()]
    kind = options.pop("kind", FeatureView)
    with quietly():
        return kind(name=name, entities=list(entities), schema=[*keys, *fields], source=origin, **options)


def _key_type(one: Entity) -> Any:
    from feast.types import from_value_type

    return from_value_type(one.value_type)


def times(*hours_ago: float) -> pa.Array:
    """Microseconds in UTC."""
    return pa.array([NOW - timedelta(hours=hours) for hours in hours_ago], pa.timestamp("us", "UTC"))


def stamps(*hours_ago: float) -> list[pd.Timestamp]:
    return [pd.Timestamp(NOW - timedelta(hours=hours)) for hours in hours_ago]


def statuses(response: OnlineResponse, name: str) -> list[str]:
    """Of one feature, by name."""
    at = list(response.proto.metadata.feature_names.val).index(name)
    return [FieldStatus.Name(status) for status in response.proto.results[at].statuses]


def event_times(response: OnlineResponse, name: str) -> list[datetime]:
    at = list(response.proto.metadata.feature_names.val).index(name)
    return [stamp.ToDatetime(tzinfo=UTC) for stamp in response.proto.results[at].event_timestamps]


def key(**values: Value) -> EntityKey:
    return EntityKey(join_keys=list(values), entity_values=list(values.values()))


@contextlib.contextmanager
def quietly() -> Iterator[io.StringIO]:
    """Without Feast's warnings and progress bars."""
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        yield said
