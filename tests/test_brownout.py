"""There is no room to rank a request: it gets its items in an order without the model, in time, or a refusal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from online_world import NOW, OnlineWorld

from feature_repo.errors import TooLateError
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.brownout import MOST_SAVED_SECONDS, Brownout
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import AdmissionSettings, BudgetSettings, LevelSettings

ONE_AT_A_TIME = AdmissionSettings(least=1, most=1, queue=0)
SETTINGS = ServiceSettings(
    budget=BudgetSettings(request_seconds=20.0, feature_seconds=5.0, scoring_seconds=5.0),
    admission=ONE_AT_A_TIME,
)
MODEL_FREE = 3


@dataclass
class Service:
    """A server, and a bare stub without the client's retries."""

    stub: Any
    server: RankingServer
    items: tuple[str, ...]

    @property
    def servicer(self) -> Any:
        return self.server.server.servicer

    def rank(self, *, timeout: float = 20, **fields: Any) -> Any:
        message = ranking_pb2.RankRequest(
            **{"request_id": "r", "user_id": "ann", "candidate_ids": self.items, **fields}
        )
        message.context.request_time.FromDatetime(NOW.replace(tzinfo=None))
        return self.stub.Rank(message, timeout=timeout)

    @contextmanager
    def full(self) -> Iterator[None]:
        """The only place is taken all the while."""
        taken, leave = threading.Event(), asyncio.Event()

        async def stay() -> None:
            async with self.servicer.admission.turn(is_prefetch=False, deadline=float("inf")):
                taken.set()
                await leave.wait()

        stayed = asyncio.run_coroutine_threadsafe(stay(), self.server.loop)
        assert taken.wait(10)
        try:
            yield
        finally:
            self.server.loop.call_soon_threadsafe(leave.set)
            stayed.result(10)


@contextmanager
def serving(
    world: OnlineWorld, settings: ServiceSettings = SETTINGS, log: Path | None = None
) -> Iterator[Service]:
    server = RankingServer.start(world.bundle, redis_url=world.redis_url, settings=settings, log_folder=log)
    try:
        with grpc.insecure_channel(server.address) as channel:
            yield Service(ranking_pb2_grpc.RankingServiceStub(channel), server, world.items)
    finally:
        server.stop()


def ids(answer: Any) -> list[str]:
    return [item.item_id for item in answer.items]


def test_without_room_an_answer_comes_in_the_requests_order_and_says_why(online_world: OnlineWorld) -> None:
    with serving(online_world) as service:
        before = service.rank()
        with service.full():
            answer = service.rank()
        assert before.level == 0
        assert ids(before) != list(service.items), "the model has another order than the request"
        assert (answer.level, ids(answer)) == (MODEL_FREE, list(service.items))
        assert answer.reason == "1 requests are being worked on, 0 wait"
        assert {view.view: (view.level, view.last_known_candidates) for view in answer.degraded_views} == {
            "user_stats": (2, 0),
            "item_stats": (2, 0),
            "pair_stats": (2, 0),
        }
        assert answer.incomplete_candidates == len(service.items)
        assert (answer.without_room, before.without_room) == (True, False)
        assert answer.request_id == "r"
        assert service.rank().level == 0, "with room again it is ranked"


def test_limit_and_explanations_are_heeded_as_far_as_they_go(online_world: OnlineWorld) -> None:
    with serving(online_world) as service, service.full():
        answer = service.rank(limit=2, explain=True)
        assert ids(answer) == list(service.items[:2])
        assert answer.explanation_skipped


def test_the_order_may_be_by_rows_that_are_remembered(online_world: OnlineWorld) -> None:
    settings = replace(SETTINGS, levels=LevelSettings(order_by=("item_plays",)))
    with serving(online_world, settings) as service:
        service.rank()
        counts = service.servicer.models.ranker().reader.link.counts
        reads = counts.reads
        with service.full():
            answer = service.rank()
        assert counts.reads == reads, "Redis is not asked"
        assert answer.level == MODEL_FREE
        expired, unknown = "item 5", ["unknown 1", "unknown 2"]
        played = [item for item in reversed(service.items[:12]) if item != expired]
        assert ids(answer) == [*played, expired, *unknown]


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, admission=replace(ONE_AT_A_TIME, brownout_share=0.0)),
        replace(SETTINGS, levels=LevelSettings(lowest=2)),
    ],
    ids=["no share of the time", "level 3 not allowed"],
)
def test_where_it_is_not_wanted_the_request_is_refused(
    online_world: OnlineWorld, settings: ServiceSettings
) -> None:
    with serving(online_world, settings) as service, service.full():
        with pytest.raises(grpc.RpcError) as caught:
            service.rank()
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]


