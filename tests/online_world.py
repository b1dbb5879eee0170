"""A tiny service with known rows: what Redis holds, what the model expects, naive scores to compare with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from feast import Entity, FeatureView, FileSource, RepoConfig
from feast import Field as FeastField
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Int64, String
from feast.value_type import ValueType

from materialization.data_plane.online_store import PackedRedisOnlineStore
from ranking_service import bundle
from ranking_service.contract import Contract, Field, ModelFeature, TransformPlan, ViewPlan
from ranking_service.transform_code import fingerprint

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
AT = NOW.timestamp()
NAN = math.nan
VIEWS = (
    ViewPlan(
        "user_stats",
        ("user_id",),
        (Field("user_activity", "FLOAT", 0.25), Field("user_country", "STRING", "")),
        0.0,
        "",
    ),
    ViewPlan(
        "item_stats",
        ("item_id",),
        (
            Field("item_popularity", "FLOAT", NAN),
            Field("item_plays", "INT64", 3.0),
            Field("item_genres", "STRING_LIST", ""),
        ),
        7 * 86_400.0,
        "",
    ),
    ViewPlan("pair_stats", ("user_id", "item_id"), (Field("pair_seen", "FLOAT", 0.0),), 0.0, ""),
)
REQUEST_FIELDS = (
    Field("surface", "STRING", "home"),
    Field("device", "STRING", ""),
    Field("request_timestamp", "DOUBLE", NAN),
    Field("session_position", "DOUBLE", 0.0),
    Field("bandwidth", "DOUBLE", 5.0),
    Field("theme", "STRING", "light"),
)
CONTEXT = tuple(
    Field(name, "STRING" if name in ("context_surface", "context_device") else "DOUBLE", NAN)
    for name in (
        "context_surface",
        "context_device",
        "context_hour",
        "context_hour_sin",
        "context_hour_cos",
        "context_weekday",
        "context_is_weekend",
        "context_session_position",
    )
)
FIELDS = {field.name: field for field in (*(f for v in VIEWS for f in v.fields), *REQUEST_FIELDS, *CONTEXT)}
CATEGORIES = {"user_country": ("DE", "FR"), "context_surface": ("home", "search"), "theme": ("dark", "light")}
MODEL = (
    "user_activity",
    "user_country",
    "item_popularity",
    "item_plays",
    "pair_seen",
    "context_surface",
    "context_hour",
    "context_session_position",
    "bandwidth",
    "theme",
)
CONTRACT = Contract(
    project="rank",
    service="ranker",
    views=VIEWS,
    request_fields=REQUEST_FIELDS,
    transforms=(TransformPlan("request_context", CONTEXT, fingerprint("request_context", CONTEXT)),),
    features=tuple(
        ModelFeature(FIELDS[name], "somewhere", f"what {name} means", CATEGORIES.get(name, ()))
        for name in MODEL
    ),
)
TYPES = {"FLOAT": Float32, "INT64": Int64, "STRING": String, "STRING_LIST": Array(String)}


@cache
def make_booster() -> xgboost.Booster:
    """Prefers popular items, likes them less when seen; every feature matters a little."""
    random = np.random.default_rng(7)
    rows = random.normal(size=(3000, len(MODEL))).astype(np.float32)
    rows[random.random(rows.shape) < 0.1] = np.nan
    margin = np.nan_to_num(rows) @ np.linspace(-1, 1, len(MODEL)) + 2 * np.nan_to_num(rows[:, 2])
    labels = random.random(3000) < 1 / (1 + np.exp(-margin))
    data = xgboost.DMatrix(rows, label=labels, feature_names=list(MODEL))
    return xgboost.train({"objective": "binary:logistic", "max_depth": 4, "seed": 1}, data, 40)


def value(content: Any) -> Value:
    """A plain value as Feast stores it."""
    if content is None:
        return Value()
    if isinstance(content, str):
        return Value(string_val=content)
    if isinstance(content, int):
        return Value(int64_val=content)
    if isinstance(content, float):
        return Value(float_val=content)
    message = Value()
    message.string_list_val.SetInParent()
    message.string_list_val.val.extend(content)
    return message


@dataclass
class OnlineWorld:
    """Rows in a real Redis, and a published bundle."""

    redis_url: str
    models: Path
    items: tuple[str, ...] = ()
    """All candidates the tests use; the last two are unknown to Redis."""

    def __post_init__(self) -> None:
        host_and_port = self.redis_url.removeprefix("redis://").split("/")[0]
        self.config = RepoConfig(
            project="rank",
            provider="local",
            registry=str(self.models / "registry.db"),
            online_store={
                "type": "materialization.data_plane.online_store.PackedRedisOnlineStore",
                "connection_string": host_and_port,
            },
            entity_key_serialization_version=3,
        )
        self.feast = PackedRedisOnlineStore()
        self.rows: dict[tuple[str, tuple[str, ...]], Mapping[str, Any]] = {}

    @property
    def bundle(self) -> Path:
        return self.models / "v1"

    def write(self, view: str, ids: Mapping[str, str], row: Mapping[str, Any], age: float = 0.0) -> None:
        """Store a row through Feast; it is `age` seconds old at NOW."""
        plan = CONTRACT.view(view)
        key = EntityKey(
            join_keys=list(ids), entity_values=[Value(string_val=content) for content in ids.values()]
        )
        named = {name: value(content) for name, content in row.items()}
        stored = (key, named, NOW - timedelta(seconds=age), None)
        self.feast.online_write_batch(self.config, _feast_view(plan), [stored], None)
        if not plan.ttl_seconds or age <= plan.ttl_seconds:
            self.rows[(view, tuple(ids[name] for name in plan.join_keys))] = row

    def naive_input(self, user: str, items: Sequence[str], request: Mapping[str, Any]) -> np.ndarray:
        """The model's input worked out cell by cell from the rows written; float32 [items, features]."""
        return np.array([self._naive_row(user, item, request) for item in items], np.float32)

    def naive_scores(self, user: str, items: Sequence[str], request: Mapping[str, Any]) -> np.ndarray:
        booster = bundle.load(self.bundle).booster
        rows = self.naive_input(user, items, request)
        return booster.predict(xgboost.DMatrix(rows, feature_names=list(MODEL)))

    def _naive_row(self, user: str, item: str, request: Mapping[str, Any]) -> list[float]:
        values: dict[str, Any] = dict(request)
        for view, key in (("user_stats", (user,)), ("item_stats", (item,)), ("pair_stats", (user, item))):
            values |= self.rows.get((view, key), {})
        for name, field in FIELDS.items():
            if values.get(name) is None:
                values[name] = field.default
        moment = datetime.fromtimestamp(values["request_timestamp"], UTC)
        values["context_hour"] = float(moment.hour)
        values["context_surface"] = values["surface"]
        values["context_session_position"] = values["session_position"]
        return [_code(name, values[name]) for name in MODEL]


