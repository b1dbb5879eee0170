"""Both clients against the ranking server itself: the same rankings one by one, in calls and in a stream."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from online_world import NOW, OnlineWorld
from scripted_server import Client, connected

from feature_repo.errors import RequestError
from materialization.private_redis import private_redis
from ranking_service.client import (
    AuthenticationError,
    ClientSecurity,
    OverloadedError,
    RankingClient,
    RankRequest,
    RetryPolicy,
)
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import (
    AdmissionSettings,
    BudgetSettings,
    RedisSettings,
    SecuritySettings,
)

SETTINGS = ServiceSettings(candidate_limit=50, redis=RedisSettings(1.0, 1.0))
PATIENT = BudgetSettings(request_seconds=10.0, feature_seconds=5.0, scoring_seconds=5.0)
"""Complete answers, however busy the machine is."""
TOKEN = "web-token-0123456789"


@contextmanager
def serving(world: OnlineWorld, settings: ServiceSettings = SETTINGS) -> Iterator[str]:
    server = RankingServer.start(world.bundle, redis_url=world.redis_url, settings=settings)
    try:
        yield server.address
    finally:
        server.stop()


@pytest.fixture(params=["sync", "async"])
def to(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Connects one of the two clients."""
    with ExitStack() as stack:

        def connect(address: str, **options: Any) -> Client:
            return stack.enter_context(connected(request.param, address, **options))

        yield connect


def asks(world: OnlineWorld, count: int) -> list[RankRequest]:
    users = ["ann", "bob", "nobody"]
    return [
        RankRequest(user_id=users[index % 3], candidate_ids=world.items, at=NOW, request_id=f"{index}")
        for index in range(count)
    ]


def test_one_by_one_in_calls_and_in_a_stream_the_rankings_are_the_same(
    online_world: OnlineWorld, to: Callable[..., Client]
) -> None:
    with serving(online_world, replace(SETTINGS, budget=PATIENT)) as address:
        client = to(address)
        alone = [
            client.rank(user_id=user, candidate_ids=online_world.items, at=NOW, timeout=5).items
            for user in ("ann", "bob", "nobody")
        ]
        requests = asks(online_world, 70)
        many = client.rank_many(requests)
        stream = list(client.rank_stream(requests, in_flight=8))
    assert [outcome.request_id for outcome in many] == [request.request_id for request in requests]
    assert {outcome.request_id for outcome in stream} == {request.request_id for request in requests}
    assert len(stream) == len(requests)
    for outcome in [*many, *stream]:
        assert outcome.result().items == alone[int(outcome.request_id) % 3]


def test_one_wrong_request_of_many_is_refused_alone_with_its_field(
    online_world: OnlineWorld, to: Callable[..., Client]
) -> None:
    first, second, third = asks(online_world, 3)
    wrong = replace(second, features={"colour": "red"})
    with serving(online_world) as address:
        client = to(address)
        for outcomes in (
            client.rank_many([first, wrong, third]),
            sorted(client.rank_stream([first, wrong, third]), key=lambda outcome: outcome.request_id),
        ):
            error = outcomes[1].error
            assert isinstance(error, RequestError)
            assert error.field == 'context.features["colour"]'
            assert outcomes[0].ranking
            assert outcomes[2].ranking


def test_more_requests_than_the_server_takes_in_a_call_name_the_field(
    online_world: OnlineWorld, to: Callable[..., Client]
) -> None:
    with serving(online_world, replace(SETTINGS, requests_per_call=2)) as address:
        (outcome, *_) = to(address).rank_many(asks(online_world, 3))
        assert isinstance(outcome.error, RequestError)
        assert outcome.error.field == "requests"
        assert all(
            found.ranking for found in to(address, requests_per_call=2).rank_many(asks(online_world, 3))
        )


