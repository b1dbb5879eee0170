"""Several rankings in one call, and in one stream: each is answered or refused by itself."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from online_world import NOW, OnlineWorld

from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import AdmissionSettings, BudgetSettings

SETTINGS = ServiceSettings(
    candidate_limit=50,
    requests_per_call=32,
    budget=BudgetSettings(request_seconds=20.0, feature_seconds=5.0, scoring_seconds=5.0),
)
INVALID, EXHAUSTED = 3, 8


@dataclass
class Service:
    """A server and a bare stub, without the client's retries."""

    stub: Any
    server: RankingServer
    items: tuple[str, ...]

    def request(self, name: str, user: str = "ann", items: tuple[str, ...] = ()) -> Any:
        message = ranking_pb2.RankRequest(request_id=name, user_id=user, candidate_ids=items or self.items)
        message.context.request_time.FromDatetime(NOW.replace(tzinfo=None))
        return message

    def alone(self, user: str) -> list[tuple[str, float]]:
        return ranked(self.stub.Rank(self.request("", user), timeout=20))

    @property
    def in_flight(self) -> int:
        return self.server.server.servicer.admission.in_flight


def ranked(response: Any) -> list[tuple[str, float]]:
    return [(item.item_id, item.score) for item in response.items]


def serve(world: OnlineWorld, settings: ServiceSettings) -> Iterator[Service]:
    server = RankingServer.start(world.bundle, redis_url=world.redis_url, settings=settings)
    try:
        with grpc.insecure_channel(server.address) as channel:
            yield Service(ranking_pb2_grpc.RankingServiceStub(channel), server, world.items)
    finally:
        server.stop()


@pytest.fixture
def service(online_world: OnlineWorld) -> Iterator[Service]:
    yield from serve(online_world, SETTINGS)


@pytest.fixture
def narrow(online_world: OnlineWorld) -> Iterator[Service]:
    """One at a time, nobody waits, and nobody is answered without the model."""
    narrow = AdmissionSettings(least=1, most=1, queue=0, brownout_share=0.0)
    yield from serve(online_world, replace(SETTINGS, admission=narrow))


def test_each_of_many_is_answered_in_its_place_as_if_it_came_alone(service: Service) -> None:
    users = ["ann", "bob", "nobody"]
    alone = {user: service.alone(user) for user in users}
    requests = [service.request(f"r{number}", users[number % 3]) for number in range(32)]
    answer = service.stub.RankMany(ranking_pb2.RankManyRequest(requests=requests), timeout=20)
    assert [result.request_id for result in answer.results] == [f"r{number}" for number in range(32)]
    for number, result in enumerate(answer.results):
        assert result.WhichOneof("outcome") == "response", "a call alone is never too much for the server"
        assert ranked(result.response) == alone[users[number % 3]]


def test_what_is_wrong_with_one_is_told_of_that_one(service: Service) -> None:
    requests = [
        service.request("good"),
        service.request("no user", ""),
        service.request("twice", items=("a", "a")),
        service.request("good too", "bob"),
    ]
    requests[3].model = "promoted"
    stranger = service.request("stranger")
    stranger.model = "of nobody"
    answer = service.stub.RankMany(
        ranking_pb2.RankManyRequest(requests=[*requests, stranger]), timeout=20
    ).results
    assert [result.request_id for result in answer] == ["good", "no user", "twice", "good too", "stranger"]
    assert [result.WhichOneof("outcome") for result in answer] == [
        "response",
        "error",
        "error",
        "response",
        "error",
    ]
    for result, field in zip(
        (answer[1], answer[2], answer[4]), ("user_id", "candidate_ids[1]", "model"), strict=True
    ):
        assert (result.error.code, result.error.retry_after_millis) == (INVALID, 0)
        assert result.error.message.startswith(field)


@pytest.mark.parametrize("count", [0, 33])
def test_none_and_too_many_are_refused(service: Service, count: int) -> None:
    requests = [service.request(str(number)) for number in range(count)]
    with pytest.raises(grpc.RpcError) as caught:
        service.stub.RankMany(ranking_pb2.RankManyRequest(requests=requests), timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("requests")


def test_those_that_find_no_place_are_told_when_to_come_back(narrow: Service) -> None:
    requests = [narrow.request(str(number)) for number in range(8)]
    answer = narrow.stub.RankMany(ranking_pb2.RankManyRequest(requests=requests), timeout=20)
    outcomes = [result.WhichOneof("outcome") for result in answer.results]
    assert set(outcomes) == {"response", "error"}
    for result in answer.results:
        if result.WhichOneof("outcome") == "error":
            assert result.error.code == EXHAUSTED
            assert result.error.retry_after_millis > 0


def test_a_stream_answers_every_request_under_its_id(service: Service) -> None:
    users = ["ann", "bob", "nobody"]
    alone = {user: service.alone(user) for user in users}
    requests = [service.request(f"r{number}", users[number % 3]) for number in range(100)]
    requests.insert(50, service.request("wrong", ""))
    results = list(service.stub.RankStream(iter(requests), timeout=30))
    assert sorted(result.request_id for result in results) == sorted(one.request_id for one in requests)
    for result in results:
        if result.request_id == "wrong":
            assert result.error.code == INVALID
        else:
            assert ranked(result.response) == alone[users[int(result.request_id[1:]) % 3]]


def test_a_stream_of_nothing_ends_at_once(service: Service) -> None:
    assert list(service.stub.RankStream(iter(()), timeout=10)) == []


@pytest.mark.parametrize("names", [[""], ["a", "", "b"]])
def test_a_request_of_a_stream_without_an_id_ends_it(service: Service, names: list[str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(service.stub.RankStream(iter([service.request(name) for name in names]), timeout=10))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("request_id")
    assert service.alone("ann")


def test_an_id_that_is_still_unanswered_may_not_come_again_and_one_that_is_may(service: Service) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(service.stub.RankStream(iter([service.request("same")] * 20), timeout=10))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    answered: list[str] = []
    sent: queue.Queue[Any] = queue.Queue()
    results = service.stub.RankStream(iter(sent.get, None), timeout=10)
    for _ in range(3):
        sent.put(service.request("same"))
        answered.append(next(results).request_id)
    sent.put(None)
    assert answered == ["same"] * 3
    assert list(results) == []


def test_a_stream_that_is_cancelled_leaves_nothing_behind(service: Service) -> None:
    for taken in (0, 1, 7):
        results = service.stub.RankStream(
            (service.request(str(number)) for number in range(10_000)), timeout=20
        )
        for _ in range(taken):
            next(results)
        results.cancel()
    deadline = time.monotonic() + 10
    while service.in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert service.server.server.servicer.admission.queued == 0
    assert service.alone("ann")


def test_a_caller_that_does_not_read_its_answers_is_not_worked_for(service: Service) -> None:
    """No more is ranked than there is room for answers, here and in the network's buffers."""
    cache = service.server.server.servicer.models.ranker().reader.cache  # type: ignore[attr-defined]

    def worked() -> int:
        return int(cache.hits + cache.misses) // len(service.items)

    def explained(name: str) -> Any:
        """Its answer is long."""
        request = service.request(name)
        request.explain = True
        return request

    requests = 5_000
    results = service.stub.RankStream((explained(str(number)) for number in range(requests)), timeout=60)
    next(results)
    before, deadline = -1, time.monotonic() + 30
    while worked() != before:
        assert time.monotonic() < deadline
        before = worked()
        time.sleep(1.0)
    assert before < requests / 2
    results.cancel()