def test_a_prefetch_is_refused_and_so_is_a_wrong_request(online_world: OnlineWorld) -> None:
    with serving(online_world) as service, service.full():
        for fields, code in (
            ({"priority": ranking_pb2.PRIORITY_PREFETCH}, grpc.StatusCode.RESOURCE_EXHAUSTED),
            ({"candidate_ids": ("a", "a")}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"model": "of nobody"}, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                service.rank(**fields)
            assert caught.value.code() == code
        assert service.servicer.brownout.answers == 0


def test_a_turn_that_does_not_come_in_time_ends_in_an_answer_in_time(online_world: OnlineWorld) -> None:
    settings = replace(SETTINGS, admission=replace(ONE_AT_A_TIME, queue=4))
    with serving(online_world, settings) as service:
        service.servicer.admission.work.took(0.1, 1)
        with service.full():
            answer = service.rank(timeout=1.0)
        assert (answer.level, answer.reason) == (MODEL_FREE, "its turn did not come in time")


def test_of_several_requests_in_a_call_each_is_ranked_or_not(online_world: OnlineWorld) -> None:
    with serving(online_world) as service:
        message = ranking_pb2.RankRequest(user_id="ann", candidate_ids=service.items)
        message.context.request_time.FromDatetime(NOW.replace(tzinfo=None))
        many = ranking_pb2.RankManyRequest(requests=[message] * 8)
        with service.full():
            results = service.stub.RankMany(many, timeout=20).results
            stream = list(
                service.stub.RankStream(iter([_named(message, f"s{n}") for n in range(5)]), timeout=20)
            )
        assert [result.response.level for result in (*results, *stream)] == [MODEL_FREE] * 13
        assert all(result.response.without_room for result in (*results, *stream))


def _named(message: Any, request_id: str) -> Any:
    named = ranking_pb2.RankRequest()
    named.CopyFrom(message)
    named.request_id = request_id
    return named


def test_a_call_whose_time_is_over_gets_nothing(online_world: OnlineWorld) -> None:
    async def late(service: Service) -> None:
        with pytest.raises(TooLateError):
            async with service.servicer.admission.turn(is_prefetch=False, deadline=0.0):
                raise AssertionError

    with serving(online_world) as service, service.full():
        asyncio.run_coroutine_threadsafe(late(service), service.server.loop).result(10)


def test_what_used_up_its_share_of_the_time_is_refused(online_world: OnlineWorld) -> None:
    settings = replace(SETTINGS, admission=replace(ONE_AT_A_TIME, brownout_share=1e-9))
    with serving(online_world, settings) as service, service.full():
        calls = (service.rank() for _ in range(5_000))
        with pytest.raises(grpc.RpcError) as caught:
            assert {answer.level for answer in calls} == {"never so many"}
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert service.servicer.brownout.answers > 0


def test_it_stands_in_the_log_and_in_the_metrics(online_world: OnlineWorld, tmp_path: Path) -> None:
    answers = {"model": "promoted", "priority": "interactive", "code": "OK", "level": "3"}
    rows = {"model": "promoted", "view": "user_stats"}
    with serving(online_world, log=tmp_path / "log") as service:

        def counted() -> list[float]:
            """Other servers of this process may have counted in the same files before."""
            value = service.servicer.watch.metrics.registry.get_sample_value
            asked = ("marquee_requests_total", answers), ("marquee_view_missing_candidates_total", rows)
            return [value(*one) or 0.0 for one in asked]

        with service.full():
            service.rank()
            before = counted()
            service.rank()
            difference = [now - then for now, then in zip(counted(), before, strict=True)]
            with pytest.raises(grpc.RpcError):
                service.rank(priority=ranking_pb2.PRIORITY_PREFETCH)
        state = service.server.server.reporting.state()
        assert (state.browned_out, state.admission_refused) == (2, 1)
        assert difference == [1.0, 0.0], "nothing was asked for, so nothing is missing"
    row, _ = [
        row
        for file in (tmp_path / "log").rglob("requests.parquet")
        for row in pq.read_table(file).to_pylist()
    ]
    assert (row["level"], row["reason"]) == (MODEL_FREE, "1 requests are being worked on, 0 wait")
    assert (row["presence__user_stats"], row["user_activity"]) == ("unread", None)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    st.floats(0.01, 1.0),
    st.lists(st.tuples(st.floats(0.0, 0.3), st.floats(0.0001, 0.02)), min_size=1, max_size=60),
)
def test_answers_never_take_more_than_their_share_but_for_what_was_saved(
    share: float, visits: list[tuple[float, float]]
) -> None:
    clock = Clock()
    brownout = Brownout(share, clock)
    spent = longest = 0.0
    for pause, work in visits:
        clock.now += pause
        if brownout.has_time:
            with brownout.answering():
                clock.now += work
            spent, longest = spent + work, max(longest, work)
            assert spent <= share * clock.now + MOST_SAVED_SECONDS + longest
    assert brownout.answers <= len(visits)


def test_time_that_was_not_used_is_saved_up_to_a_bound() -> None:
    clock = Clock()
    brownout = Brownout(0.1, clock)
    clock.now += 3_600.0
    while brownout.has_time:
        with brownout.answering():
            clock.now += 0.001
    assert 0.04 < clock.now - 3_600.0 < 0.07
    clock.now += 0.1
    assert brownout.has_time, "a tenth of the time that went by"