def test_a_model_is_chosen_by_name(online_world: OnlineWorld, to: Callable[..., Client]) -> None:
    with serving(online_world) as address:
        client = to(address)
        assert client.rank(user_id="ann", candidate_ids=["item 1"], timeout=5).model
        with pytest.raises(RequestError) as caught:
            client.rank(user_id="ann", candidate_ids=["item 1"], model="nobody's", timeout=5)
    assert caught.value.field == "model"


def test_an_answer_without_its_store_says_what_it_lacks(
    online_world: OnlineWorld, to: Callable[..., Client]
) -> None:
    with private_redis() as redis:
        world = OnlineWorld(redis.url, online_world.models)
        with serving(world) as address:
            client = to(address)
            assert client.rank(user_id="ann", candidate_ids=["item 1"], timeout=5).level == 0
            os.kill(redis.pid, signal.SIGKILL)
            ranking = client.rank(user_id="ann", candidate_ids=["item 1"], timeout=5)
    assert ranking.level in (1, 2, 3)
    assert ranking.reason
    if ranking.level < 3:
        assert {view.view for view in ranking.degraded_views} <= {"user_stats", "item_stats", "pair_stats"}
        assert ranking.degraded_views
        assert all(view.level in (1, 2) for view in ranking.degraded_views)


def test_a_server_with_tokens_lets_in_who_has_one(
    online_world: OnlineWorld, to: Callable[..., Client], tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(f"web:{TOKEN}\n")
    settings = replace(SETTINGS, security=SecuritySettings(tokens_file=str(tmp_path / "tokens")))
    ann: dict[str, Any] = {"user_id": "ann", "candidate_ids": ["item 1"], "timeout": 5}
    with serving(online_world, settings) as address:
        assert to(address, security=ClientSecurity(token=TOKEN)).rank(**ann).items
        for security in (ClientSecurity(), ClientSecurity(token="another-token-0123456789")):
            with pytest.raises(AuthenticationError):
                to(address, security=security).rank(**ann)


def test_a_client_past_its_rate_is_told_when_to_come_back(
    online_world: OnlineWorld, to: Callable[..., Client]
) -> None:
    security = SecuritySettings(requests_per_second=1.0, burst_requests=3)
    ann: dict[str, Any] = {"user_id": "ann", "candidate_ids": ["item 1"], "timeout": 0.3}
    with serving(online_world, replace(SETTINGS, security=security)) as address:
        client = to(address)
        for _ in range(3):
            assert client.rank(**ann).items
        with pytest.raises(OverloadedError) as caught:
            client.rank(**ann)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0


def test_calls_beyond_the_backlog_of_a_standing_worker_are_dropped_at_once(online_world: OnlineWorld) -> None:
    """Who waits within the backlog is answered when the worker moves again."""
    stands, moves = threading.Event(), threading.Event()
    settings = replace(SETTINGS, admission=AdmissionSettings(backlog=4))
    server = RankingServer.start(online_world.bundle, redis_url=online_world.redis_url, settings=settings)

    def stand_still() -> None:
        stands.set()
        moves.wait(20)

    def call(_: int) -> str:
        try:
            client.rank(user_id="ann", candidate_ids=["item 1"], timeout=15)
        except OverloadedError as error:
            return str(error)
        return "answered"

    try:
        with (
            RankingClient.connect(server.address, retry=RetryPolicy(attempts=1)) as client,
            ThreadPoolExecutor(20) as callers,
        ):
            client.rank(user_id="ann", candidate_ids=["item 1"], timeout=15)
            server.loop.call_soon_threadsafe(stand_still)
            stands.wait(10)
            calls = [callers.submit(call, number) for number in range(20)]
            dropped = [future.result() for future in itertools.islice(as_completed(calls, 10), 15)]
            moves.set()
            rest = [future.result() for future in calls if "unread" not in future.result()]
    finally:
        moves.set()
        server.stop()
    assert all("dropped the call unread" in answer for answer in dropped)
    assert rest
    assert set(rest) == {"answered"}