def _code(name: str, content: Any) -> float:
    if name not in CATEGORIES:
        return float(content)
    return float(CATEGORIES[name].index(content)) if content in CATEGORIES[name] else NAN


def _feast_view(plan: ViewPlan) -> FeatureView:
    entities = [Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key in plan.join_keys]
    schema = [FeastField(name=field.name, dtype=TYPES[field.value_type]) for field in plan.fields]
    schema += [FeastField(name=key, dtype=String) for key in plan.join_keys]
    return FeatureView(
        name=plan.name, entities=entities, schema=schema, source=FileSource(path="unused.parquet")
    )


def populate(world: OnlineWorld) -> None:
    """Two users, twelve items, some history, some gaps: item 4 has no popularity, item 5 is expired."""
    world.write("user_stats", {"user_id": "ann"}, {"user_activity": 1.5, "user_country": "DE"})
    world.write("user_stats", {"user_id": "bob"}, {"user_activity": -2.0, "user_country": "XX"})
    items = [f"item {index}" for index in range(12)]
    for index, item in enumerate(items):
        genres = ["drama"] * (index % 3)
        row = {"item_popularity": index * 0.37 % 2 - 1, "item_plays": index, "item_genres": genres}
        if index == 4:
            row["item_popularity"] = None
        world.write("item_stats", {"item_id": item}, row, age=8 * 86_400.0 if index == 5 else 60.0)
        if index % 3 == 0:
            world.write("pair_stats", {"item_id": item, "user_id": "ann"}, {"pair_seen": float(index)})
    world.items = (*items, "unknown 1", "unknown 2")
