"""Item rows in memory are never older than Redis' own news of changes: proofs with a real Redis in between."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import redis
from async_redis import Proxy, proxied, until
from online_world import AT, CONTRACT, OnlineWorld

from materialization.data_plane.online.batched_fetch import DeadlineLink
from materialization.data_plane.rows.keys import ViewKeys
from ranking_service.online.feature_reader import RedisPlace
from ranking_service.online.fetched import Origin
from ranking_service.online.item_cache import REFRESH_PAUSE_SECONDS
from ranking_service.online.packed_reader import PackedReader
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import CacheSettings, RedisSettings

HEARTBEAT = 0.2
SETTINGS = ServiceSettings(
    candidate_limit=10,
    cache=CacheSettings(items=100, heartbeat_seconds=HEARTBEAT),
    redis=RedisSettings(connect_seconds=1.0, timeout_seconds=2.0, hedge_seconds=0.0, connections=2),
)
KEY = ViewKeys("rank", "item_stats", ("item_id",)).prefix + b"s"


@dataclass
class Stage:
    """A reader through a proxy, and the Redis behind it."""

    world: OnlineWorld
    proxy: Proxy
    reader: PackedReader
    redis: Any
    task: asyncio.Task[None]
    users: int = 0

    async def plays(self, *items: str, seconds: float = 5.0) -> list[float | None]:
        """What a fetch serves, by a new user each time; None is missing."""
        self.users += 1
        fetched = await self.reader.fetch(f"user {self.users}", items, at=AT, seconds=seconds)
        assert not fetched.degraded, fetched.reason
        column = fetched.item.columns["item_plays"]
        assert isinstance(column, np.ndarray)
        return [None if np.isnan(value) else float(value) for value in column]

    def write(self, item: str, plays: int) -> None:
        self.world.write("item_stats", {"item_id": item}, {"item_plays": plays})

    async def current(self) -> None:
        await until(lambda: self.reader.cache.is_current)

    async def told(self, write: Callable[[], object]) -> None:
        """Write, and wait until the reader has been told."""
        channel = self.reader.cache.channel
        assert channel is not None
        before = channel.changes
        await asyncio.to_thread(write)
        await until(lambda: channel.changes > before)


@asynccontextmanager
async def staged(url: str, models: Any, settings: ServiceSettings = SETTINGS) -> AsyncIterator[Stage]:
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    async with proxied(port) as proxy:
        place = RedisPlace(f"redis://127.0.0.1:{proxy.port}/0", settings)
        reader = place.reader(CONTRACT)
        assert isinstance(reader, PackedReader)
        task = asyncio.create_task(reader.run())
        stage = Stage(OnlineWorld(url, models), proxy, reader, redis.Redis.from_url(url), task)
        try:
            await stage.current()
            yield stage
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await reader.close()


@pytest.fixture
def play(redis_url: str, tmp_path: Any) -> Callable[..., None]:
    """Run a story on a stage."""

    def run(story: Callable[[Stage], Awaitable[None]], settings: ServiceSettings = SETTINGS) -> None:
        async def told() -> None:
            async with asyncio.timeout(40), staged(redis_url, tmp_path, settings) as stage:
                await story(stage)

        asyncio.run(told())

    return run


def test_a_row_is_read_once_and_again_only_after_it_changed(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        assert await stage.plays("a", "none") == [1, None]
        hits = stage.reader.cache.hits
        assert await stage.plays("a", "none") == [1, None]
        assert stage.reader.cache.hits == hits + 2, "that there is no row is remembered, too"
        await stage.told(lambda: stage.write("a", 2))
        await stage.told(lambda: stage.write("none", 7))
        assert await stage.plays("a", "none") == [2, 7]

    play(story)


def test_a_row_that_was_damaged_on_the_way_is_read_again_without_a_word_from_redis(
    play: Callable[..., None],
) -> None:
    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        await stage.told(lambda: stage.write("b", 2))
        link, table = DamagingLink(stage.reader.link), stage.reader.cache.table
        stage.reader.link = link
        fetched = await stage.reader.fetch("u", ["a", "b"], at=AT, seconds=5.0)
        assert fetched.item.views["item_stats"].presence.tolist() == [Origin.UNREAD, Origin.FOUND]
        assert table.fresh[table.find(["a", "b"])].tolist() == [False, True]
        await asyncio.sleep(5 * REFRESH_PAUSE_SECONDS)
        assert link.reads == 1, "it may be damaged for long: nobody reads it but for a request"
        link.is_good = True
        assert await stage.plays("a", "b") == [1, 2]
        assert table.fresh[table.find(["a", "b"])].all()

    play(story)


@dataclass
class DamagingLink:
    """Flips a bit of the first item's row that passes, in each answer."""

    link: DeadlineLink
    is_good: bool = False
    reads: int = 0

    async def read(self, strings: Any, hashes: Any, *, seconds: float) -> list[bytes | None]:
        replies = await self.link.read(strings, hashes, seconds=seconds)
        self.reads += 1
        place = next((at for at, key in enumerate(strings) if key.startswith(KEY)), None)
        if place is not None and not self.is_good:
            row = replies[place]
            assert row is not None
            replies[place] = row[:-1] + bytes([row[-1] ^ 0x10])
        return replies

    async def fields(self, key: bytes, *, seconds: float) -> dict[bytes, bytes]:
        return await self.link.fields(key, seconds=seconds)

    async def close(self) -> None:
        await self.link.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda stage: stage.redis.delete(KEY + b"a"),
        lambda stage: stage.redis.unlink(KEY + b"a"),
        lambda stage: stage.redis.rename(KEY + b"a", "elsewhere"),
        lambda stage: stage.redis.pexpire(KEY + b"a", 1),
        lambda stage: stage.redis.flushdb(),
        lambda stage: stage.redis.flushall(asynchronous=True),
    ],
    ids=["DEL", "UNLINK", "RENAME", "PEXPIRE", "FLUSHDB", "FLUSHALL ASYNC"],
)
def test_a_row_that_is_gone_is_gone_for_readers_too(
    play: Callable[..., None], change: Callable[[Stage], object]
) -> None:
    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        assert await stage.plays("a") == [1]
        assert await stage.plays("a") == [1]
        await asyncio.to_thread(change, stage)
        async with asyncio.timeout(5):
            while await stage.plays("a") != [None]:
                await asyncio.sleep(0.005)
        assert await stage.plays("a") == [None]

    play(story)


