"""The same Feast repository twice: on Feast's stock stores as its documentation recommends, and on ours."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float32, String
from feast.value_type import ValueType

from materialization.bench.made_up import MadeUpView

PROJECT = "bench"
SERVICE, PRECOMPUTED = "ranker", "items_only"
PLUG_INS = "materialization.data_plane"
PATIENCE_MS = 10_000
"""A benchmark waits for a stalled machine; the stock store does so without being told."""
TTL = timedelta(days=30)
HAS_GLIDE = importlib.util.find_spec("glide_sync") is not None
"""Whether the client can be imported that Feast recommends for fast reads from Redis."""


class Side(Enum):
    """Whose stores."""

    STOCK = "stock"
    OURS = "ours"


@dataclass(frozen=True)
class Repository:
    """What to register, and where."""

    sources: Path
    """Folder of <view>.parquet."""
    registry: Path
    redis_url: str | None = None
    """None where nothing goes online."""
    memory_limit: str | None = None
    """Of our offline store."""


def open_store(side: Side, repository: Repository, views: Sequence[MadeUpView]) -> FeatureStore:
    """A fresh registry with the views, and one service over all of them."""
    entities = {
        key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING)
        for key in dict.fromkeys(key for view in views for key in view.join_keys)
    }
    registered = [_feature_view(view, entities, repository.sources) for view in views]
    with quiet():
        store = FeatureStore(
            config=RepoConfig(
                project=PROJECT,
                provider="local",
                registry=str(repository.registry),
                entity_key_serialization_version=3,
                repo_path=repository.sources,
                **stores(side, redis_url=repository.redis_url, memory_limit=repository.memory_limit),
            )
        )
        store.apply([*entities.values(), *registered, FeatureService(name=SERVICE, features=registered)])
    return store


def add_precomputed_service(store: FeatureStore, view: str) -> None:
    """A service of one view with precomputed vectors, and the vectors of all rows that are online."""
    features = [store.get_feature_view(view)]
    with quiet():
        store.apply([FeatureService(name=PRECOMPUTED, features=features, precompute_online=True)])
        store.precompute_feature_service(PRECOMPUTED)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what Feast prints and warns."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _feature_view(view: MadeUpView, entities: dict[str, Entity], sources: Path) -> FeatureView:
    return FeatureView(
        name=view.name,
        entities=[entities[key] for key in view.join_keys],
        schema=[
            *(Field(name=key, dtype=String) for key in view.join_keys),
            *(Field(name=feature, dtype=Float32) for feature in view.features),
        ],
        source=FileSource(
            path=str(sources / f"{view.name}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
        ttl=TTL,
    )


def stores(side: Side, *, redis_url: str | None, memory_limit: str | None = None) -> dict[str, Any]:
    """What `feature_store.yaml` says of stores and engine; without a Redis nothing goes online."""
    if side is Side.STOCK:
        offline, engine = {"type": "duckdb"}, {"type": "local"}
        online: dict[str, Any] = {"type": "redis"}
        online |= {"client": "glide"} if HAS_GLIDE else {}
    else:
        offline = {"type": f"{PLUG_INS}.offline_store.AsofDuckDBOfflineStore"}
        offline |= {} if memory_limit is None else {"memory_limit": memory_limit}
        online = {
            "type": f"{PLUG_INS}.online_store.PackedRedisOnlineStore",
            "command_timeout_ms": PATIENCE_MS,
        }
        engine = {"type": f"{PLUG_INS}.batch_engine.PackedBatchEngine"}
    if redis_url is None:
        return {"offline_store": offline, "online_store": None}
    address = redis_url.removeprefix("redis://").split("/")[0]
    return {
        "offline_store": offline,
        "online_store": {**online, "connection_string": address},
        "batch_engine": engine,
    }
