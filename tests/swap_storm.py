"""Model changes while requests run: does any request fail, is every answer that of the bundle it names?"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import xgboost
from online_world import AT, CONTRACT, MODEL, NOW, OnlineWorld

from ranking_service import bundle
from ranking_service.client import RankingClient
from ranking_service.models.registry import Registry
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import BudgetSettings, RedisSettings

USERS = ("ann", "bob", "nobody")
TIMEOUT_SECONDS = 30.0
FOLLOW_SECONDS = 300.0
SETTINGS = ServiceSettings(
    follow_seconds=0.05,
    redis=RedisSettings(connect_seconds=5.0, timeout_seconds=5.0),
    budget=BudgetSettings(request_seconds=20.0, feature_seconds=10.0, scoring_seconds=10.0),
)
"""Patient: what is looked for are failures and mixtures, not the machine's speed."""


@dataclass
class Storm:
    """What the callers saw."""

    swaps: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """By bundle version."""
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that are not what their bundle gives."""
    slowest_seconds: float = 0.0


def publish_others(world: OnlineWorld) -> list[str]:
    """v1 and two more that score quite differently."""
    for number in (2, 3):
        random = np.random.default_rng(number)
        rows = random.normal(size=(500, len(MODEL))).astype(np.float32)
        data = xgboost.DMatrix(rows, label=rows[:, number] > 0, feature_names=list(MODEL))
        booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3}, data, 10)
        bundle.publish(world.models, version=f"v{number}", booster=booster, contract=CONTRACT, manifest={})
    return ["v1", "v2", "v3"]


def expected_scores(world: OnlineWorld, versions: list[str]) -> dict[tuple[str, str], dict[str, float]]:
    """Score by item, of each (version, user), worked out from the rows written."""
    found = {}
    for version in versions:
        booster = bundle.load(world.models / version).booster
        for user in USERS:
            rows = world.naive_input(user, world.items, {"request_timestamp": AT})
            scores = booster.inplace_predict(rows).tolist()
            found[version, user] = dict(zip(world.items, scores, strict=True))
    return found


def swap_storm(world: OnlineWorld, count: int, *, by_promotion: bool = False, callers: int = 4) -> Storm:
    """Change the model `count` times under load: at once, or by promotions that the server follows."""
    versions = publish_others(world)
    expected = expected_scores(world, versions)
    registry = Registry.open(world.models)
    promote(registry, "v1")
    settings = SETTINGS if by_promotion else replace(SETTINGS, follow_seconds=0.0)
    server = RankingServer.start(
        world.bundle, redis_url=world.redis_url, settings=settings, registry=world.models
    )
    storm, stopping = Storm(), threading.Event()
    threads = [
        threading.Thread(target=call, args=(server.address, world, expected, storm, stopping, USERS[n % 3]))
        for n in range(callers)
    ]
    for thread in threads:
        thread.start()
    try:
        for number in range(count):
            version = versions[(number + 1) % len(versions)]
            if by_promotion:
                promote(registry, version)
                await_version(server, version)
            else:
                server.switch(world.models / version)
            storm.swaps += 1
        await_answer(storm, version)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
        server.stop()
    return storm


def promote(registry: Registry, version: str) -> None:
    registry.promote(bundle.load(registry.folder(version)), at=datetime.now(UTC), by="storm")


def await_version(server: RankingServer, version: str) -> None:
    until = time.monotonic() + FOLLOW_SECONDS
    while server.server.servicer.models.versions()["promoted"] != version:
        refused = [follower.refused for follower in server.server.followers if follower.refused]
        assert time.monotonic() < until
        assert not refused
        time.sleep(0.01)


def await_answer(storm: Storm, version: str) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while not storm.answers[version] and not storm.failures:
        assert time.monotonic() < until
        time.sleep(0.01)


def call(
    address: str,
    world: OnlineWorld,
    expected: dict[tuple[str, str], dict[str, float]],
    storm: Storm,
    stopping: threading.Event,
    user: str,
) -> None:
    with RankingClient.connect(address) as client:
        while not stopping.is_set():
            began = time.monotonic()
            try:
                answer = client.rank(user_id=user, candidate_ids=world.items, at=NOW, timeout=TIMEOUT_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever a caller would see counts
                storm.failures.append(repr(error))
                continue
            storm.slowest_seconds = max(storm.slowest_seconds, time.monotonic() - began)
            storm.answers[answer.bundle_version] += 1
            scores = {item.item_id: item.score for item in answer.items}
            if answer.level != 0 or scores != expected[answer.bundle_version, user]:
                storm.wrong.append(f"{answer.bundle_version} level {answer.level}: {answer.items[:3]}")