def test_a_row_that_redis_evicts_for_want_of_memory_is_gone_for_readers_too(
    play: Callable[..., None],
) -> None:
    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        assert await stage.plays("a") == [1]
        try:
            stage.redis.config_set("maxmemory-policy", "allkeys-random")
            used = stage.redis.info("memory")["used_memory"]
            stage.redis.config_set("maxmemory", used + 200_000)
            for number in range(400):
                await asyncio.to_thread(stage.redis.set, f"filler {number}", b"x" * 5_000)
                if not stage.redis.exists(KEY + b"a"):
                    break
                await asyncio.sleep(0)
        finally:
            stage.redis.config_set("maxmemory", 0)
            stage.redis.config_set("maxmemory-policy", "noeviction")
        if stage.redis.exists(KEY + b"a"):
            stage.redis.delete(KEY + b"a")
        await until(lambda: not stage.reader.cache.table.fresh[stage.reader.cache.table.slots["a"]])
        assert await stage.plays("a") == [None]

    play(story)


def test_a_change_told_while_the_read_is_under_way_is_not_kept_as_current(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        await stage.plays("warm")
        held = stage.proxy.hold(lambda pipe: not pipe.is_channel)
        reading = asyncio.create_task(stage.plays("a"))
        await until(lambda: any(KEY + b"a" in pipe.said for pipe in held))
        await asyncio.sleep(0.05)
        await stage.told(lambda: stage.write("a", 2))
        for pipe in held:
            pipe.open.set()
        assert await reading in ([1], [2])
        assert await stage.plays("a") == [2]
        assert await stage.plays("a") == [2]

    play(story)


async def two_readers(stage: Stage) -> None:
    """Both connections of the link are open."""
    before = stage.proxy.hold(lambda pipe: not pipe.is_channel)
    first, second = (asyncio.create_task(stage.plays(f"warm {number}")) for number in range(2))
    await until(lambda: len(stage.proxy.readers()) == 2)
    for pipe in before:
        pipe.open.set()
    await asyncio.gather(first, second)
    link: Any = stage.reader.link
    await until(lambda: all(lane.stream is not None for lane in link._lanes))  # not only accepted: greeted


def test_a_read_that_ends_does_not_end_the_watch_of_another(play: Callable[..., None]) -> None:
    """Two reads are alike in what they have heard: nothing. The first, which is slow, must hear of the change."""

    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        await stage.plays("warm")
        await two_readers(stage)
        held = stage.proxy.hold(lambda pipe: not pipe.is_channel)
        slow = asyncio.create_task(stage.plays("a"))
        await until(lambda: any(KEY + b"a" in pipe.said for pipe in held))
        (stuck,) = [pipe for pipe in held if KEY + b"a" in pipe.said]
        for pipe in held:
            if pipe is not stuck:
                pipe.open.set()
        assert await stage.plays("b") == [None]
        await stage.told(lambda: stage.write("a", 2))
        stuck.open.set()
        await slow
        assert await stage.plays("a") == [2]
        assert await stage.plays("a") == [2]

    play(story)


def test_a_late_reply_does_not_take_the_place_of_newer_rows(play: Callable[..., None]) -> None:
    """A request that found the new row in memory gets it, though an old reply comes in while it waits."""

    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        await stage.plays("warm")
        await two_readers(stage)
        held = stage.proxy.hold(lambda pipe: not pipe.is_channel)
        slow = asyncio.create_task(stage.plays("a"))
        await until(lambda: any(KEY + b"a" in pipe.said for pipe in held))
        (stuck,) = [pipe for pipe in held if KEY + b"a" in pipe.said]
        (other,) = [pipe for pipe in held if pipe is not stuck]
        other.open.set()
        await asyncio.sleep(0.05)
        await stage.told(lambda: stage.write("a", 2))
        assert await stage.plays("a") == [2], "read anew on the other connection"
        other.open.clear()
        waiting = asyncio.create_task(stage.plays("a"))
        await asyncio.sleep(0.05)
        stuck.open.set()
        assert await slow in ([1], [2])
        other.open.set()
        assert await waiting == [2]

    play(story)


def test_a_channel_that_is_killed_is_not_trusted_until_it_stands_again(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        assert await stage.plays("a") == [1]
        cache = stage.reader.cache
        for round_ in range(2, 5):
            await asyncio.to_thread(kill_channel, stage.redis)
            await asyncio.to_thread(stage.write, "a", round_)
            await until(lambda: not cache.is_current)
            assert await stage.plays("a") == [round_]
            await stage.current()
            assert await stage.plays("a") == [round_]
            hits = cache.hits
            assert await stage.plays("a") == [round_]
            assert cache.hits == hits + 1

    play(story)


def kill_channel(client: Any) -> None:
    """The connection whose flags say that it is told of changes."""
    for one in client.client_list():
        if "t" in one["flags"] or "B" in one["flags"]:
            client.client_kill_filter(_id=one["id"])


def test_a_channel_without_a_sound_is_trusted_for_two_heartbeats_at_most(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        assert await stage.plays("a") == [1]
        cache = stage.reader.cache
        (held,) = stage.proxy.hold(lambda pipe: pipe.is_channel)
        held_at = time.monotonic()
        await asyncio.to_thread(stage.write, "a", 2)
        await until(lambda: not cache.is_current)
        late = time.monotonic() - held_at
        assert late <= 2 * HEARTBEAT + 0.1, "no more than two heartbeats, and the polling of this test"
        assert await stage.plays("a") == [2]
        held.open.set()
        await stage.current()
        assert await stage.plays("a") == [2]

    play(story)


def test_a_heartbeat_that_comes_back_late_makes_what_was_kept_current_again(
    play: Callable[..., None],
) -> None:
    async def story(stage: Stage) -> None:
        await stage.told(lambda: stage.write("a", 1))
        assert await stage.plays("a") == [1]
        cache = stage.reader.cache
        (held,) = stage.proxy.hold(lambda pipe: pipe.is_channel)
        await until(lambda: not cache.is_current)
        held.open.set()
        await stage.current()
        assert cache.channel is not None
        if cache.table.fresh[cache.table.slots["a"]]:
            assert await stage.plays("a") == [1]
        await stage.told(lambda: stage.write("a", 2))
        assert await stage.plays("a") == [2]

    play(story)


@dataclass
class Truth:
    """What Redis has held of each item, and from when on."""

    versions: dict[str, list[tuple[float, float, float | None]]] = field(default_factory=dict)
    """Began to be written, was written, value."""

    def write(self, item: str, value: float | None, act: Callable[[], object]) -> None:
        began = time.monotonic()
        act()
        self.versions.setdefault(item, [(0.0, 0.0, None)]).append((began, time.monotonic(), value))

    def possible(self, item: str, since: float, until: float) -> set[float | None]:
        """Values that Redis held at some moment of that time."""
        history = self.versions.get(item, [(0.0, 0.0, None)])
        following = [one[1] for one in history[1:]] + [float("inf")]
        return {
            value
            for (began, _, value), replaced in zip(history, following, strict=True)
            if began <= until and replaced >= since
        }


ITEMS = [f"i{number}" for number in range(24)]
RUN_SECONDS = 6.0
DELIVERY_SECONDS = 0.5
"""How late Redis' news may be where everything else is well; the channel's silence adds two heartbeats."""


async def keep_writing(stage: Stage, truth: Truth, dice: random.Random, end: float) -> None:
    number = 0
    while time.monotonic() < end:
        number += 1
        item, kind = dice.choice(ITEMS), dice.random()
        if kind < 0.15:
            act, value = (lambda item=item: stage.redis.delete(KEY + item.encode())), None
        elif kind < 0.17:
            await asyncio.to_thread(flush, stage, truth)
            continue
        else:
            act, value = (lambda item=item, number=number: stage.write(item, number)), float(number)
        await asyncio.to_thread(truth.write, item, value, act)
        await asyncio.sleep(dice.random() * 0.004)


def flush(stage: Stage, truth: Truth) -> None:
    began = time.monotonic()
    stage.redis.flushall()
    for item in ITEMS:
        truth.versions.setdefault(item, [(0.0, 0.0, None)]).append((began, time.monotonic(), None))


async def keep_reading(stage: Stage, dice: random.Random, end: float, seen: list[Any]) -> None:
    while time.monotonic() < end:
        items = dice.sample(ITEMS, dice.randint(1, 8))
        began = time.monotonic()
        served = await stage.plays(*items)
        seen.append((began, time.monotonic(), items, served))
        await asyncio.sleep(0)


async def keep_disturbing(stage: Stage, dice: random.Random, end: float) -> None:
    """Replies held, the channel held, the channel killed."""
    while time.monotonic() < end:
        kind = dice.random()
        if kind < 0.2:
            await asyncio.to_thread(kill_channel, stage.redis)
        else:
            channel = kind < 0.4
            held = [pipe for pipe in stage.proxy.pipes if pipe.is_channel == channel and dice.random() < 0.6]
            for pipe in held:
                pipe.open.clear()
            await asyncio.sleep(dice.random() * (5 * HEARTBEAT if channel else 0.05))
            for pipe in held:
                pipe.open.set()
        await asyncio.sleep(dice.random() * 0.1)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_served_was_in_redis_during_the_read_or_as_much_before_as_news_may_take(
    play: Callable[..., None], seed: int
) -> None:
    """Writers, readers and disturbances at random; the memory is smaller than the items."""
    small = replace(SETTINGS, candidate_limit=4, cache=CacheSettings(items=16, heartbeat_seconds=HEARTBEAT))

    async def story(stage: Stage) -> None:
        truth, end = Truth(), time.monotonic() + RUN_SECONDS
        seen: list[Any] = []
        readers = [keep_reading(stage, random.Random(f"{seed} {number}"), end, seen) for number in range(4)]
        await asyncio.gather(
            keep_writing(stage, truth, random.Random(seed), end),
            keep_disturbing(stage, random.Random(-seed), end),
            *readers,
        )
        assert len(seen) > 100
        allowed = DELIVERY_SECONDS + 2 * HEARTBEAT
        for began, ended, items, served in seen:
            for item, value in zip(items, served, strict=True):
                assert value in truth.possible(item, began - allowed, ended), (item, value)
        assert stage.reader.cache.hits > 100
        end = time.monotonic() + 10
        while await stage.plays(*ITEMS[:4]) != [truth.versions[item][-1][2] for item in ITEMS[:4]]:
            assert time.monotonic() < end, "the last word of every item arrives"

    play(story, small)
