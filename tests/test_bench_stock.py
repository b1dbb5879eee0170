"""Stock Feast in `marquee bench rank`: its model sees what the server's does, on-demand views included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_worlds import SMALL

from feature_repo.errors import MissingInputError, OnlineStoreError
from feature_repo.transforms import TRANSFORMS
from materialization.private_redis import private_redis
from ranking_service.bench.calls import Caller
from ranking_service.bench.floor_server import patient_link
from ranking_service.bench.slates import Slate
from ranking_service.bench.stock import fill, stock_server, stock_store
from ranking_service.bench.stock_server import Matrix, Stock, check_matrix
from ranking_service.bench.stored import StoredRows
from ranking_service.bench.world import BenchWorld, ranker_world
from ranking_service.bundle import load
from ranking_service.proto import ranking_pb2


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> BenchWorld:
    return ranker_world(tmp_path / "world", redis_url, SMALL)


@pytest.fixture
def stock(world: BenchWorld, tmp_path: Path) -> Iterator[Stock]:
    with private_redis() as redis:
        store = stock_store(tmp_path / "stock.db", redis.url, world.contract)
        fill(store, world, world.draws[0])
        yield Stock(store, load(world.bundle), ranking_pb2.RankResponse())


def ours(world: BenchWorld, slate: Slate) -> Matrix:
    return StoredRows.of(world.contract).matrix(patient_link(world.redis_url), slate, world.at)


def test_stock_feast_computes_the_matrix_that_the_server_computes(world: BenchWorld, stock: Stock) -> None:
    slate = world.draws[0]
    matrix = stock.matrix(slate.message(world.at))
    assert matrix.dtype == np.float32
    check_matrix(matrix, ours(world, slate), world.contract)
    transforms = {plan.name for plan in world.contract.transforms}
    assert transforms == TRANSFORMS.keys()
    known = {
        feature.origin
        for feature, column in zip(world.contract.features, matrix.T, strict=True)
        if np.isfinite(column).all()
    }
    assert transforms < known


def test_entities_without_rows_are_missing_or_default_to_both(world: BenchWorld, stock: Stock) -> None:
    slate = world.draws[0]
    unknown_item = replace(slate, item_ids=(*slate.item_ids, "never stored"))
    nothing_known = Slate("nobody", ("never stored", "nor this"))
    for shown in (unknown_item, nothing_known):
        check_matrix(stock.matrix(shown.message(world.at)), ours(world, shown), world.contract)


def test_stock_feast_is_told_what_the_request_says(world: BenchWorld, stock: Stock) -> None:
    message = world.draws[0].message(world.at)
    message.context.device = "phone"
    message.context.session_position = 4
    seen = dict(zip(world.contract.feature_names, stock.matrix(message).T, strict=True))
    device = next(feature for feature in world.contract.features if feature.name == "context_device")
    assert set(seen["context_device"]) == {device.codes["phone"]}
    assert set(seen["context_session_position"]) == {4.0}
    assert np.isfinite(seen["match_device"]).all()


def test_a_feature_that_stock_has_otherwise_is_named(world: BenchWorld) -> None:
    matrix, names = ours(world, world.draws[0]), world.contract.feature_names
    place = {name: names.index(name) for name in ("item_age_days", "item_language", "match_country")}
    nearly = matrix.copy()
    nearly[:, place["item_age_days"]] = np.nextafter(matrix[:, place["item_age_days"]], np.float32(np.inf))
    check_matrix(nearly, matrix, world.contract)
    nearly[1, place["item_age_days"]] *= 1 + 1e-5
    nearly[2, place["item_language"]] += 1
    nearly[3, place["match_country"]] = np.nan
    with pytest.raises(OnlineStoreError) as told:
        check_matrix(nearly, matrix, world.contract)
    named = [name for name in names if name in place]
    assert f"than the server of {', '.join(named)};" in str(told.value)


def test_a_server_over_the_same_rows_answers_and_one_over_others_says_which(
    world: BenchWorld, tmp_path: Path
) -> None:
    answer = ranking_pb2.RankResponse(items=[ranking_pb2.RankedItem(item_id="a", score=0.5)])
    with (
        stock_server(world, tmp_path, answer.SerializeToString()) as running,
        Caller(running.address) as caller,
    ):
        assert caller.rank(world.draws[0].message(world.at)) == answer
    views = tuple(
        replace(view, ttl_seconds=1.0) if view.name == "item_attributes" else view
        for view in world.contract.views
    )
    expired = replace(world, contract=replace(world.contract, views=views))
    with (
        pytest.raises(
            MissingInputError, match=r"stock Feast has other values.* item_age_days.*match_language"
        ),
        stock_server(expired, tmp_path, answer.SerializeToString()),
    ):
        pass
