"""The documented Redis user: the server runs in full with exactly its rights, needs each of them, and cannot write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.exceptions
import yaml
from online_world import CONTRACT, NOW, OnlineWorld, make_booster, populate
from redis_servers import running

from feature_repo.errors import MarqueeError
from ranking_service.bundle import publish
from ranking_service.client import RankingClient
from ranking_service.online.feature_reader import RedisPlace
from ranking_service.online.start_up import doubts
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import BudgetSettings, CacheSettings, RedisSettings

ROOT = Path(__file__).resolve().parent.parent
ACL = ROOT / "docs/deploy/redis-acl.conf"
USER, PASSWORD = "marquee-serving", "change-me"
OURS = "7:marquee"
"""Netstring of this repository's project; the world's is another."""
RIGHTS = re.findall(r" \+(\S+)", ACL.read_text().splitlines()[-1])
SETTINGS = ServiceSettings(
    redis=RedisSettings(connect_seconds=1.0, timeout_seconds=1.0),
    budget=BudgetSettings(request_seconds=5.0, feature_seconds=1.0, scoring_seconds=1.0),
    cache=CacheSettings(preload_seconds=0.5),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineWorld]:
    """Rows in a Redis that was started with the documented file."""
    folder = tmp_path_factory.mktemp("redis")
    configuration = folder / "redis.conf"
    included = folder / "acl.conf"
    included.write_text(ACL.read_text().replace(OURS, "4:rank"))
    configuration.write_text(f"include {included}\n")
    models = tmp_path_factory.mktemp("models")
    publish(models, version="v1", booster=make_booster(), contract=CONTRACT, manifest={})
    with running("--save", "", folder=folder, first=[str(configuration)]) as port:
        world = OnlineWorld(f"redis://127.0.0.1:{port}/0", models)
        populate(world)
        yield world


def test_the_file_names_this_repositorys_project() -> None:
    project = yaml.safe_load((ROOT / "feature_repo/feature_store.yaml").read_text())["project"]
    assert f"{len(project)}:{project}" == OURS
    assert ACL.read_text().splitlines()[-1].count(f"{OURS}*") == 2


def as_user(world: OnlineWorld) -> str:
    return world.redis_url.replace("redis://", f"redis://{USER}:{PASSWORD}@")


def shortcomings(world: OnlineWorld) -> list[str]:
    """What does not work of a server that has the user's rights."""
    url = as_user(world)
    told = list(doubts(CONTRACT, RedisPlace(url, SETTINGS)))
    try:
        server = RankingServer.start(world.bundle, redis_url=url, settings=SETTINGS)
    except MarqueeError as error:
        return [*told, str(error)]
    try:
        with RankingClient.connect(server.address) as client:
            ranking = client.rank(user_id="ann", candidate_ids=world.items, at=NOW, timeout=5)
        reader: Any = server.server.servicer.models.ranker().reader
        answers = {
            f"level {ranking.level}": ranking.level != 0,
            "nothing in memory": not len(reader.cache.table),
            "the cache is not current": not reader.cache.is_current,
            "no hit": not reader.cache.hits,
        }
        return [*told, *(name for name, wrong in answers.items() if wrong)]
    finally:
        server.stop()


def test_the_server_runs_in_full_with_the_documented_user(world: OnlineWorld) -> None:
    assert shortcomings(world) == []


@pytest.mark.parametrize("right", RIGHTS)
def test_each_of_its_rights_is_needed(world: OnlineWorld, right: str) -> None:
    admin: Any = redis.Redis.from_url(world.redis_url)
    command = right.split("|")[0]
    kept = [f"+{other}" for other in RIGHTS if other != right and other.split("|")[0] == command]
    admin.execute_command("ACL", "SETUSER", USER, f"-{command}", *kept)
    try:
        assert shortcomings(world)
    finally:
        admin.execute_command("ACL", "SETUSER", USER, f"+{right}")


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "mq:r|4:rank1:x|", "1"),
        ("DEL", "mq:r|4:rank1:x|"),
        ("HSET", "mq:s|4:rank1:x|", "a", "b"),
        ("EXPIRE", "mq:r|4:rank1:x|", "1"),
        ("EVAL", "return redis.call('set', KEYS[1], 1)", "1", "mq:r|4:rank1:x|"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("ACL", "LIST"),
        ("KEYS", "*"),
        ("PUBLISH", "channel", "text"),
        ("MGET", "somebody else's key"),
        ("MGET", "mq:r|5:other"),
    ],
)
def test_the_user_can_change_nothing_and_read_nothing_else(
    world: OnlineWorld, words: tuple[str, ...]
) -> None:
    with redis.Redis.from_url(as_user(world)) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*words)
