"""One request's features as a float32 matrix: stock, ours, and the bare read of the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from feast import FeatureStore

from feature_repo.errors import OnlineStoreError
from materialization.bench.figures import Figure, Findings, Measured, at_least, at_most
from materialization.bench.interleaved import Contender, interleaved
from materialization.bench.made_up import MadeUpView
from materialization.bench.online_world import OnlineWorld
from materialization.bench.reads import Request, bare_read
from materialization.bench.sides import (
    HAS_GLIDE,
    PRECOMPUTED,
    SERVICE,
    add_precomputed_service,
)
from materialization.bench.sizes import Sizes
from materialization.data_plane.service_fetch import ServiceFetch
from materialization.progress import Report

FETCH, FEAST = "fetch", "get_online_features"
OURS, BARE = "ours", "bare redis-py"
STOCK, STOCK_READ, OURS_READ = "stock", "on the stock store", "on our store"
VECTORS = "stock, precomputed"
WARM_UP = 50

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PackedMatrix:
    """From ids to the matrix, through our batched fetch."""

    service: ServiceFetch
    widths: dict[str, int]
    """Features by view, in the order of the columns."""

    @classmethod
    def compile(cls, store: FeatureStore, views: Sequence[MadeUpView]) -> PackedMatrix:
        return cls(ServiceFetch.compile(store, SERVICE), {view.name: view.feature_count for view in views})

    def __call__(self, request: Request) -> Matrix:
        """float32 [items, features of all views]."""
        fetched = self.service.fetch(request.entities(), at=time.time())
        matrix = np.empty((len(request.item_ids), sum(self.widths.values())), np.float32)
        start = 0
        for view, width in self.widths.items():
            matrix[:, start : start + width] = fetched[view].rows.floats
            start += width
        return matrix


def measure_fetch(
    world: OnlineWorld, sizes: Sizes, *, random: np.random.Generator, report: Report
) -> Findings:
    """Both servers hold the rows already. Raises OnlineStoreError where the two matrices differ."""
    report("precomputing stock's vectors", 0, 1)
    add_precomputed_service(world.stock.store, "items")
    report("precomputing stock's vectors", 1, 1)
    ours = PackedMatrix.compile(world.ours.store, world.views)
    requests = _requests(world, ours.service, random)
    stock = _stock_matrix(world)
    first = requests(0)
    if not np.array_equal(ours(first), stock(first)):
        raise OnlineStoreError(
            "stock and ours read different values of the same rows; a figure would say nothing"
        )
    every = sizes.stock_every
    contenders = [
        Contender(OURS, ours),
        Contender(BARE, bare_read(world.ours.redis_url)),
        Contender(STOCK, stock, every),
        Contender(VECTORS, _precomputed(world), every),
        Contender(STOCK_READ, _feast_read(world.stock.store), every),
        Contender(OURS_READ, _feast_read(world.ours.store), every),
    ]
    seconds = interleaved(
        contenders, requests, rounds=sizes.fetches, warm_up=WARM_UP, random=random, report=report
    )
    return _findings(seconds, sizes)


def _requests(
    world: OnlineWorld, service: ServiceFetch, random: np.random.Generator
) -> Callable[[int], Request]:
    """A random active user with their items in random order, anew every round."""
    shelf = world.shelf

    def request(_round: int) -> Request:
        user = int(random.integers(len(shelf.users)))
        return Request.planned(
            service, str(shelf.users[user]), random.permutation(shelf.items[user]).tolist()
        )

    return request


def _feast_read(store: FeatureStore) -> Callable[[Request], Any]:
    service = store.get_feature_service(SERVICE)
    return lambda request: store.get_online_features(features=service, entity_rows=request.entity_rows())


def _stock_matrix(world: OnlineWorld) -> Callable[[Request], Matrix]:
    read = _feast_read(world.stock.store)
    names = [feature for view in world.views for feature in view.features]
    return lambda request: _matrix(read(request), names)


def _precomputed(world: OnlineWorld) -> Callable[[Request], Matrix]:
    """Feast's precomputed vectors, which one entity's views can have: the items'."""
    store = world.stock.store
    service = store.get_feature_service(PRECOMPUTED)
    (items,) = [view for view in world.views if view.name == "items"]
    names = [f"{items.name}__{feature}" for feature in items.features]

    def read(request: Request) -> Matrix:
        response = store.get_online_features(
            features=service, entity_rows={"item_id": request.item_ids}, full_feature_names=True
        )
        return _matrix(response, names)

    return read


def _matrix(response: Any, names: Sequence[str]) -> Matrix:
    """The fastest of Feast's own ways from a response to numbers."""
    columns = response.to_dict()
    return np.array([columns[name] for name in names], np.float32).T


def _findings(seconds: dict[str, list[float]], sizes: Sizes) -> Findings:
    what = {
        OURS: f"{sizes.candidates} candidates x {sizes.features} features, ids to float32 matrix",
        BARE: "MGET and HMGET of the same bytes, pipelined, not decoded",
        STOCK: f"get_online_features and to_dict to the same matrix{', glide client' if HAS_GLIDE else ''}",
        VECTORS: f"only the {sizes.item_features} item features, which one service can have precomputed",
    }
    reads = {
        OURS_READ: "get_online_features of the same request, no matrix",
        STOCK_READ: "get_online_features of the same request, no matrix",
    }
    millis = {name: [1000 * value for value in values] for name, values in seconds.items()}
    measured = [
        *(Measured.of(FETCH, name, what[name], unit="ms", values=millis[name], tail=True) for name in what),
        *(Measured.of(FEAST, name, reads[name], unit="ms", values=millis[name], tail=True) for name in reads),
    ]
    median = {name: float(np.median(values)) for name, values in millis.items()}
    p99 = float(np.percentile(millis[OURS], 99))
    figures = (
        Figure(FETCH, "times faster than stock, median", median[STOCK] / median[OURS], at_least(150)),
        Figure(FETCH, "times the bare read, median", median[OURS] / median[BARE], at_most(1.6)),
        Figure(FETCH, "p99 in medians", p99 / median[OURS], at_most(2.5)),
        Figure(FETCH, "times faster than stock's precomputed item vectors", median[VECTORS] / median[OURS]),
        Figure(
            FEAST,
            "times faster than on the stock store",
            median[STOCK_READ] / median[OURS_READ],
            at_least(1.3),
        ),
    )
    return Findings(tuple(measured), figures)
