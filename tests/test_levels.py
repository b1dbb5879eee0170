"""What an answer is made of when Redis does not answer, or when time is short; and what it says about that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import redis
from async_redis import Proxy, proxied, until
from online_world import AT, OnlineWorld

from feature_repo.errors import OnlineStoreError, SettingError, TooLateError
from ranking_service.online.pace import PASSED_OVER
from ranking_service.online.packed_reader import PackedReader
from ranking_service.online.ranker import SCORED_AT_ONCE, Ranker, Ranking
from ranking_service.online.request import RankRequest
from ranking_service.online.start_up import open_ranker
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import (
    BudgetSettings,
    CacheSettings,
    LevelSettings,
    RedisSettings,
)

SETTINGS = ServiceSettings(
    candidate_limit=50,
    redis=RedisSettings(connect_seconds=1.0, timeout_seconds=1.0),
    cache=CacheSettings(items=200, heartbeat_seconds=0.1, preload_seconds=0.5),
    budget=BudgetSettings(request_seconds=10.0, feature_seconds=0.4, scoring_seconds=5.0),
)
DAY = 86_400.0
VIEWS = {"user_stats", "item_stats", "pair_stats"}


@dataclass
class Stage:
    """A ranker behind a proxy that can fall silent."""

    world: OnlineWorld
    proxy: Proxy
    ranker: Ranker

    @property
    def reader(self) -> PackedReader:
        assert isinstance(self.ranker.reader, PackedReader)
        return self.ranker.reader

    async def rank(
        self, user: str, *items: str, at: float = AT, seconds: float = 8.0, **more: Any
    ) -> Ranking:
        request = RankRequest("r", user, items or self.world.items, at, **more)
        return await self.ranker(request, deadline=time.monotonic() + seconds)

    async def silence(self) -> None:
        """Redis says nothing more, and the reader has noticed."""
        self.proxy.is_silent = True
        self.proxy.hold(lambda _: True)
        await until(lambda: not self.reader.cache.is_current)


Story = Callable[[Stage], Awaitable[None]]


@asynccontextmanager
async def staged(world: OnlineWorld, settings: ServiceSettings) -> AsyncIterator[Stage]:
    async with proxied(int(world.redis_url.rsplit(":", 1)[1].split("/")[0])) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        ranker = await open_ranker(world.bundle, redis_url=url, settings=settings)
        try:
            yield Stage(world, proxy, ranker)
        finally:
            await ranker.close()


@pytest.fixture
def play(online_world: OnlineWorld) -> Callable[..., None]:
    def run(story: Story, settings: ServiceSettings = SETTINGS) -> None:
        async def told() -> None:
            async with asyncio.timeout(30), staged(online_world, settings) as stage:
                await story(stage)

        asyncio.run(told())

    return run


def views(ranking: Ranking) -> dict[str, tuple[int, int]]:
    """Level and candidates with last-known rows, by view."""
    return {view.view: (view.level, view.last_known_candidates) for view in ranking.fetched.degraded}


def with_levels(**levels: Any) -> ServiceSettings:
    return replace(SETTINGS, levels=LevelSettings(**levels))


def test_rows_last_known_give_the_same_scores_and_tell_their_age(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        before, asked = await stage.rank("ann"), time.monotonic()
        assert (before.level, before.reason, before.fetched.degraded) == (0, "", ())
        await stage.silence()
        began = time.monotonic()
        after = await stage.rank("ann")
        assert after.level == 1
        assert "Redis at 127.0.0.1" in after.reason
        assert after.scores.tobytes() == before.scores.tobytes()
        assert views(after) == {"user_stats": (1, 14), "item_stats": (1, 11), "pair_stats": (1, 4)}
        for view in after.fetched.degraded:
            assert view.oldest_seconds <= time.monotonic() - asked + 10
            if view.view != "item_stats":
                assert view.oldest_seconds >= began - asked - 0.2
        later = await stage.rank("ann")
        by_view = {view.view: view.oldest_seconds for view in after.fetched.degraded}
        assert all(view.oldest_seconds > by_view[view.view] for view in later.fetched.degraded)
        assert after.fetched.missing() == before.fetched.missing()

    play(story)


def test_a_damaged_row_is_read_as_defaults_and_the_model_ranks_by_all_others(
    play: Callable[..., None],
) -> None:
    async def story(stage: Stage) -> None:
        client, items = redis.Redis.from_url(stage.world.redis_url), ["item 0", "item 1", "item 2"]
        keys = [*client.scan_iter("*item_stats*sitem 1"), *client.scan_iter("*user_stats*sann")]
        before = {key: client.dump(key) for key in [*keys, *client.scan_iter("*pair_stats*sann")]}
        whole = await stage.rank("ann", *items)
        for key in keys:
            client.setrange(key, 9, b"\xff")
        for name, row in client.hgetall(pairs := [*before][-1]).items():
            client.hset(pairs, name, row[:9] + b"\xff" + row[10:])
        await until(lambda: not stage.reader.cache.find(["item 1"])[1].any())
        harmed = await stage.rank("ann", *items)
        assert harmed.level == 2, "not 3: two items are read"
        assert harmed.reason == "rows of user_stats, item_stats, pair_stats in Redis are damaged"
        assert views(harmed) == dict.fromkeys(VIEWS, (2, 0))
        stranger = await stage.rank("nobody", *items, "never seen")
        assert views(stranger) == {"item_stats": (2, 0)}
        assert harmed.scores.tolist() == stranger.scores[:3].tolist()
        assert stranger.scores[1] == stranger.scores[3]
        for key, value in before.items():
            client.restore(key, 0, value, replace=True)
        again = await stage.rank("ann", *items)
        assert (again.level, again.reason) == (0, "")
        assert again.scores.tolist() == whole.scores.tolist()

    play(story)


def test_what_is_known_in_part_is_used_in_part(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.rank("ann", "item 0", "item 1", "item 3")
        await stage.silence()
        ranking = await stage.rank("ann", "item 0", "item 1", "item 6", "never seen")
        assert ranking.level == 2
        assert views(ranking) == {"user_stats": (1, 4), "item_stats": (2, 3), "pair_stats": (2, 1)}
        expected = stage.world.naive_scores(
            "ann", ["item 0", "item 1", "never seen"], {"request_timestamp": AT}
        )
        np.testing.assert_allclose(ranking.scores[[0, 1, 3]], expected, rtol=1e-6)
        assert ranking.fetched.missing()[0]["pair_stats"] == 3

    play(story)


def test_an_unknown_user_takes_defaults_and_the_items_do_not(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.rank("ann")
        await stage.silence()
        ranking = await stage.rank("bob")
        assert ranking.level == 2
        assert views(ranking) == {"user_stats": (2, 0), "item_stats": (1, 11), "pair_stats": (2, 0)}
        expected = stage.world.naive_scores("somebody", stage.world.items, {"request_timestamp": AT})
        np.testing.assert_allclose(ranking.scores, expected, rtol=1e-6)

    play(story)


def test_with_nothing_known_at_all_the_order_is_the_requests_own(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.silence()
        ranking = await stage.rank("who", "z", "y", "x")
        assert ranking.level == 3
        assert "Redis at" in ranking.reason
        assert ranking.order.tolist() == [0, 1, 2]
        assert ranking.model_input is None
        assert np.isnan(ranking.scores).all()
        assert set(views(ranking)) == VIEWS

    play(story)


@pytest.mark.parametrize(
    ("lowest", "allowed"),
    [(0, set()), (1, {"known"}), (2, {"known", "half"}), (3, {"known", "half", "none"})],
)
def test_an_answer_worse_than_allowed_is_an_error_that_says_so(
    play: Callable[..., None], lowest: int, allowed: set[str]
) -> None:
    async def story(stage: Stage) -> None:
        await stage.rank("ann")
        await stage.silence()
        requests = {"known": ("ann", "item 0"), "half": ("bob", "item 0"), "none": ("who", "x")}
        for (name, request), level in zip(requests.items(), (1, 2, 3), strict=True):
            if name in allowed:
                assert (await stage.rank(*request)).level == level
                continue
            with pytest.raises(
                OnlineStoreError, match=f"only an answer of level {level} is possible, .*Redis"
            ):
                await stage.rank(*request)

    play(story, with_levels(lowest=lowest))


def test_rows_not_confirmed_for_too_long_are_not_used(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.rank("ann")
        await stage.silence()
        assert (await stage.rank("ann")).level == 1
        await asyncio.sleep(0.9)
        ranking = await stage.rank("ann")
        assert ranking.level == 3
        assert set(views(ranking).values()) == {(2, 0)}

    play(story, with_levels(last_known_seconds=0.8))


def test_ttl_counts_for_rows_last_known_too(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        known = await stage.rank("ann", at=AT + 8 * DAY)
        await stage.silence()
        ranking = await stage.rank("ann", at=AT + 8 * DAY)
        assert ranking.scores.tobytes() == known.scores.tobytes()
        assert ranking.fetched.missing()[0]["item_stats"] == 14
        assert views(ranking)["item_stats"] == (1, 0)

    play(story)


def test_the_time_for_features_is_kept_and_the_answer_recovers(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        before = await stage.rank("ann")
        held = stage.proxy.hold(lambda _: True)
        began = time.monotonic()
        assert (await stage.rank("ann")).level == 1
        assert time.monotonic() - began < 2
        for pipe in held:
            pipe.open.set()
        async with asyncio.timeout(10):
            while (ranking := await stage.rank("ann")).level:
                await asyncio.sleep(0.02)
        assert ranking.scores.tobytes() == before.scores.tobytes()

    play(story)


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ((), ["item 3", "x", "item 11", "item 0", "y", "item 5"]),
        (("item_plays",), ["item 11", "item 3", "item 0", "x", "y", "item 5"]),
        (("-item_plays",), ["item 0", "item 3", "item 11", "x", "y", "item 5"]),
    ],
)
def test_without_time_to_score_the_declared_order_stands_in(
    play: Callable[..., None], order_by: tuple[str, ...], expected: list[str]
) -> None:
    """x and y are unknown, item 5 is expired: those come last, as they were sent."""

    async def story(stage: Stage) -> None:
        items = ["item 3", "x", "item 11", "item 0", "y", "item 5"]
        stage.ranker.scoring.seconds_per_unit = 1e9
        ranking = await stage.ranker(
            RankRequest("r", "ann", tuple(items), AT), deadline=time.monotonic() + 1e12
        )
        assert [items[place] for place in ranking.order] == expected
        assert (ranking.level, ranking.fetched.degraded) == (3, ())
        assert "too little time is left for scoring" in ranking.reason
        assert ranking.model_input is None

    play(story, with_levels(order_by=order_by))


def test_an_order_by_what_no_item_has_is_refused_at_the_start(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        raise AssertionError(stage)

    with pytest.raises(SettingError, match="order_by names user_activity, -item_genres"):
        play(story, with_levels(order_by=("item_plays", "user_activity", "-item_genres")))


def test_where_the_model_free_order_is_not_allowed_no_time_to_score_is_an_error(
    play: Callable[..., None],
) -> None:
    async def story(stage: Stage) -> None:
        stage.ranker.scoring.seconds_per_unit = 1e9
        request = RankRequest("r", "ann", ("item 1",), AT)
        with pytest.raises(
            OnlineStoreError, match="level 3 is possible, too little time is left for scoring"
        ):
            await stage.ranker(request, deadline=time.monotonic() + 1e12)

    play(story, with_levels(lowest=2))


def test_one_stall_of_the_processor_does_not_leave_the_model_out_for_ever(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        normal = stage.ranker.scoring.seconds_per_unit
        stage.ranker.scoring.took(600.0, SCORED_AT_ONCE)
        levels = []
        for _ in range(200):
            try:
                levels.append((await stage.rank("ann")).level)
            except TooLateError:
                levels.append(-1)
            if levels[-1] == 0:
                break
        assert len(levels) > 1, "it did seem slow"
        assert levels[-1] == 0
        assert normal < 1

    play(story)


def test_a_request_that_waits_for_others_is_answered_without_the_model_while_its_caller_still_waits(
    play: Callable[..., None],
) -> None:
    """And the model does not seem slow for it."""

    async def story(stage: Stage) -> None:
        scoring, items = stage.ranker.scoring, len(stage.world.items)
        expected = scoring.seconds_per_unit = 0.6 / (items + scoring.fixed_units)
        began = time.monotonic()
        async with stage.ranker.loop.holding():
            ranking = await stage.rank("ann", seconds=2.0)
        assert 0.8 <= time.monotonic() - began < 1.3
        assert (ranking.level, ranking.model_input) == (3, None)
        assert "too little time is left for scoring" in ranking.reason
        assert ranking.micros["wait"] > 0
        assert "assemble" not in ranking.micros
        assert scoring.seconds_per_unit == expected

    play(story)


@pytest.mark.parametrize("seconds", [0.45, 10.0])
def test_what_could_just_be_scored_but_not_sent_in_time_is_answered_without_the_model(
    play: Callable[..., None], seconds: float
) -> None:
    async def story(stage: Stage) -> None:
        scoring, items = stage.ranker.scoring, len(stage.world.items)
        scoring.seconds_per_unit = 0.3 / (items + scoring.fixed_units)
        ranking = await stage.rank("ann", seconds=seconds)
        assert ranking.level == (3 if seconds < 1 else 0)
        assert ("no time is left to ask" in ranking.reason) == (seconds < 1)

    play(story)


def test_a_fetch_in_vain_leaves_the_model_its_time(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        scoring, items = stage.ranker.scoring, len(stage.world.items)
        await stage.rank("ann")
        scoring.seconds_per_unit = 0.3 / (items + scoring.fixed_units)
        stage.proxy.is_silent = True
        stage.proxy.hold(lambda pipe: not pipe.is_channel)
        assert (await stage.rank("ann", seconds=0.95)).level == 1

    play(story, replace(SETTINGS, redis=replace(SETTINGS.redis, timeout_seconds=30.0)))


def looking_around(stage: Stage, seconds: float) -> None:
    """From now on it takes so long."""

    async def look_around() -> None:
        await asyncio.sleep(seconds)

    setattr(stage.ranker.loop, "look_around", look_around)  # noqa: B010


def test_time_that_others_took_does_not_make_the_model_seem_slow(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        scoring, items = stage.ranker.scoring, len(stage.world.items)
        expected = scoring.seconds_per_unit = 0.3 / (items + scoring.fixed_units)
        looking_around(stage, 0.5)
        ranking = await stage.rank("ann", seconds=1.0)
        assert (ranking.level, ranking.model_input) == (3, None)
        assert "assemble" not in ranking.micros
        assert scoring.seconds_per_unit == expected

    play(story)


def test_where_others_always_take_the_time_the_model_is_tried_again_in_the_end(
    play: Callable[..., None],
) -> None:
    async def story(stage: Stage) -> None:
        scoring, items = stage.ranker.scoring, len(stage.world.items)
        scoring.seconds_per_unit = 0.0175 / (items + scoring.fixed_units)
        looking_around(stage, 0.03)
        levels = [(await stage.rank("ann", seconds=0.06)).level]
        while levels[-1] and len(levels) < 300:
            levels.append((await stage.rank("ann", seconds=0.06)).level)
        assert len(levels) > PASSED_OVER, "at first there is no time"
        assert levels[-1] == 0

    play(story)


def test_who_leaves_the_line_again_and_again_finds_the_model_quicker_than_it_seemed(
    play: Callable[..., None],
) -> None:
    async def story(stage: Stage) -> None:
        scoring, items = stage.ranker.scoring, len(stage.world.items)
        expected = scoring.seconds_per_unit = 0.02 / (items + scoring.fixed_units)
        async with stage.ranker.loop.holding():
            rankings = await asyncio.gather(*(stage.rank("ann", seconds=0.2) for _ in range(PASSED_OVER - 1)))
            assert {ranking.level for ranking in rankings} == {3}
            assert scoring.seconds_per_unit == expected
            await stage.rank("ann", seconds=0.2)
            assert 0 < scoring.seconds_per_unit < expected

    play(story)


def test_a_caller_without_time_is_told_so_and_nothing_is_read(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        link: Any = stage.reader.link
        before = link.counts.reads
        with pytest.raises(TooLateError):
            await stage.rank("ann", seconds=-0.001)
        assert link.counts.reads == before

    play(story)


def test_callers_in_a_hurry_do_not_open_the_circuit_breaker_and_others_in_vain_do(
    play: Callable[..., None],
) -> None:
    async def story(stage: Stage) -> None:
        await stage.rank("ann")
        stage.ranker.scoring.seconds_per_unit = 0.0
        stage.proxy.is_silent = True  # connections that are yet to come, too
        stage.proxy.hold(lambda pipe: not pipe.is_channel)
        for _ in range(12):
            await stage.rank("ann", seconds=0.02)
            stage.ranker.scoring.seconds_per_unit = 0.0
        assert not stage.reader.breaker.is_open
        for _ in range(6):
            await stage.rank("ann")
        assert stage.reader.breaker.opened >= 1

    play(story, replace(SETTINGS, redis=replace(SETTINGS.redis, timeout_seconds=30.0)))


def test_while_the_breaker_is_open_answers_cost_no_waiting(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.rank("ann")
        for _ in range(5):
            stage.reader.breaker.failed("made up")
        await asyncio.sleep(stage.ranker.settings.breaker.failing_seconds)
        stage.reader.breaker.failed("made up")
        link: Any = stage.reader.link
        before = link.counts.reads
        ranking = await stage.rank("ann")
        assert link.counts.reads == before
        assert "not asked at the moment: made up" in ranking.reason
        assert ranking.level == 1
        await until(lambda: not stage.reader.breaker.is_open)
        assert (await stage.rank("ann")).level == 0

    play(story)


def test_explanations_are_left_out_when_there_is_no_time_for_them(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        whole = await stage.rank("ann", explain=True, limit=3)
        assert (len(whole.explanations), whole.explanation_skipped) == (3, False)
        stage.ranker.explaining.seconds_per_unit = 100.0
        short = await stage.rank("ann", explain=True, limit=3)
        assert (short.explanations, short.explanation_skipped, short.level) == ((), True, 0)
        assert short.scores.tobytes() == whole.scores.tobytes()
        async with asyncio.timeout(10):
            while (await stage.rank("ann", explain=True, limit=3)).explanation_skipped:
                pass

    play(story)
