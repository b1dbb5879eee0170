"""Fixtures every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from materialization.private_redis import private_redis

if TYPE_CHECKING:
    from online_world import OnlineWorld

    from skew_checks.bench.world import World


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """URL of one private server for the whole run; prefer `redis_url`, which is empty."""
    with private_redis() as server:
        yield server.url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of a real, empty Redis."""
    redis.Redis.from_url(redis_server).flushall()
    return redis_server


@pytest.fixture
def online_world(redis_url: str, tmp_path: Path) -> OnlineWorld:
    """Stored rows (see `populate`) and a published bundle; the items are `world.items`."""
    from online_world import CONTRACT, OnlineWorld, make_booster, populate

    from ranking_service.bundle import publish

    publish(tmp_path / "models", version="v1", booster=make_booster(), contract=CONTRACT, manifest={})
    world = OnlineWorld(redis_url, tmp_path / "models")
    populate(world)
    return world


@pytest.fixture(scope="session")
def skew_bench_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A tiny service to serve nights on; every night leaves it as it was."""
    from skew_checks.bench.world import TINY, made_world

    with made_world(tmp_path_factory.mktemp("skew-bench") / "world", TINY) as made:
        yield made
