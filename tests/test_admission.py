"""Who is worked on, who waits, who is refused: always one of the three, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import OverloadedError, TooLateError
from ranking_service.server.admission import Admission
from ranking_service.settings_sections import AdmissionSettings

FAR = 60.0


def soon(seconds: float = FAR) -> float:
    return time.monotonic() + seconds


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story()

    asyncio.run(bounded())


@dataclass
class Visitors:
    """Requests under way, each working until it is let go."""

    admission: Admission
    working: list[str] = field(default_factory=list)
    """In the order they came in."""
    ends: dict[str, asyncio.Event] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[str]] = field(default_factory=dict)

    async def visit(self, name: str, *, prefetch: bool = False, deadline: float | None = None) -> None:
        """Come, and either be worked on or wait."""
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._work(name, prefetch, deadline or soon()))
        await settled()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await settled()

    async def outcome(self, name: str) -> str:
        return await self.tasks[name]

    async def _work(self, name: str, prefetch: bool, deadline: float) -> str:
        try:
            async with self.admission.turn(is_prefetch=prefetch, deadline=deadline):
                self.working.append(name)
                await self.ends[name].wait()
        except OverloadedError as error:
            return (
                "refused" if error.retry_after_seconds > 0 else "refused without a word on when to come back"
            )
        except TooLateError:
            return "too late"
        return "served"


async def settled() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def of(limit: int, **settings: Any) -> Admission:
    """One whose limit stays where it is."""
    chosen = {"least": limit, "most": limit, "target_seconds": FAR, "queue": 4, "prefetch_share": 0.5}
    return Admission(AdmissionSettings(**{**chosen, **settings}))


def test_beyond_the_limit_requests_wait_and_come_in_by_turns() -> None:
    async def story() -> None:
        visitors = Visitors(of(2))
        for name in "abcd":
            await visitors.visit(name)
        assert visitors.working == ["a", "b"]
        await visitors.end("b")
        assert visitors.working == ["a", "b", "c"]
        await visitors.end("a")
        assert visitors.working == ["a", "b", "c", "d"]

    run(story)


def test_interactive_requests_come_before_prefetching_ones() -> None:
    async def story() -> None:
        visitors = Visitors(of(2))
        await visitors.visit("a")
        await visitors.visit("b")
        await visitors.visit("p", prefetch=True)
        await visitors.visit("c")
        await visitors.end("a")
        assert visitors.working == ["a", "b", "c"]
        await visitors.end("b")
        assert visitors.working == ["a", "b", "c", "p"]

    run(story)


def test_prefetching_holds_its_share_at_most_and_one_place_at_least() -> None:
    async def story() -> None:
        for limit, held in ((4, 2), (1, 1), (5, 2)):
            visitors = Visitors(of(limit))
            for name in ("p", "q", "r"):
                await visitors.visit(name, prefetch=True)
            assert visitors.admission.prefetches == held
            assert visitors.admission.queued == 3 - held

    run(story)


def test_a_full_queue_refuses_and_an_interactive_request_takes_a_prefetching_ones_place() -> None:
    async def story() -> None:
        visitors = Visitors(of(1, queue=2))
        await visitors.visit("a")
        await visitors.visit("p", prefetch=True)
        await visitors.visit("q", prefetch=True)
        await visitors.visit("r", prefetch=True)
        assert await visitors.outcome("r") == "refused"
        await visitors.visit("b")
        assert await visitors.outcome("q") == "refused", "the one that came last"
        await visitors.visit("c")
        assert await visitors.outcome("p") == "refused"
        await visitors.visit("d")
        assert await visitors.outcome("d") == "refused"
        assert visitors.admission.turned_away == 4
        for name in "abc":
            await visitors.end(name)
        assert visitors.working == ["a", "b", "c"]

    run(story)


def test_whoever_has_no_time_left_is_told_so_in_time() -> None:
    async def story() -> None:
        visitors = Visitors(of(1))
        await visitors.visit("a")
        started = time.monotonic()
        await visitors.visit("late", deadline=soon(0.05))
        await visitors.visit("later", deadline=soon(-1))
        assert await visitors.outcome("late") == "too late"
        assert await visitors.outcome("later") in ("too late", "refused")
        assert 0.04 < time.monotonic() - started < 5
        assert visitors.admission.queued == 0
        await visitors.end("a")
        await visitors.visit("b")
        assert visitors.working == ["a", "b"]

    run(story)


def test_a_request_that_cannot_be_answered_in_time_is_refused_at_once() -> None:
    async def story() -> None:
        visitors = Visitors(of(1))
        visitors.admission.pace.took(1.0, 1)
        await visitors.visit("a")
        await visitors.visit(
            "b", deadline=soon(2.5)
        )  # its turn comes in 2 s, which leaves it less than a quarter
        assert visitors.tasks["b"].done()
        assert await visitors.outcome("b") == "refused"
        await visitors.visit("c", deadline=soon(3.5))
        assert not visitors.tasks["c"].done()

    run(story)


def test_the_limit_holds_when_a_newcomer_arrives_before_the_woken_one_has_run() -> None:
    """The place was given away when its holder was woken, not when it began."""

    async def story() -> None:
        visitors = Visitors(of(1))
        await visitors.visit("a")
        await visitors.visit("b")
        visitors.ends["a"].set()
        await asyncio.sleep(0)
        most = 0
        for number in range(3):
            visitors.ends[str(number)] = asyncio.Event()
            visitors.tasks[str(number)] = asyncio.create_task(visitors._work(str(number), False, soon()))
            await asyncio.sleep(0)
            most = max(most, visitors.admission.in_flight)
        await settled()
        assert most == visitors.admission.in_flight == 1
        assert visitors.working == ["a", "b"]

    run(story)


def test_whoever_is_cancelled_after_being_woken_passes_the_place_on() -> None:
    async def story() -> None:
        for moments in range(6):
            visitors = Visitors(of(1))
            for name in "abc":
                await visitors.visit(name)
            visitors.ends["a"].set()
            for _ in range(moments):
                await asyncio.sleep(0)
            visitors.tasks["b"].cancel()
            await settled()
            assert visitors.working[-1] == "c", moments
            await visitors.end("c")
            assert (visitors.admission.in_flight, visitors.admission.queued) == (0, 0)

    run(story)


def test_a_risen_limit_lets_all_in_that_fit() -> None:
    async def story() -> None:
        visitors = Visitors(of(2, queue=10))
        for name in "abcdef":
            await visitors.visit(name)
        visitors.admission.limit = 4.0
        await visitors.end("a")
        assert visitors.working == list("abcde")

    run(story)


async def answer(admission: Admission, seconds: float) -> None:
    async with admission.turn(is_prefetch=False, deadline=soon()):
        await asyncio.sleep(seconds)


def test_the_limit_falls_when_answers_are_slow_and_rises_when_they_are_fast_and_wanted() -> None:
    async def story() -> None:
        admission = Admission(AdmissionSettings(least=2, most=12, target_seconds=0.02, queue=200))
        began = admission.limit
        for _ in range(6):
            await asyncio.gather(*(answer(admission, 0.04) for _ in range(int(admission.limit))))
        low = admission.limit
        assert 2 <= low < began
        for _ in range(3):
            await answer(admission, 0.0)
        assert admission.limit == low, "nobody wanted more"
        for _ in range(20):
            await asyncio.gather(*(answer(admission, 0.0) for _ in range(30)))
        assert admission.limit > low
        for _ in range(40):
            await asyncio.gather(*(answer(admission, 0.0) for _ in range(60)))
        assert admission.limit == 12
        for _ in range(40):
            await asyncio.gather(*(answer(admission, 0.025) for _ in range(int(admission.limit))))
        assert admission.limit == 2

    run(story)


@dataclass(frozen=True)
class Arrival:
    """One request of a random crowd."""

    pause: float
    work: float
    patience: float
    is_prefetch: bool
    cancelled_after: float | None
    fails: bool


def crowd() -> st.SearchStrategy[list[Arrival]]:
    short = st.sampled_from([0.0, 0.0, 0.001, 0.002])
    return st.lists(
        st.builds(
            Arrival,
            pause=short,
            work=st.sampled_from([0.0, 0.001, 0.003]),
            patience=st.sampled_from([0.0, 0.002, 5.0]),
            is_prefetch=st.booleans(),
            cancelled_after=st.none() | short,
            fails=st.booleans(),
        ),
        max_size=40,
    )


@given(crowd(), st.integers(1, 4), st.integers(0, 6), st.sampled_from([0.0005, 0.01]))
@settings(max_examples=60, deadline=None)
def test_everybody_is_served_or_refused_and_the_limit_holds(
    arrivals: list[Arrival], most: int, queue: int, target: float
) -> None:
    admission = Admission(AdmissionSettings(least=1, most=most, target_seconds=target, queue=queue))
    seen: Counter[str] = Counter()
    inside = {"all": 0, "prefetch": 0}

    async def work(one: Arrival) -> None:
        try:
            async with admission.turn(is_prefetch=one.is_prefetch, deadline=soon(one.patience)):
                inside["all"] += 1
                inside["prefetch"] += one.is_prefetch
                try:
                    assert inside["all"] <= admission.in_flight
                    assert inside["all"] <= most
                    assert inside["prefetch"] <= max(1, int(most * 0.5))
                    assert admission.queued <= queue
                    await asyncio.sleep(one.work)
                    if one.fails:
                        raise ValueError("the work itself")
                finally:
                    inside["all"] -= 1
                    inside["prefetch"] -= one.is_prefetch
        except OverloadedError:
            seen["refused"] += 1
        except TooLateError:
            seen["too late"] += 1
        except ValueError:
            seen["failed"] += 1
        except asyncio.CancelledError:
            seen["cancelled"] += 1
        else:
            seen["served"] += 1

    async def story() -> None:
        tasks = []
        for one in arrivals:
            task = asyncio.create_task(work(one))
            tasks.append(task)
            if one.cancelled_after is not None:
                asyncio.get_running_loop().call_later(one.cancelled_after, task.cancel)
            await asyncio.sleep(one.pause)
        if tasks:
            done, waiting = await asyncio.wait(tasks, timeout=10)
            assert not waiting, "somebody waits for ever"
            assert all(task.cancelled() or task.exception() is None for task in done)
            seen["cancelled early"] = sum(task.cancelled() for task in done)
        assert seen.total() == len(arrivals)
        assert (admission.in_flight, admission.prefetches, admission.queued) == (0, 0, 0)
        await answer(admission, 0.0)

    run(story)


@pytest.mark.parametrize("least", [1, 3])
def test_the_limit_begins_between_its_bounds(least: int) -> None:
    assert Admission(AdmissionSettings(least=least, most=64)).limit == 8
    assert Admission(AdmissionSettings(least=least, most=4)).limit == 4
    assert Admission(AdmissionSettings(least=20, most=64)).limit == 20


def test_what_comes_too_late_beside_others_is_refused_but_alone_it_is_tried() -> None:
    async def story() -> None:
        visitors = Visitors(of(4))
        visitors.admission.work.took(1.0, 1)
        await visitors.visit("alone", deadline=soon(1.0))
        assert visitors.working == ["alone"]
        await visitors.visit("late", deadline=soon(1.9))
        assert await visitors.outcome("late") == "refused"
        await visitors.visit("in time", deadline=soon(2.5))
        assert visitors.working == ["alone", "in time"]

    run(story)
