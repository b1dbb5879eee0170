"""One ranking by either client: what is sent, what comes back, what is wrong, and in what time."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import EXHAUSTED, UNAVAILABLE, Client, Refusal, Script, connected, scripted

from feature_repo.errors import MarqueeError, RequestError, SettingError
from ranking_service.client import (
    AuthenticationError,
    CallError,
    ClosedError,
    DeadlineError,
    OverloadedError,
    Priority,
    RankingClient,
    RankRequest,
    RetryPolicy,
    UnavailableError,
    UnsupportedError,
    answers,
)
from ranking_service.client.requests import RankFields
from ranking_service.proto import ranking_pb2

ONCE = RetryPolicy(attempts=1)


@pytest.fixture(params=["sync", "async"])
def to(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Connects one of the two clients."""
    with ExitStack() as stack:

        def connect(address: str, **options: Any) -> Client:
            return stack.enter_context(connected(request.param, address, **options))

        yield connect


def test_every_field_of_a_request_is_sent() -> None:
    at = datetime(2026, 3, 1, 12, 30, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    message = RankRequest(
        user_id="ann",
        candidate_ids=("a", "b"),
        surface="home",
        device="tv",
        at=at,
        session_position=0,
        features={"bandwidth": np.float32(1.5), "theme": "dark", "first": True},
        limit=3,
        explain=True,
        request_id="mine",
        model="next",
        priority="prefetch",
    ).message()
    sent = {descriptor.name for descriptor, _ in message.ListFields()}
    assert sent == {field.name for field in message.DESCRIPTOR.fields}
    context = message.context
    assert {descriptor.name for descriptor, _ in context.ListFields()} == {
        field.name for field in context.DESCRIPTOR.fields
    }
    assert (context.request_time.seconds, context.request_time.nanos) == (int(at.timestamp()), 1000)
    assert {name: value.WhichOneof("value") for name, value in context.features.items()} == {
        "bandwidth": "number",
        "theme": "text",
        "first": "number",
    }
    assert message.priority == ranking_pb2.PRIORITY_PREFETCH


def test_type_checkers_know_all_fields_of_a_request() -> None:
    assert {"user_id", "candidate_ids", *RankFields.__annotations__} == set(RankRequest.__annotations__)


def test_every_field_of_an_answer_is_a_value() -> None:
    response = ranking_pb2.RankResponse(
        request_id="r",
        bundle_version="v",
        level=2,
        model="next",
        reason="slow store",
        cached_candidates=3,
        explanation_skipped=True,
        incomplete_candidates=4,
        missing_by_view={"item": 4},
        micros=ranking_pb2.StageMicros(fetch=5, total=5),
        degraded_views=[
            ranking_pb2.DegradedView(view="item", level=1, last_known_candidates=2, oldest_seconds=0.5)
        ],
        items=[ranking_pb2.RankedItem(item_id="a", score=0.5, rank=0)],
    )
    ranking = answers.ranking(response)
    assert {field.name for field in response.DESCRIPTOR.fields} == set(vars(ranking))
    (view,) = ranking.degraded_views
    assert vars(view) == {"view": "item", "level": 1, "last_known_candidates": 2, "oldest_seconds": 0.5}
    assert (ranking.level, ranking.reason, ranking.explanation_skipped) == (2, "slow store", True)
    assert (ranking.model, ranking.cached_candidates, ranking.incomplete_candidates) == ("next", 3, 4)
    assert (ranking.missing_by_view, ranking.micros["fetch"]) == ({"item": 4}, 5)


ANN = {"user_id": "ann", "candidate_ids": ["a"]}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"user_id": ""}, "user_id"),
    ({"user_id": 7}, "user_id"),
    ({"user_id": "\udcff"}, "user_id"),
    ({"candidate_ids": []}, "candidate_ids"),
    ({"candidate_ids": "abc"}, "candidate_ids"),
    ({"candidate_ids": {"a", "b"}}, "candidate_ids"),
    ({"candidate_ids": ["a", ""]}, "candidate_ids[1]"),
    ({"candidate_ids": ["a", 5]}, "candidate_ids[1]"),
    ({"candidate_ids": ["a", ["b"]]}, "candidate_ids[1]"),
    ({"candidate_ids": ["a", "b", "a"]}, "candidate_ids[2]"),
    ({"surface": None}, "surface"),
    ({"model": 1}, "model"),
    ({"limit": 1.5}, "limit"),
    ({"limit": True}, "limit"),
    ({"session_position": -1}, "session_position"),
    ({"at": datetime(2026, 3, 1)}, "at"),
    ({"at": "2026-03-01"}, "at"),
    ({"features": {"x": math.nan}}, 'context.features["x"]'),
    ({"features": {"x": None}}, 'context.features["x"]'),
    ({"features": {"x": 10**400}}, 'context.features["x"]'),
    ({"features": {"x": "\udcff"}}, 'context.features["x"]'),
    ({"features": {1: "x"}}, "features"),
    ({"priority": "urgent"}, "priority"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": math.inf}, "timeout"),
    ({"timeout": math.nan}, "timeout"),
    ({"timeout": "1"}, "timeout"),
]


@pytest.mark.parametrize(("change", "field"), WRONG, ids=[f"{change}"[:40] for change, _ in WRONG])
def test_what_is_wrong_names_its_field_and_is_not_sent(
    to: Callable[..., Client], change: dict[str, Any], field: str
) -> None:
    script = Script()
    with scripted(script) as address, pytest.raises(RequestError) as caught:
        to(address).rank(**{**ANN, **change})
    assert caught.value.field == field
    assert script.calls == []


