"""The circuit breaker and the pace: when Redis is not asked, when the model is not, and how that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import OnlineStoreError
from ranking_service.online.breaker import Breaker
from ranking_service.online.pace import PASSED_OVER, Pace
from ranking_service.settings_sections import BreakerSettings

SETTINGS = BreakerSettings(
    failures=3, failure_share=0.5, window_reads=10, failing_seconds=0.0, probe_seconds=0.01
)


def after(reads: Sequence[bool], settings: BreakerSettings = SETTINGS) -> Breaker:
    """True for each read that failed."""
    breaker = Breaker(settings)
    for number, failed in enumerate(reads):
        if failed:
            breaker.failed(f"failure {number}")
        else:
            breaker.succeeded()
    return breaker


def test_it_opens_by_failures_in_a_row_and_says_why() -> None:
    assert not after([True, True, False, True, True]).is_open
    breaker = after([True, True, True])
    assert (breaker.is_open, breaker.opened) == (True, 1)
    with pytest.raises(OnlineStoreError, match="not asked at the moment: failure 2"):
        breaker.check()


def test_it_opens_by_the_share_of_the_last_reads_that_failed() -> None:
    assert not after([True, False] * 4).is_open
    assert after([True, False] * 4 + [True]).is_open
    assert not after([True, True] + [False] * 10 + [True, True, False]).is_open


@given(st.lists(st.booleans(), max_size=60))
def test_it_is_open_exactly_if_one_of_the_rules_has_held(reads: list[bool]) -> None:
    def held(until: int) -> bool:
        """When the read before `until` failed."""
        row = reads[max(0, until - SETTINGS.failures) : until]
        last = reads[max(0, until - SETTINGS.window_reads) : until]
        in_a_row = len(row) == SETTINGS.failures and all(row)
        return reads[until - 1] and (in_a_row or sum(last) >= 0.5 * SETTINGS.window_reads)

    assert after(reads).is_open == any(held(until) for until in range(1, len(reads) + 1))


def test_reads_that_fail_together_in_a_pause_do_not_open_it_but_an_outage_does() -> None:
    now = [100.0]
    breaker = Breaker(replace(SETTINGS, failing_seconds=0.1), clock=lambda: now[0])
    for _ in range(4):
        breaker.failed("a pause")
    assert not breaker.is_open
    for _ in range(10):
        breaker.succeeded()
    now[0] += 5
    for _ in range(4):
        breaker.failed("a second pause, long after the first")
    assert not breaker.is_open
    now[0] += 0.11
    breaker.failed("an outage")
    assert breaker.is_open


def test_while_open_further_failures_do_not_open_it_again() -> None:
    breaker = after([True] * 9)
    assert (breaker.opened, breaker.why) == (1, "failure 2")


def test_it_is_probed_only_while_open_and_closes_with_the_first_good_answer() -> None:
    async def story() -> None:
        breaker, probes = Breaker(SETTINGS), 0

        async def probe() -> None:
            nonlocal probes
            probes += 1
            if probes < 4:
                raise OnlineStoreError(f"still down {probes}")

        task = asyncio.create_task(breaker.probe(probe))
        await asyncio.sleep(0.05)
        assert probes == 0
        for _ in range(3):
            breaker.failed("down")
        async with asyncio.timeout(10):
            while breaker.is_open:
                if probes:
                    assert breaker.why == f"still down {min(probes, 3)}"
                await asyncio.sleep(0.001)
        breaker.check()
        assert probes == 4
        breaker.failed("once")
        breaker.failed("twice")
        assert not breaker.is_open, "it begins anew: earlier failures do not count"
        await asyncio.sleep(0.05)
        assert probes == 4
        task.cancel()

    asyncio.run(story())


def test_a_late_success_does_not_close_it() -> None:
    breaker = after([True, True, True])
    breaker.succeeded()
    assert breaker.is_open


def test_the_pace_is_that_of_the_last_measurements() -> None:
    pace = Pace()
    assert pace.expected(100) == 0
    pace.took(1.0, 100)
    assert pace.expected(100) == pytest.approx(1.0)
    for _ in range(100):
        pace.took(3.0, 100)
    assert pace.expected(200) == pytest.approx(6.0, rel=0.01)
    pace.took(1.0, 0)
    assert pace.expected(200) == pytest.approx(6.0, rel=0.01)


def test_small_pieces_of_work_do_not_make_large_ones_seem_slow() -> None:
    """A call that costs 0.2 ms before its first row."""
    pace = Pace(fixed_units=32)
    for _ in range(50):
        pace.took(0.0002 + 1 * 5e-6, 1)
    assert pace.expected(500) < 0.01
    for _ in range(50):
        pace.took(0.0002 + 500 * 5e-6, 500)
    assert pace.expected(500) == pytest.approx(0.0027, rel=0.1)


def test_slow_small_pieces_say_little_about_a_large_one_and_large_ones_soon_correct_them() -> None:
    """Requests of three candidates that each lost the processor for some milliseconds, once the model is known."""
    pace = Pace(fixed_units=32, full_units=512)
    for _ in range(50):
        pace.took(0.0027, 500)
    for _ in range(200):
        pace.took(0.004, 3)
    assert 0.0027 < pace.expected(500) < 0.01
    for _ in range(30):
        pace.took(0.0027, 500)
    assert pace.expected(500) == pytest.approx(0.0027, rel=0.2)
    for _ in range(30):
        pace.took(0.0081, 1000)
    assert pace.expected(1000) == pytest.approx(0.0081, rel=0.1), "more than full is no more than full"


def test_a_stall_of_a_large_piece_is_soon_forgotten_where_all_others_are_small() -> None:
    pace = Pace(fixed_units=32, full_units=512)
    pace.took(0.0027, 500)
    pace.took(10.0, 500)
    assert pace.expected(3) > 0.05
    for _ in range(100):
        pace.took(0.0003, 3)
    assert pace.expected(3) == pytest.approx(0.0003, rel=0.1)


def test_work_that_is_passed_over_again_and_again_is_expected_to_take_less_unless_it_is_measured() -> None:
    pace = Pace()
    pace.took(1.0, 100)
    for _ in range(3):
        for _ in range(PASSED_OVER - 1):
            pace.passed_over()
        pace.took(1.0, 100)
    assert pace.expected(100) == pytest.approx(1.0)
    for _ in range(PASSED_OVER):
        pace.passed_over()
    assert pace.expected(100) == pytest.approx(0.9)


def test_one_stall_does_not_keep_work_from_being_begun_for_ever() -> None:
    pace = Pace()
    for _ in range(50):
        pace.took(0.003, 500)
    pace.took(10.0, 500)
    assert pace.expected(500) > 0.03
    declined = 0
    while pace.expected(500) > 0.03:
        pace.declined()
        declined += 1
    assert declined < 50
