"""One set of packed rows, seen by Feast's own store and by the ranking server's Feast API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import xgboost
from feast import Entity, FeatureService, FeatureStore, FeatureView, FileSource, RepoConfig, RequestSource
from feast import Field as FeastField
from feast.protos.feast.serving import ServingService_pb2 as serving
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.type_map import python_values_to_proto_values
from feast.types import (
    Array,
    Bool,
    Bytes,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    Map,
    String,
    UnixTimestamp,
)
from feast.value_type import ValueType

from feature_repo.fields import derived, text
from feature_repo.request_time import at_request_time
from ranking_service.bundle import publish
from ranking_service.contract import Contract, Field, ModelFeature, TransformPlan, ViewPlan
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.transform_code import fingerprint

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
AT = NOW.timestamp()
TTL = timedelta(hours=1)
SCALARS: dict[str, FeastType] = {
    "float": Float32,
    "double": Float64,
    "int32": Int32,
    "int64": Int64,
    "bool": Bool,
    "string": String,
    "bytes": Bytes,
    "unix_timestamp": UnixTimestamp,
}
LISTS: dict[str, FeastType] = {f"{name}_list": Array(dtype) for name, dtype in SCALARS.items()}
KINDS: dict[str, FeastType] = {**SCALARS, **LISTS, "map": Map}
"""Features of the view `kinds`, by the type each has."""
COLUMNS: dict[str, dict[str, FeastType]] = {
    "users": {
        "user_last_seen_at": Float64,
        "user_signed_up_at": Float64,
        "user_long_view_rate": Float32,
        "user_genre_names": Array(String),
        "user_genre_exposures": Array(Float32),
        "user_genre_long_views": Array(Float32),
        "user_genre_likes": Array(Float32),
        "user_secret": String,
    },
    "items": {
        "item_released_at": Float64,
        "item_last_shown_at": Float64,
        "item_genres": Array(String),
    },
    "pairs": {"pair_last_seen_at": Float64, "pair_plays": Int64},
    "kinds": KINDS,
}
KEYS = {
    "users": ("user_id",),
    "items": ("item_id",),
    "pairs": ("user_id", "item_id"),
    "kinds": ("user_id",),
}
LEFT_OUT = "users:user_secret"
request = RequestSource(
    name="request",
    schema=[
        FeastField(name="surface", dtype=String),
        FeastField(name="device", dtype=String),
        FeastField(name="request_timestamp", dtype=Float64),
        FeastField(name="session_position", dtype=Float64),
    ],
)
REQUEST_FIELDS = tuple(
    Field(field.name, field.dtype.to_value_type().name, "" if field.dtype == String else np.nan)
    for field in request.schema
)
ENTITIES = {
    key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key in ("user_id", "item_id")
}
VIEWS = {
    name: FeatureView(
        name=name,
        entities=[ENTITIES[key] for key in KEYS[name]],
        schema=[
            *(FeastField(name=key, dtype=String) for key in KEYS[name]),
            *(FeastField(name=column, dtype=dtype) for column, dtype in columns.items()),
        ],
        source=FileSource(name=name, path=f"{name}.parquet", timestamp_field="event_timestamp"),
        ttl=TTL,
    )
    for name, columns in COLUMNS.items()
}


@at_request_time(
    sources=[request],
    description="what the request says",
    schema=[
        text("context_surface", "."),
        text("context_device", "."),
        *(derived(f"context_{name}", ".") for name in ("hour", "hour_sin", "hour_cos")),
        *(derived(f"context_{name}", ".") for name in ("weekday", "is_weekend", "session_position")),
    ],
)
def request_context(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import request_context

    return apply_to_frame(request_context, inputs)


@at_request_time(
    sources=[request, VIEWS["items"], VIEWS["users"], VIEWS["pairs"]],
    description="ages",
    schema=[
        *(derived(name, ".") for name in ("item_age_days", "item_idle_hours", "user_idle_hours")),
        *(derived(name, ".") for name in ("user_tenure_days", "pair_idle_hours")),
    ],
)
def item_freshness(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import item_freshness

    return apply_to_frame(item_freshness, inputs)


@at_request_time(
    sources=[VIEWS["items"], VIEWS["users"]],
    description="genres",
    schema=[
        *(derived(f"affinity_genre_{name}", ".") for name in ("exposures", "long_views", "likes", "rate")),
        *(derived(f"affinity_genre_{name}", ".") for name in ("best_rate", "worst_rate", "lift", "share")),
    ],
)
def genre_affinity(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import genre_affinity

    return apply_to_frame(genre_affinity, inputs)


ON_DEMAND = (request_context, item_freshness, genre_affinity)
RANKER = FeatureService(
    name="ranker",
    features=[
        VIEWS["users"][[name for name in COLUMNS["users"] if name != "user_secret"]],
        VIEWS["items"],
        VIEWS["pairs"],
        *ON_DEMAND,
    ],
)


def contract(service: str, *views: str) -> Contract:
    """Of a model that reads those views, with defaults that Feast knows nothing of."""
    plans = tuple(
        ViewPlan(
            name,
            KEYS[name],
            tuple(
                Field(column, dtype.to_value_type().name, "unknown" if dtype == String else 7.0)
                for column, dtype in COLUMNS[name].items()
            ),
            TTL.total_seconds(),
            "",
        )
        for name in views
    )
    first = next(one for plan in plans for one in plan.fields if one.value_type in ("FLOAT", "DOUBLE"))
    made = Contract("rank", service, plans, (), (), (ModelFeature(first, plans[0].name, "."),))
    return (
        made
        if service != "ranker"
        else replace(
            made,
            request_fields=REQUEST_FIELDS,
            transforms=tuple(_transform(view) for view in ON_DEMAND),
            left_out=(LEFT_OUT,),
        )
    )


def _transform(view: Any) -> TransformPlan:
    fields = tuple(
        Field(one.name, one.dtype.to_value_type().name, "" if one.dtype == String else 7.0)
        for one in view.features
    )
    return TransformPlan(view.name, fields, fingerprint(view.name, fields))


def values(dtype: FeastType, *contents: Any) -> RepeatedValue:
    return RepeatedValue(val=python_values_to_proto_values([*contents], dtype.to_value_type()))


class FeastApiWorld:
    """A Feast project, a server that has two models on its rows, and Feast's own client stub."""

    def __init__(self, folder: Path, redis_url: str, settings: ServiceSettings) -> None:
        self.store = FeatureStore(
            config=RepoConfig(
                project="rank",
                provider="local",
                registry=str(folder / "registry.db"),
                online_store={
                    "type": "materialization.data_plane.online_store.PackedRedisOnlineStore",
                    "connection_string": redis_url.removeprefix("redis://").split("/")[0],
                    "connect_timeout_ms": 2_000,
                    "command_timeout_ms": 2_000,
                },
                entity_key_serialization_version=3,
                repo_path=folder,
            )
        )
        self.store.apply([*ENTITIES.values(), *VIEWS.values(), *ON_DEMAND, RANKER])
        self.online = self.store._get_provider().online_store
        self.online.clock = lambda: AT
        bundles = {
            "ranker": _published(folder / "ranker", contract("ranker", "users", "items", "pairs")),
            "other": _published(folder / "other", contract("other", "kinds", "items")),
        }
        self.server = RankingServer.start(
            bundles["ranker"], redis_url=redis_url, settings=settings, models={"other": bundles["other"]}
        )
        self.server.server.servicer.clock = lambda: AT
        self.channel = grpc.insecure_channel(self.server.address)
        self.stub = ServingServiceStub(self.channel)

    def write(self, view: str, ids: Sequence[str], row: Mapping[str, Value], age: timedelta) -> None:
        key = EntityKey(join_keys=[*KEYS[view]], entity_values=[Value(string_val=one) for one in ids])
        self.online.online_write_batch(
            self.store.config, self.store.get_feature_view(view), [(key, dict(row), NOW - age, None)], None
        )

    def ours(
        self,
        features: str | Sequence[str],
        entities: Mapping[str, RepeatedValue],
        *,
        full: bool = False,
        context: Mapping[str, RepeatedValue] | None = None,
    ) -> serving.GetOnlineFeaturesResponse:
        """By gRPC; `features` is a service's name or references."""
        asked = serving.GetOnlineFeaturesRequest(
            entities=entities, request_context=context or {}, full_feature_names=full
        )
        if isinstance(features, str):
            asked.feature_service = features
        else:
            asked.features.val.extend(features)
        return self.stub.GetOnlineFeatures(asked, timeout=10)

    def feasts(
        self, features: Any, rows: Mapping[str, Sequence[Any]], *, full: bool = False
    ) -> serving.GetOnlineFeaturesResponse:
        """By Feast's own `get_online_features`."""
        asked = self.store.get_feature_service(features) if isinstance(features, str) else list(features)
        return self.store.get_online_features(asked, rows, full_feature_names=full).proto

    def stop(self) -> None:
        self.channel.close()
        self.server.stop()


def _published(folder: Path, made: Contract) -> Path:
    name = made.features[0].name
    data = xgboost.DMatrix(np.zeros((4, 1), np.float32), label=[0, 1, 0, 1], feature_names=[name])
    booster = xgboost.train({"objective": "binary:logistic"}, data, 1)
    publish(folder, version="v1", booster=booster, contract=made, manifest={})
    return folder / "v1"


def columns(answer: serving.GetOnlineFeaturesResponse) -> dict[str, bytes]:
    """Every column's values, statuses and event times, to the bit. Feast itself gives columns in any order."""
    names = answer.metadata.feature_names.val
    assert len(names) == len(answer.results) == len({*names})
    return {
        name: result.SerializeToString(deterministic=True)
        for name, result in zip(names, answer.results, strict=True)
    }
