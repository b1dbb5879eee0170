"""The project's own feature service: its newest rows online twice, behind stock Feast and behind ours."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from feast import FeatureStore, FeatureView, RepoConfig

from feature_repo.errors import OnlineStoreError
from feature_repo.workspace import FEATURE_REPO, Workspace
from materialization.bench.figures import Figure, Findings, Measured
from materialization.bench.interleaved import Contender, interleaved
from materialization.bench.online_world import Served, used_bytes
from materialization.bench.reads import Request, bare_read
from materialization.bench.sides import Side, quiet, stores
from materialization.data_plane.rows.layout import Column
from materialization.data_plane.rows.reading import Rows
from materialization.data_plane.service_fetch import ServiceFetch
from materialization.feast_settings import effective_settings
from materialization.feast_store import STALEST, newest_snapshot
from materialization.private_redis import private_redis
from materialization.progress import Report

SERVICE = "ranker_v1"
OURS, STOCK, BARE, OURS_READ = "ours", "stock", "bare redis-py", "Feast on our store"
ROUNDS, WARM_UP, STOCK_EVERY = 1_000, 30, 20

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Slates:
    """Whom to rank for, and what."""

    user_ids: list[str]
    item_ids: list[str]


@dataclass(frozen=True)
class PackedColumns:
    """From ids to numpy columns: numbers as float64, texts as objects, lists as offsets and values."""

    service: ServiceFetch
    at: datetime

    def __call__(self, request: Request) -> Columns:
        fetched = self.service.fetch(request.entities(), at=self.at.timestamp())
        return {
            column.name: values
            for view in fetched.values()
            for column, values in zip(view.rows.layout.columns, _columns(view.rows), strict=True)
        }


def measure_own(workspace: Workspace, slates: Slates, *, rounds: int = ROUNDS, report: Report) -> Findings:
    """Materializes the newest snapshots into two private servers and reads them; the workspace stays as it is.

    Raises MissingInputError before the first build or apply, OnlineStoreError where stock and ours differ.
    """
    at = newest_snapshot(workspace)
    with (
        tempfile.TemporaryDirectory(prefix="marquee-bench-") as made,
        private_redis() as a,
        private_redis() as b,
    ):
        stock = _served(workspace, Side.STOCK, Path(made), a.url)
        ours = _served(workspace, Side.OURS, Path(made), b.url)
        views = _batch_views(ours.store)
        loads = {}
        for done, served in enumerate((ours, stock)):
            report("materializing ranker_v1", done, 2)
            loads[served.side.value] = _load(served, views, at)
        report("materializing ranker_v1", 2, 2)
        loaded = _loaded(loads, {STOCK: stock.memory_mb(), OURS: ours.memory_mb()})
        return loaded + _measure_reads(stock, ours, slates, at=at, rounds=rounds, report=report)


def _served(workspace: Workspace, side: Side, folder: Path, redis_url: str) -> Served:
    """On a copy of the registry: materialization writes its watermarks there."""
    settings = effective_settings(workspace, None)
    registry = folder / f"{side.value}.db"
    shutil.copy(workspace.registry, registry)
    settings["registry"]["path"] = str(registry)
    settings |= stores(side, redis_url=redis_url)
    with quiet():
        store = FeatureStore(config=RepoConfig(**settings, repo_path=FEATURE_REPO))
    served = Served(side, store, redis_url, empty_bytes=0)
    return Served(side, store, redis_url, empty_bytes=used_bytes(served.client()))


def _batch_views(store: FeatureStore) -> list[FeatureView]:
    """The service's views that are stored."""
    stored = {view.name: view for view in store.list_batch_feature_views()}
    names = [projection.name for projection in store.get_feature_service(SERVICE).feature_view_projections]
    return [stored[name] for name in names if name in stored]


def _load(served: Served, views: Sequence[FeatureView], at: datetime) -> float:
    """Seconds, view by view as `marquee features materialize` does it."""
    started = time.perf_counter()
    for view in views:
        with quiet():
            served.store.materialize(at - (view.ttl or STALEST), at, feature_views=[view.name])
    return time.perf_counter() - started


