"""What a benchmark runs on: a workspace's own rows and bundle, or made-up ones of a chosen size."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import xgboost
from feast import Entity, FeatureService, FeatureStore, FeatureView, FileSource, RepoConfig
from feast import Field as FeastField
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float32, String
from feast.value_type import ValueType

from feature_repo.workspace import Workspace
from materialization.feast_store import newest_snapshot, open_store
from ranking_service.bundle import publish
from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan
from ranking_service.models.registry import registry_of

USER = "user"
PACKED_STORE = "materialization.data_plane.online_store.PackedRedisOnlineStore"
KEYS = {"user_rows": ("user_id",), "item_rows": ("item_id",), "pair_rows": ("user_id", "item_id")}


@dataclass(frozen=True)
class Size:
    """How much one request reads and scores."""

    candidates: int = 500
    user_features: int = 60
    item_features: int = 80
    pair_features: int = 50
    trees: int = 300
    depth: int = 6

    @property
    def features(self) -> int:
        return self.user_features + self.item_features + self.pair_features


@dataclass(frozen=True)
class BenchWorld:
    """What one benchmark runs on."""

    store: FeatureStore
    bundle: Path
    user_id: str
    item_ids: list[str]
    at: datetime
    """The instant the requests rank as of."""
    rows: str
    """What kind of rows these are, for the report."""


def make_world(folder: Path, redis_url: str, size: Size) -> BenchWorld:
    """Register the views, store a row of random floats per entity, train and publish a model on noise."""
    random = np.random.default_rng(0)
    contract = _contract(size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = _store(folder, redis_url, contract)
    now = datetime.now(UTC)
    item_ids = [f"item-{index:06d}" for index in range(size.candidates)]
    for view in contract.views:
        ids = [USER] if view.join_keys == KEYS["user_rows"] else item_ids
        rows = random.normal(size=(len(ids), len(view.fields))).astype(np.float32)
        _write(store, view, ids, rows, now)
    path = publish(
        folder / "models",
        version="bench",
        booster=_booster(size, contract, random),
        contract=contract,
        manifest={},
    )
    return BenchWorld(store, path, USER, item_ids, now, "made-up floats")


def workspace_world(workspace: Workspace, *, user_id: str, item_ids: list[str]) -> BenchWorld:
    """The workspace's own bundle on the rows that are materialized, an hour after the newest snapshot."""
    at = newest_snapshot(workspace) + timedelta(hours=1)
    store = open_store(workspace)
    return BenchWorld(store, registry_of(workspace).latest(), user_id, item_ids, at, "the workspace's own")


def feature_references(contract: Contract) -> list[str]:
    """view:feature of every stored value, as Feast's online read wants it."""
    return [f"{view.name}:{field.name}" for view in contract.views for field in view.fields]


def _contract(size: Size) -> Contract:
    counts = (size.user_features, size.item_features, size.pair_features)
    views = tuple(
        ViewPlan(
            name=name,
            join_keys=keys,
            fields=tuple(Field(f"{name}_{index}", "FLOAT", 0.0) for index in range(count)),
            ttl_seconds=7 * 86_400.0,
            fingerprint="",
        )
        for (name, keys), count in zip(KEYS.items(), counts, strict=True)
    )
    features = tuple(ModelFeature(field, view.name, "noise") for view in views for field in view.fields)
    request_fields = (Field("surface", "STRING", ""), Field("request_timestamp", "DOUBLE", 0.0))
    return Contract("bench", "bench", views, request_fields, (), features)


def _store(folder: Path, redis_url: str, contract: Contract) -> FeatureStore:
    address = redis_url.removeprefix("redis://").split("/")[0]
    store = FeatureStore(
        config=RepoConfig(
            project=contract.project,
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": PACKED_STORE, "connection_string": address},
            entity_key_serialization_version=3,
        )
    )
    entities = {
        key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key in ("user_id", "item_id")
    }
    source = FileSource(path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    views = [
        FeatureView(
            name=plan.name,
            entities=[entities[key] for key in plan.join_keys],
            schema=[
                *(FeastField(name=key, dtype=String) for key in plan.join_keys),
                *(FeastField(name=field.name, dtype=Float32) for field in plan.fields),
            ],
            source=source,
            ttl=timedelta(seconds=plan.ttl_seconds),
        )
        for plan in contract.views
    ]
    store.apply([*entities.values(), *views, FeatureService(name=contract.service, features=views)])
    return store


def _write(
    store: FeatureStore,
    plan: ViewPlan,
    ids: list[str],
    rows: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    now: datetime,
) -> None:
    """`rows` is float32 [ids, features]."""
    names = [field.name for field in plan.fields]
    batch = [
        (
            EntityKey(
                join_keys=list(plan.join_keys),
                entity_values=[
                    Value(string_val=USER if key == "user_id" else entity) for key in plan.join_keys
                ],
            ),
            {name: Value(float_val=value) for name, value in zip(names, row.tolist(), strict=True)},
            now,
            None,
        )
        for entity, row in zip(ids, rows, strict=True)
    ]
    view = store.get_feature_view(plan.name)
    store._get_provider().online_write_batch(store.config, view, batch, None)


def _booster(size: Size, contract: Contract, random: np.random.Generator) -> xgboost.Booster:
    """Deep trees on noise: as costly to score as real ones."""
    rows = random.normal(size=(4000, size.features)).astype(np.float32)
    labels = random.random(4000) < 1 / (1 + np.exp(-rows[:, :20].sum(axis=1)))
    data = xgboost.DMatrix(rows, label=labels, feature_names=list(contract.feature_names))
    return xgboost.train({"objective": "binary:logistic", "max_depth": size.depth}, data, size.trees)
