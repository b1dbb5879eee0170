"""The same rows on stock Feast: its own Redis store, filled by its own writer, behind the same call."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, FileSource, OnDemandFeatureView, RepoConfig
from feast import Field as FeastField
from feast.types import from_value_type
from feast.value_type import ValueType

from feature_repo.columns import Column, Ragged
from materialization.bench.sides import Side, stores
from materialization.declared import on_demand_views
from materialization.private_redis import private_redis
from ranking_service.bench.floor_server import patient_link
from ranking_service.bench.processes import Running, free_port, running
from ranking_service.bench.slates import Slate
from ranking_service.bench.stored import StoredRows, view_columns
from ranking_service.bench.world import BenchWorld
from ranking_service.contract import Contract, ViewPlan


@contextmanager
def stock_server(world: BenchWorld, folder: Path, answer: bytes) -> Iterator[Running]:
    """Feast on a Redis of its own that holds the rows of the first slate, which is all it is asked for."""
    slate = world.draws[0]
    with private_redis() as redis:
        registry = folder / "stock.db"
        store = stock_store(registry, redis.url, world.contract)
        fill(store, world, slate)
        case = world.case([slate]).write(folder / "stock.json")
        (folder / "stock_answer.bin").write_bytes(answer)
        places = {"registry": str(registry), "redis_url": redis.url}
        port = free_port()
        module = "ranking_service.bench.stock_server"
        command = [sys.executable, "-W", "ignore", "-m", module]
        command += [str(case), str(folder / "stock_answer.bin"), str(port), json.dumps(places)]
        with running([command], port, dict(os.environ)) as started:
            yield started


def stock_store(registry: Path, redis_url: str, contract: Contract) -> FeatureStore:
    """The contract's views and the on-demand views of its transforms, registered."""
    entities = {
        key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key in ("user_id", "item_id")
    }
    stored = {view.name: _feature_view(view, entities) for view in contract.views}
    named = {plan.name for plan in contract.transforms}
    computed = [_on_demand_view(view, stored) for view in on_demand_views() if view.name in named]
    store = open_stock(registry, redis_url, contract.project)
    with quiet():
        store.apply([*entities.values(), *stored.values(), *computed])
    return store


def open_stock(registry: Path, redis_url: str, project: str) -> FeatureStore:
    """On what Feast's documentation recommends."""
    with quiet():
        return FeatureStore(
            config=RepoConfig(
                project=project,
                provider="local",
                registry=str(registry),
                entity_key_serialization_version=3,
                **stores(Side.STOCK, redis_url=redis_url),
            )
        )


def fill(store: FeatureStore, world: BenchWorld, slate: Slate) -> None:
    """The rows of one slate, as far as there are any: read from the world's Redis, written by Feast."""
    stored, link = StoredRows.of(world.contract), patient_link(world.redis_url)
    found = stored.fetch(link, slate, world.at)
    ids = {"user_id": [slate.user_id] * len(slate.item_ids), "item_id": list(slate.item_ids)}
    for view in world.contract.views:
        rows = found[view.name].rows
        columns: dict[str, Any] = {key: ids[key][: len(rows)] for key in view.join_keys}
        columns |= {name: _values(column) for name, column in view_columns(view, rows).items()}
        columns["event_timestamp"] = world.at - timedelta(hours=1)
        frame = pd.DataFrame(columns)[rows.present]
        if len(frame):
            with quiet():
                store.write_to_online_store(view.name, frame)


def _values(column: Column) -> Any:
    return column.to_lists() if isinstance(column, Ragged) else column


def _feature_view(view: ViewPlan, entities: dict[str, Entity]) -> FeatureView:
    keys = [FeastField(name=key, dtype=from_value_type(ValueType.STRING)) for key in view.join_keys]
    fields = [
        FeastField(name=field.name, dtype=from_value_type(ValueType[field.value_type]))
        for field in view.fields
    ]
    return FeatureView(
        name=view.name,
        entities=[entities[key] for key in view.join_keys],
        schema=[*keys, *fields],
        source=FileSource(path="never_read.parquet", timestamp_field="event_timestamp"),
        ttl=timedelta(seconds=view.ttl_seconds),
    )


def _on_demand_view(declared: OnDemandFeatureView, stored: dict[str, FeatureView]) -> OnDemandFeatureView:
    """The declared view's own function over the views that are `stored` here.

    When it reads, Feast refuses a source whose fields are not the registered view's, descriptions and tags included.
    """
    sources = [stored[name] for name in declared.source_feature_view_projections]
    return OnDemandFeatureView(
        name=declared.name,
        sources=[*declared.source_request_sources.values(), *sources],
        schema=[FeastField(name=field.name, dtype=field.dtype) for field in declared.features],
        mode=declared.mode,
        udf=declared.udf,
        udf_string=declared.udf_string,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what Feast prints and warns."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