def _loaded(seconds: dict[str, float], megabytes: dict[str, float]) -> Findings:
    what = "materialize of the newest snapshots, view by view"
    return Findings(
        (
            *(Measured.of(SERVICE, name, what, unit="s", values=[value]) for name, value in seconds.items()),
            *(
                Measured.of(SERVICE, name, "Redis memory", unit="MB", values=[value])
                for name, value in megabytes.items()
            ),
        ),
        (
            Figure(SERVICE, "materialized, times faster than stock", seconds[STOCK] / seconds[OURS]),
            Figure(SERVICE, "share of stock's memory", megabytes[OURS] / megabytes[STOCK]),
        ),
    )


def _measure_reads(
    stock: Served, ours: Served, slates: Slates, *, at: datetime, rounds: int, report: Report
) -> Findings:
    views = _batch_views(ours.store)
    random = np.random.default_rng(0)
    packed = PackedColumns(ServiceFetch.compile(ours.store, SERVICE), at)
    references = [f"{view.name}:{field.name}" for view in views for field in view.features]

    def requests(_round: int) -> Request:
        return Request.planned(packed.service, str(random.choice(slates.user_ids)), slates.item_ids)

    of_stock, of_ours = _feast_columns(stock.store, references), _feast_columns(ours.store, references)
    _check_equal(packed(first := requests(0)), of_stock(first))
    contenders = [
        Contender(OURS, packed),
        Contender(BARE, bare_read(ours.redis_url)),
        Contender(STOCK, of_stock, STOCK_EVERY),
        Contender(OURS_READ, of_ours, STOCK_EVERY),
    ]
    seconds = interleaved(contenders, requests, rounds=rounds, warm_up=WARM_UP, random=random, report=report)
    return _read_findings(seconds, len(slates.item_ids), len(references))


def _feast_columns(store: FeatureStore, references: list[str]) -> Callable[[Request], dict[str, list[Any]]]:
    def read(request: Request) -> dict[str, list[Any]]:
        response = store.get_online_features(features=references, entity_rows=request.entity_rows())
        columns: dict[str, list[Any]] = response.to_dict()
        return columns

    return read


def _columns(rows: Rows) -> Iterator[npt.NDArray[Any]]:
    """In the order of the layout; the float columns are one block."""
    floats = iter(rows.floats.astype(np.float64).T)
    for column in rows.layout.columns:
        yield next(floats) if column.value_type == "FLOAT" else _column(rows, column)


def _column(rows: Rows, column: Column) -> npt.NDArray[Any]:
    if column.is_fixed:
        return rows.numbers(column)
    return rows.texts(column) if column.value_type == "STRING" else rows.lists(column).values


def _check_equal(ours: Columns, stock: dict[str, list[Any]]) -> None:
    """Numbers; a user's value stands for all candidates."""
    for name, values in ours.items():
        if values.dtype == np.float64 and not isinstance(stock[name][0], list):
            expected = np.array(stock[name], np.float64)
            if not np.array_equal(np.broadcast_to(values, expected.shape), expected, equal_nan=True):
                raise OnlineStoreError(
                    f"{SERVICE}: stock and ours read different values of {name}; a figure would say nothing"
                )


def _read_findings(seconds: dict[str, list[float]], candidates: int, values: int) -> Findings:
    what = {
        OURS: f"{candidates} candidates x {values} stored values, ids to numpy columns",
        BARE: "MGET and HMGET of the same bytes, pipelined, not decoded",
        STOCK: "get_online_features and to_dict of the same",
        OURS_READ: "the same call on our store",
    }
    millis = {name: [1000 * value for value in taken] for name, taken in seconds.items()}
    measured = tuple(
        Measured.of(SERVICE, name, text, unit="ms", values=millis[name], tail=True)
        for name, text in what.items()
    )
    median = {one.name: one.median for one in measured}
    figures = (
        Figure(SERVICE, "fetched, times faster than stock", median[STOCK] / median[OURS]),
        Figure(SERVICE, "fetched, times the bare read", median[OURS] / median[BARE]),
        Figure(
            SERVICE,
            "Feast's own read, times faster than on the stock store",
            median[STOCK] / median[OURS_READ],
        ),
    )
    return Findings(measured, figures)
