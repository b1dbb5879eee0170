"""Rankings of the tiny service, a second bundle beside it, and what became of both in the logs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from online_world import AT, CONTRACT, MODEL, OnlineWorld

from ranking_service import bundle
from ranking_service.contract import Contract
from ranking_service.models.shadow import Shadow, ShadowCounts
from ranking_service.online.ranker import Ranking
from ranking_service.online.request import RankRequest
from ranking_service.online.start_up import open_ranker
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import BudgetSettings, LogSettings, RedisSettings, ShadowSettings

SETTINGS = ServiceSettings(
    redis=RedisSettings(connect_seconds=1.0, timeout_seconds=1.0),
    budget=BudgetSettings(request_seconds=20.0, feature_seconds=10.0, scoring_seconds=10.0),
    shadow=ShadowSettings(share=1.0, queue_requests=20),
)


def other_booster() -> xgboost.Booster:
    """Likes what the first one does not."""
    random = np.random.default_rng(3)
    rows = random.normal(size=(500, len(MODEL))).astype(np.float32)
    data = xgboost.DMatrix(rows, label=rows[:, 2] < 0, feature_names=list(MODEL))
    return xgboost.train({"objective": "binary:logistic", "max_depth": 3}, data, 10)


def add(world: OnlineWorld, version: str, contract: Contract = CONTRACT) -> Path:
    return bundle.publish(
        world.models, version=version, booster=other_booster(), contract=contract, manifest={}
    )


def served(world: OnlineWorld, requests: list[RankRequest]) -> list[Ranking]:
    async def ranked() -> list[Ranking]:
        ranker = await open_ranker(world.bundle, redis_url=world.redis_url, settings=SETTINGS)
        rankings = [await ranker(request, deadline=time.monotonic() + 5) for request in requests]
        await ranker.close()
        return rankings

    return asyncio.run(ranked())


def asked(world: OnlineWorld, users: list[str]) -> list[RankRequest]:
    return [
        RankRequest(
            f"r{number}",
            user,
            world.items,
            AT,
            surface="search",
            device="tv",
            session_position=number,
            features={"bandwidth": 1.5},
        )
        for number, user in enumerate(users)
    ]


def shadowed(
    world: OnlineWorld,
    path: Path,
    rankings: list[Ranking],
    folder: Path,
    settings: ServiceSettings = SETTINGS,
) -> tuple[ShadowCounts, pa.Table | None]:
    shadow = Shadow.start(path, redis_url=world.redis_url, settings=settings, folder=folder)
    for ranking in rankings:
        shadow.offer(ranking, CONTRACT)
    counts = shadow.close()
    files = sorted(folder.glob("*.parquet"))
    return counts, pa.concat_tables(map(pq.read_table, files)) if files else None


def log(folder: Path, rankings: list[Ranking]) -> None:
    writer = ServingLog.start(folder, LogSettings())
    for ranking in rankings:
        writer.offer(LoggedRanking(ranking, CONTRACT, AT))
    assert writer.close().written == len(rankings)
