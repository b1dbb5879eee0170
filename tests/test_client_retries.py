"""When a call is tried again: which errors, how long after, and never so often that retries make a storm."""

from __future__ import annotations

import random
import time
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import EXHAUSTED, UNAVAILABLE, Refusal, Script, connected, scripted

from ranking_service.client import CallError, OverloadedError, RetryPolicy, UnavailableError
from ranking_service.client.retry import Retries, RetryBudget

ANN: dict[str, Any] = {"user_id": "ann", "candidate_ids": ["a"]}
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@BOTH
@pytest.mark.parametrize("code", [UNAVAILABLE, EXHAUSTED])
def test_a_refusal_that_may_pass_is_tried_again(kind: str, code: grpc.StatusCode) -> None:
    script = Script(refusals=[Refusal(code), Refusal(code)])
    with scripted(script) as address, connected(kind, address) as client:
        assert client.rank(**ANN).items
    assert len(script.calls) == 3


@BOTH
@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
)
def test_what_another_try_cannot_mend_is_told_at_once(kind: str, code: grpc.StatusCode) -> None:
    script = Script(refusals=[Refusal(code, "field: wrong")] * 2)
    with (
        scripted(script) as address,
        connected(kind, address) as client,
        pytest.raises(Exception, match="wrong"),
    ):
        client.rank(**ANN)
    assert len(script.calls) == 1


@BOTH
def test_after_the_last_attempt_the_last_error_is_told(kind: str) -> None:
    script = Script(refusals=[Refusal(message=f"refusal {number}") for number in range(9)])
    with (
        scripted(script) as address,
        connected(kind, address) as client,
        pytest.raises(UnavailableError, match="refusal 2"),
    ):
        client.rank(**ANN)
    assert len(script.calls) == 3


@BOTH
def test_the_server_says_how_long_to_stay_away(kind: str) -> None:
    script = Script(refusals=[Refusal(EXHAUSTED, pushback="150")])
    with scripted(script) as address, connected(kind, address) as client:
        assert client.rank(**ANN).items
    first, second = script.times
    assert second - first >= 0.15


@BOTH
def test_a_server_that_wants_no_retry_gets_none(kind: str) -> None:
    script = Script(refusals=[Refusal(pushback="-1")])
    with scripted(script) as address, connected(kind, address) as client, pytest.raises(UnavailableError):
        client.rank(**ANN)
    assert len(script.calls) == 1


@BOTH
def test_a_retry_that_would_come_too_late_is_not_waited_for(kind: str) -> None:
    script = Script(refusals=[Refusal(EXHAUSTED, "busy", "5000")])
    with scripted(script) as address, connected(kind, address) as client:
        started = time.monotonic()
        with pytest.raises(OverloadedError, match="busy"):
            client.rank(**ANN, timeout=2)
        assert time.monotonic() - started < 1
    assert len(script.calls) == 1


@BOTH
def test_a_server_that_refuses_everything_is_not_asked_three_times_as_often(kind: str) -> None:
    script = Script(refusals=[Refusal()] * 1000)
    policy = RetryPolicy(first_seconds=0.0001)
    with scripted(script) as address, connected(kind, address, retry=policy) as client:
        for _ in range(100):
            with pytest.raises(CallError):
                client.rank(**ANN)
    assert 110 <= len(script.calls) <= 100 + policy.budget_burst + policy.budget_share * 100


@given(
    st.lists(st.booleans(), max_size=300),
    st.floats(0, 1),
    st.integers(0, 20),
)
def test_retries_never_exceed_the_budget(events: list[bool], share: float, burst: int) -> None:
    """True is a call, False the wish for a retry."""
    budget = RetryBudget(share, burst)
    calls = retries = 0
    for is_call in events:
        if is_call:
            budget.add()
            calls += 1
        else:
            retries += budget.take()
        assert retries <= burst + share * calls + 1e-6


def test_a_long_quiet_time_saves_up_no_storm() -> None:
    budget = RetryBudget(0.1, 10)
    for _ in range(100_000):
        budget.add()
    assert sum(budget.take() for _ in range(1_000)) == 10


@given(
    st.integers(0, 2**32),
    st.lists(st.one_of(st.none(), st.floats(-1, 3)), min_size=1, max_size=12),
    st.integers(1, 8),
)
def test_waits_are_bounded_honour_the_server_and_end_before_the_deadline(
    seed: int, pushbacks: list[float | None], attempts: int
) -> None:
    policy = RetryPolicy(attempts=attempts, budget_burst=1000)
    tries = Retries(policy, RetryBudget(0, 1000), 4.0, random.Random(seed).random)
    now, made = 0.0, 1
    for number, pushback in enumerate(pushbacks):
        wait = tries.wait(UnavailableError("no", retry_after=pushback), now)
        if wait is None:
            break
        made += 1
        asked = pushback or 0.0
        assert asked >= 0
        assert asked <= wait <= asked + min(policy.first_seconds * 2**number, policy.most_seconds)
        now += wait
        assert now < 4.0
    assert made <= attempts


def test_waits_differ_from_client_to_client() -> None:
    def waits(seed: int) -> float | None:
        tries = Retries(RetryPolicy(), RetryBudget(0.1, 10), 9.0, random.Random(seed).random)
        return tries.wait(UnavailableError("no"), 0.0)

    assert len({waits(seed) for seed in range(50)}) == 50
    assert waits(1) == waits(1)
