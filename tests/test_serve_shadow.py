"""A server with a shadow: callers see the first bundle only, the shadow log holds both."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import xgboost
from online_world import AT, CONTRACT, MODEL, OnlineWorld

from ranking_service import bundle
from ranking_service.models.served import DEFAULT
from ranking_service.online.request import RankRequest
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.server import LoopServer, Place
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import ShadowSettings


def other_booster() -> xgboost.Booster:
    random = np.random.default_rng(3)
    rows = random.normal(size=(500, len(MODEL))).astype(np.float32)
    data = xgboost.DMatrix(rows, label=random.random(500) < 0.5, feature_names=list(MODEL))
    return xgboost.train({"objective": "binary:logistic", "max_depth": 3, "seed": 2}, data, 10)


async def ask(place: Place, world: OnlineWorld, requests: int) -> list[ranking_pb2.RankResponse]:
    import grpc

    server = await LoopServer.start(place)
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            rank = ranking_pb2_grpc.RankingServiceStub(channel).Rank
            context = ranking_pb2.Context()
            context.request_time.seconds = int(AT)
            return [
                await rank(
                    ranking_pb2.RankRequest(
                        user_id="ann", candidate_ids=world.items, request_id=str(number), context=context
                    ),
                    timeout=5,
                )
                for number in range(requests)
            ]
    finally:
        await server.stop()


def test_answers_are_the_first_bundles_and_the_log_has_both(
    online_world: OnlineWorld, tmp_path: Path
) -> None:
    second = bundle.publish(
        online_world.models, version="second", booster=other_booster(), contract=CONTRACT, manifest={}
    )
    settings = replace(ServiceSettings(), shadow=ShadowSettings(share=1.0))
    place = Place({DEFAULT: online_world.bundle}, online_world.redis_url, settings)
    shadowed = replace(place, shadow=second, shadow_folder=tmp_path / "shadow")
    plain, answers = (asyncio.run(ask(one, online_world, 5)) for one in (place, shadowed))
    assert {answer.bundle_version for answer in answers} == {"v1"}
    assert [list(answer.items) for answer in answers] == [list(answer.items) for answer in plain]
    rows = ds.dataset(tmp_path / "shadow").to_table().to_pylist()
    assert len(rows) == 5 * len(online_world.items)
    assert {(row["bundle_version"], row["shadow_version"]) for row in rows} == {("v1", "second")}
    expected = bundle.load(second).booster
    ranked = asyncio.run(_model_input(place, online_world))
    scores = dict(zip(online_world.items, expected.inplace_predict(ranked).tolist(), strict=True))
    assert all(row["shadow_score"] == np.float32(scores[row["item_id"]]) for row in rows)


async def _model_input(place: Place, world: OnlineWorld) -> np.ndarray:
    server = await LoopServer.start(place)
    ranker = server.servicer.models.ranker()
    request = RankRequest("", "ann", world.items, AT)
    ranking = await ranker(request, deadline=asyncio.get_running_loop().time() + 5)
    await server.stop()
    assert ranking.model_input is not None
    return ranking.model_input