@given(st.lists(st.text(max_size=3), max_size=6))
def test_ids_are_sent_as_they_are_or_refused(ids: list[str]) -> None:
    fine = bool(ids) and all(ids) and len(set(ids)) == len(ids)
    if fine:
        assert list(RankRequest(user_id="u", candidate_ids=ids).message().candidate_ids) == ids
    else:
        with pytest.raises(RequestError, match="candidate_ids"):
            RankRequest(user_id="u", candidate_ids=ids).message()


@pytest.mark.parametrize(
    ("refusal", "kind", "code"),
    [
        (Refusal(UNAVAILABLE), UnavailableError, "UNAVAILABLE"),
        (Refusal(EXHAUSTED), OverloadedError, "RESOURCE_EXHAUSTED"),
        (Refusal(grpc.StatusCode.DEADLINE_EXCEEDED), DeadlineError, "DEADLINE_EXCEEDED"),
        (Refusal(grpc.StatusCode.UNAUTHENTICATED), AuthenticationError, "UNAUTHENTICATED"),
        (Refusal(grpc.StatusCode.PERMISSION_DENIED), AuthenticationError, "PERMISSION_DENIED"),
        (Refusal(grpc.StatusCode.UNIMPLEMENTED), UnsupportedError, "UNIMPLEMENTED"),
        (Refusal(grpc.StatusCode.INTERNAL), CallError, "INTERNAL"),
        (Refusal(EXHAUSTED, "Received message larger than max (5 vs. 4)"), CallError, "RESOURCE_EXHAUSTED"),
    ],
)
def test_each_status_is_an_error_of_its_own(
    to: Callable[..., Client], refusal: Refusal, kind: type[CallError], code: str
) -> None:
    script = Script(refusals=[refusal])
    with scripted(script) as address, pytest.raises(CallError) as caught:
        to(address, retry=ONCE).rank(**ANN)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert refusal.message in str(caught.value)
    assert address in str(caught.value)


def test_a_request_the_server_refuses_names_its_field(to: Callable[..., Client]) -> None:
    script = Script(refusals=[Refusal(grpc.StatusCode.INVALID_ARGUMENT, 'context.features["x"]: is unknown')])
    with scripted(script) as address, pytest.raises(RequestError, match="is unknown") as caught:
        to(address).rank(**ANN)
    assert caught.value.field == 'context.features["x"]'
    assert len(script.calls) == 1


@pytest.mark.parametrize(("pushback", "seconds"), [("40", 0.04), ("-1", -0.001), (None, None)])
def test_the_servers_word_on_when_to_come_back_is_in_the_error(
    to: Callable[..., Client], pushback: str | None, seconds: float | None
) -> None:
    script = Script(refusals=[Refusal(EXHAUSTED, "busy", pushback)])
    with scripted(script) as address, pytest.raises(OverloadedError) as caught:
        to(address, retry=ONCE).rank(**ANN)
    assert caught.value.retry_after == seconds


def test_a_slow_server_costs_the_timeout(to: Callable[..., Client]) -> None:
    script = Script(seconds=1.0)
    with scripted(script) as address:
        client = to(address)
        started = time.monotonic()
        with pytest.raises(DeadlineError):
            client.rank(**ANN, timeout=0.1)
        assert time.monotonic() - started < 0.9
    assert len(script.calls) == 1


def test_a_port_that_accepts_and_says_nothing_costs_the_timeout(to: Callable[..., Client]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = to(f"127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises((DeadlineError, UnavailableError)):
            client.rank(**ANN, timeout=0.3)
        assert time.monotonic() - started < 2


def test_a_closed_client_says_so(to: Callable[..., Client]) -> None:
    with scripted(Script()) as address:
        client = to(address)
        assert client.rank(**ANN).items
        client.close()
        with pytest.raises(ClosedError, match="connect again"):
            client.rank(**ANN)
        assert isinstance(client.rank_many([RankRequest(**ANN)])[0].error, ClosedError)
        with pytest.raises(ClosedError):
            list(client.rank_stream([RankRequest(**ANN), RankRequest(**ANN)], in_flight=1))


def test_closing_ends_a_call_that_runs() -> None:
    with scripted(Script(seconds=1.0)) as address:
        client = RankingClient.connect(address)
        timer = threading.Timer(0.2, client.close)
        timer.start()
        started = time.monotonic()
        with pytest.raises(CallError):
            client.rank(**ANN, timeout=5)
        assert time.monotonic() - started < 0.9
        timer.join()


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("a:1,a:1", {}),
        ("a:1,", {}),
        ("a:1,b", {}),
        ("a:1", {"connections": 0}),
        ("a:1", {"requests_per_call": 0}),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    to: Callable[..., Client], address: str, options: dict[str, int]
) -> None:
    with pytest.raises(SettingError):
        to(address, **options)


def test_the_errors_are_one_tree() -> None:
    for kind in (DeadlineError, UnavailableError, AuthenticationError, UnsupportedError, ClosedError):
        assert issubclass(kind, CallError)
    assert issubclass(OverloadedError, UnavailableError)
    assert issubclass(CallError, MarqueeError)
    assert list(Priority) == ["interactive", "prefetch"]
