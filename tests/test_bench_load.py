"""The load generator: requests leave when they are due, and a stall is charged for everybody it makes wait."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from bench_worlds import Refuses, StallsOnce, answering
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import MissingInputError
from ranking_service.bench.load import CONSTANT, POISSON, Load, LoadResult, due_times, run_load
from ranking_service.bench.queueing import ideal_latencies
from ranking_service.bench.slates import Case, Slate

STALL_SECONDS = 0.6
RATE = 100.0


@pytest.fixture
def case(tmp_path: Path) -> str:
    slates = (Slate("ann", ("a", "b")), Slate("bob", ("c", "d")))
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return str(Case(tmp_path / "bundle", "redis://127.0.0.1:1/0", at, slates).write(tmp_path / "case.json"))


def result(latency_ms: list[float], failed: int = 0) -> LoadResult:
    return LoadResult(
        2.0, latency_ms, [], len(latency_ms), 0, {"UNAVAILABLE": failed} if failed else {}, 0.0, 0.0
    )


def test_a_stall_is_charged_to_all_requests_that_were_due_during_it(case: str) -> None:
    with answering(StallsOnce(after_seconds=1.0, stall_seconds=STALL_SECONDS)) as address:
        found = run_load(Load(address, case, 3.0, rate=RATE, arrivals=CONSTANT, warm_seconds=0.2))
    slow = [value for value in found.latency_ms if value > 50]
    assert found.complete == 300
    assert len(slow) >= 0.8 * RATE * (STALL_SECONDS - 0.05)
    assert found.percentile(99) > 0.8e3 * STALL_SECONDS
    assert np.mean(slow) == pytest.approx(1e3 * STALL_SECONDS / 2, rel=0.5)


def test_a_closed_loop_sees_the_same_stall_as_one_slow_call(case: str) -> None:
    """Why open loops are measured at all: the client that waits sends nothing that could wait."""
    servicer = StallsOnce(after_seconds=1.0, stall_seconds=STALL_SECONDS)
    with answering(servicer) as address:
        found = run_load(Load(address, case, 3.0, clients=1, warm_seconds=0.2))
    assert servicer.stalls == 1
    assert len([value for value in found.latency_ms if value > 0.8e3 * STALL_SECONDS]) == 1
    assert found.percentile(99) < 0.5e3 * STALL_SECONDS


def test_answers_are_counted_by_what_became_of_them(case: str) -> None:
    with answering(Refuses()) as address:
        found = run_load(Load(address, case, 1.0, rate=80.0, arrivals=CONSTANT, warm_seconds=0.1))
    assert found.sent == 80
    assert set(found.failed) == {"RESOURCE_EXHAUSTED"}
    assert found.complete == pytest.approx(20, abs=2)
    assert found.degraded == pytest.approx(40, abs=2)
    assert found.rate == found.complete / 1.0
    assert found.percentile(50) < np.inf
    assert found.percentile(99) == np.inf


def test_the_share_of_candidates_from_memory_is_that_of_the_answers(case: str) -> None:
    with answering(StallsOnce(after_seconds=60.0, stall_seconds=0.0)) as address:
        found = run_load(Load(address, case, 0.5, clients=2, warm_seconds=0.1))
    assert found.cached_share == 0.5
    assert found.lateness_ms == []
    assert found.client_cpu_seconds > 0


def test_a_server_that_is_not_there_ends_the_run(case: str) -> None:
    with pytest.raises(MissingInputError, match="load generator failed"):
        run_load(Load("127.0.0.1:1", case, 0.1, clients=1, warm_seconds=0.0, connect_seconds=0.5))


def test_a_failed_call_counts_as_one_that_was_never_answered() -> None:
    assert result([1.0] * 99, failed=1).percentile(50) == 1.0
    assert result([1.0] * 98, failed=2).percentile(99) == np.inf
    assert result([], failed=0).percentile(50) == np.inf


@given(
    st.lists(st.integers(0, 40), max_size=30).map(sorted),
    st.integers(1, 20),
    st.integers(1, 3),
)
def test_the_ideal_server_answers_first_come_first_served_with_whoever_is_free(
    due: list[int], service: int, servers: int
) -> None:
    """Against a clock that ticks through every instant."""
    waiting, busy, expected = list(enumerate(due)), [0] * servers, {}
    for now in range(40 + len(due) * service + 1):
        for place in range(servers):
            if busy[place] <= now and waiting and waiting[0][1] <= now:
                number, at = waiting.pop(0)
                busy[place] = now + service
                expected[number] = now + service - at
    found = ideal_latencies(np.array(due, float), float(service), servers)
    assert found.tolist() == [expected[number] for number in range(len(due))]


def test_even_an_ideal_server_misses_three_times_its_service_time_with_random_arrivals() -> None:
    """What random arrivals cost by themselves: M/D/1 and M/D/2 at 60 %."""
    for servers, p99 in ((1, 5.5), (2, 3.1)):
        due = due_times(0.6 * servers, 200_000 / servers, POISSON, 1)
        assert np.percentile(ideal_latencies(due, 1.0, servers), 99) == pytest.approx(p99, abs=0.4)
        even = due_times(0.6 * servers, 2_000.0, CONSTANT, 1)
        assert np.allclose(ideal_latencies(even, 1.0, servers), 1.0)


@given(
    st.floats(10, 500),
    st.floats(0.5, 5),
    st.sampled_from((POISSON, CONSTANT)),
    st.integers(0, 2**32 - 1),
)
def test_due_times_lie_in_the_run_in_order_and_come_again(
    rate: float, seconds: float, arrivals: str, seed: int
) -> None:
    times = due_times(rate, seconds, arrivals, seed)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < seconds)).all()
    assert np.array_equal(times, due_times(rate, seconds, arrivals, seed))


def test_random_arrivals_come_at_the_rate_with_gaps_as_varied_as_chance_makes_them() -> None:
    times = due_times(200.0, 100.0, POISSON, 3)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(20_000, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
