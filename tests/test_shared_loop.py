"""Work that holds the event loop: one piece at a time, in order, and whoever comes meanwhile is seen in between."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from ranking_service.online.shared_loop import SharedLoop

ROUNDS_TO_COME_IN = 6
"""Of the loop, before a call is in."""


@dataclass
class Scene:
    """Requests whose rows come at the same instant, and a call that comes during the first one's work."""

    loop: SharedLoop = field(default_factory=SharedLoop)
    rows: asyncio.Event = field(default_factory=asyncio.Event)
    done: list[str] = field(default_factory=list)
    coming: list[asyncio.Task[None]] = field(default_factory=list)

    async def request(self, name: str) -> None:
        with self.loop.request():
            await self.rows.wait()
            async with self.loop.holding():
                if not self.done:
                    self.coming.append(asyncio.create_task(self.comes_in()))
                self.done.append(name)

    async def comes_in(self) -> None:
        for _ in range(ROUNDS_TO_COME_IN):
            await asyncio.sleep(0)
        self.done.append("newcomer")

    async def play(self, names: str) -> list[str]:
        """What was done, in its order."""
        tasks = [asyncio.create_task(self.request(name)) for name in names]
        await asyncio.sleep(0)
        self.rows.set()
        await asyncio.gather(*tasks)
        await asyncio.gather(*self.coming)
        return self.done


def test_a_call_that_comes_during_the_work_is_seen_before_the_next_ones() -> None:
    async def scenario() -> list[str]:
        return await Scene().play("abcd")

    assert asyncio.run(scenario()) == ["a", "newcomer", "b", "c", "d"]


def test_requests_that_need_not_wait_for_rows_are_not_worked_on_in_one_go_either() -> None:
    async def scenario() -> list[str]:
        scene = Scene()
        scene.rows.set()
        return await scene.play("abcd")

    assert asyncio.run(scenario()) == ["a", "newcomer", "b", "c", "d"]


def test_nobody_looks_around_while_whoever_comes_could_only_be_refused() -> None:
    async def scenario() -> list[str]:
        return await Scene(SharedLoop(has_room=lambda: False)).play("abcd")

    assert asyncio.run(scenario()) == ["a", "b", "c", "d", "newcomer"]


def test_a_request_that_is_alone_does_not_wait_for_others() -> None:
    async def rounds() -> int:
        loop, gone = SharedLoop(), 0

        async def count() -> None:
            nonlocal gone
            while True:
                gone += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        with loop.request():
            async with loop.holding():
                counting.cancel()
        return gone

    assert asyncio.run(rounds()) <= 2


@pytest.mark.parametrize("rounds", [0, 3], ids=["in line", "looking around"])
def test_a_request_given_up_while_it_waits_leaves_the_others_theirs(rounds: int) -> None:
    async def scenario() -> tuple[list[str], int]:
        scene = Scene()
        scene.rows.set()
        tasks = [asyncio.create_task(scene.request(name)) for name in "abc"]
        for _ in range(rounds + 1):
            await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[1].cancel()
        await asyncio.wait(tasks, timeout=1)
        return scene.done, scene.loop.begun

    done, begun = asyncio.run(scenario())
    assert [name for name in done if name != "newcomer"] == ["c"]
    assert begun == 0


def test_whose_turn_does_not_come_in_time_does_without_and_the_others_have_theirs() -> None:
    async def scenario() -> list[str]:
        loop, done = SharedLoop(), []

        async def request(name: str, seconds: float) -> None:
            async with loop.holding(until=time.monotonic() + seconds) as is_in_turn:
                done.append(name if is_in_turn else f"{name} without")

        async with loop.holding():
            tasks = [asyncio.create_task(request(*one)) for one in (("a", 5.0), ("b", 0.02), ("c", -1.0))]
            await asyncio.wait(tasks[1:], timeout=4)
            done.append("first")
        await asyncio.gather(*tasks)
        async with loop.holding(until=-1.0) as is_in_turn:
            assert is_in_turn, "nobody is before it"
        return done

    assert asyncio.run(scenario()) == ["c without", "b without", "first", "a"]


def test_work_that_fails_ends_its_turn() -> None:
    async def scenario() -> int:
        loop = SharedLoop()
        with pytest.raises(ZeroDivisionError), loop.request():
            async with loop.holding():
                raise ZeroDivisionError
        async with asyncio.timeout(1), loop.holding():
            return loop.begun

    assert asyncio.run(scenario()) == 0
