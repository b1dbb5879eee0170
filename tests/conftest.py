"""Fixtures every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from materialization.private_redis import private_redis


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
