"""Work that holds the event loop: one piece at a time, in order, and whoever comes meanwhile is seen in between."""

from __future__ import annotations

import asyncio

import pytest

from ranking_service.online.loop_turns import LoopTurns

ROUNDS_TO_COME_IN = 6
"""Of the loop, before a call is in; gRPC's take as many as that."""


async def work(turns: LoopTurns, name: str, done: list[str], rows: asyncio.Event) -> None:
    with turns.request():
        await rows.wait()
        async with turns.turn():
            done.append(name)


async def comes_in(done: list[str]) -> None:
    for _ in range(ROUNDS_TO_COME_IN):
        await asyncio.sleep(0)
    done.append("newcomer")


async def done_with_rows_at_once(turns: LoopTurns, names: str) -> list[str]:
    """What was done in which order, where all requests' rows and a new call come at the same instant."""
    done: list[str] = []
    rows = asyncio.Event()
    tasks = [asyncio.create_task(work(turns, name, done, rows)) for name in names]
    await asyncio.sleep(0)
    rows.set()
    await asyncio.gather(*tasks, comes_in(done))
    return done


def test_a_call_that_comes_meanwhile_is_seen_before_all_the_work_is_done() -> None:
    done = asyncio.run(done_with_rows_at_once(LoopTurns(), "abcd"))
    assert [name for name in done if name != "newcomer"] == list("abcd")
    assert done.index("newcomer") <= 1


def test_a_request_that_is_alone_does_not_look_around() -> None:
    assert asyncio.run(done_with_rows_at_once(LoopTurns(), "a")) == ["a", "newcomer"]


def test_a_request_given_up_while_it_waits_leaves_the_others_their_turns() -> None:
    async def scenario() -> tuple[list[str], int]:
        turns, done, rows = LoopTurns(), list[str](), asyncio.Event()
        rows.set()
        async with turns.turn():
            tasks = [asyncio.create_task(work(turns, name, done, rows)) for name in "ab"]
            await asyncio.sleep(0)
            tasks[0].cancel()
        await asyncio.wait(tasks, timeout=1)
        return done, turns.in_flight

    assert asyncio.run(scenario()) == (["b"], 0)


def test_work_that_fails_ends_its_turn() -> None:
    async def scenario() -> int:
        turns = LoopTurns()
        with pytest.raises(ZeroDivisionError), turns.request():
            async with turns.turn():
                raise ZeroDivisionError
        async with asyncio.timeout(1), turns.turn():
            return turns.in_flight

    assert asyncio.run(scenario()) == 0
