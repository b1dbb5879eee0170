"""Many rankings at once, in calls or in a stream: order, refusals one by one, broken streams, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from scripted_server import UNAVAILABLE, Client, Refusal, Script, connected, event_loop, scripted

from feature_repo.errors import RequestError
from ranking_service.client import (
    CallError,
    DeadlineError,
    Outcome,
    OverloadedError,
    RankRequest,
    UnavailableError,
)
from ranking_service.client.batch import CALL_BYTES, Batch
from ranking_service.proto import ranking_pb2

BUSY = ranking_pb2.RankError(code=8, message="busy", retry_after_millis=30)
WRONG = ranking_pb2.RankError(code=3, message="user_id: is unknown here")


@pytest.fixture(params=["sync", "async"])
def to(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Connects one of the two clients."""
    with ExitStack() as stack:

        def connect(address: str, **options: Any) -> Client:
            return stack.enter_context(connected(request.param, address, **options))

        yield connect


def asks(count: int, **fields: Any) -> list[RankRequest]:
    return [
        RankRequest(user_id=f"user {index}", candidate_ids=[f"item {index}"], request_id=f"{index}", **fields)
        for index in range(count)
    ]


def test_any_number_is_split_into_calls_and_comes_back_in_order(to: Callable[..., Client]) -> None:
    script = Script()
    with scripted(script) as address:
        outcomes = to(address).rank_many(asks(75))
    assert sorted(len(ids) for ids in script.calls) == [11, 32, 32]
    assert [outcome.request_id for outcome in outcomes] == [str(index) for index in range(75)]
    assert [outcome.result().items[0].item_id for outcome in outcomes] == [f"item {i}" for i in range(75)]


def test_no_requests_are_no_calls(to: Callable[..., Client]) -> None:
    script = Script()
    with scripted(script) as address:
        assert to(address).rank_many([]) == []
        assert list(to(address).rank_stream([])) == []
    assert script.calls in ([], [[]])


def test_each_is_answered_or_refused_by_itself(to: Callable[..., Client]) -> None:
    script = Script(refused={"2": [WRONG], "3": [BUSY] * 9})
    requests = [*asks(4), RankRequest(user_id="", candidate_ids=["a"], request_id="bad")]
    with scripted(script) as address:
        outcomes = to(address).rank_many(requests)
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [type(None), type(None), RequestError, OverloadedError, RequestError]
    assert [outcome.ranking is None for outcome in outcomes] == [False, False, True, True, True]
    error = outcomes[3].error
    assert isinstance(error, OverloadedError)
    assert error.retry_after == 0.03
    with pytest.raises(RequestError, match="unknown here") as caught:
        outcomes[2].result()
    assert caught.value.field == "user_id"
    assert all("bad" not in ids for ids in script.calls)


def test_only_the_refused_ones_are_sent_again(to: Callable[..., Client]) -> None:
    script = Script(refused={"1": [BUSY], "2": [BUSY, BUSY]})
    with scripted(script) as address:
        outcomes = to(address).rank_many(asks(4))
    assert script.calls == [["0", "1", "2", "3"], ["1", "2"], ["2"]]
    assert script.times[1] - script.times[0] >= 0.03
    assert all(outcome.ranking for outcome in outcomes)


def test_a_call_that_fails_is_tried_again_as_a_whole(to: Callable[..., Client]) -> None:
    script = Script(refusals=[Refusal(UNAVAILABLE)])
    with scripted(script) as address:
        assert all(outcome.ranking for outcome in to(address).rank_many(asks(3)))
    assert script.calls == [["0", "1", "2"]] * 2


def test_a_batch_ends_at_its_overall_deadline(to: Callable[..., Client]) -> None:
    with scripted(Script(seconds=0.1)) as address:
        started = time.monotonic()
        outcomes = to(address, requests_per_call=1).rank_many(asks(50), overall=0.35, calls_at_once=2)
        assert time.monotonic() - started < 2
    kinds = [type(outcome.error) for outcome in outcomes]
    assert set(kinds) == {type(None), DeadlineError}
    assert kinds == sorted(kinds, key=lambda kind: kind is DeadlineError)


def test_large_requests_are_split_by_size_too() -> None:
    long = ["x" * 1000 + str(index) for index in range(1500)]
    batch = Batch.of([RankRequest(user_id="u", candidate_ids=long) for _ in range(5)])
    calls = list(batch.calls(32))
    assert [len(places) for places in calls] == [2, 2, 1]
    assert all(batch.message(places).ByteSize() <= CALL_BYTES * 1.01 for places in calls)


def test_a_server_that_answers_too_few_is_found_out() -> None:
    batch = Batch.of(asks(3))
    batch.answered([0, 1, 2], ranking_pb2.RankManyResponse(results=[ranking_pb2.RankResult()]), "there")
    assert all(isinstance(outcome.error, CallError) for outcome in batch.outcomes)


def test_a_stream_brings_an_outcome_for_each_request(to: Callable[..., Client]) -> None:
    script = Script(refused={"5": [BUSY]})
    requests = [*asks(80), RankRequest(user_id="", candidate_ids=["a"], request_id="bad")]
    with scripted(script) as address:
        outcomes = {outcome.request_id: outcome for outcome in to(address).rank_stream(requests)}
    assert len(outcomes) == 81
    assert len(script.streams) == 1
    assert len(script.streams[0]) == 80
    for index in range(80):
        if index == 5:
            assert isinstance(outcomes["5"].error, OverloadedError)
        else:
            assert outcomes[str(index)].result().items[0].item_id == f"item {index}"
    assert isinstance(outcomes["bad"].error, RequestError)


def test_ids_are_made_where_there_are_none(to: Callable[..., Client]) -> None:
    numbers = iter(range(9))
    requests = [RankRequest(user_id="u", candidate_ids=["a"])] * 3
    with scripted(Script()) as address:
        client = to(address, new_id=lambda: f"made {next(numbers)}")
        ids = {outcome.request_id for outcome in client.rank_stream(requests)}
    assert ids == {"made 0", "made 1", "made 2"}


def test_an_id_that_is_unanswered_is_not_sent_twice(to: Callable[..., Client]) -> None:
    script = Script(seconds=0.05)
    with scripted(script) as address:
        outcomes = list(to(address).rank_stream(asks(2) + asks(1)))
    assert script.streams == [["0", "1"]]
    (refused,) = [outcome for outcome in outcomes if outcome.error]
    assert isinstance(refused.error, RequestError)
    assert refused.error.field == "request_id"


def test_the_source_is_read_no_further_than_the_window(to: Callable[..., Client]) -> None:
    taken, answered, most = 0, 0, 0

    def source() -> Iterator[RankRequest]:
        nonlocal taken
        for request in asks(30):
            taken += 1
            yield request

    with scripted(Script(seconds=0.002)) as address:
        for _ in to(address).rank_stream(source(), in_flight=4):
            answered += 1
            most = max(most, taken - answered)
    assert answered == 30
    assert most <= 4


def test_a_stream_that_breaks_goes_on_with_the_unanswered_ones(to: Callable[..., Client]) -> None:
    script = Script(stops_after=3)
    with scripted(script) as address:
        outcomes = list(to(address).rank_stream(asks(20), in_flight=5))
    assert sorted(int(outcome.result().request_id) for outcome in outcomes) == list(range(20))
    assert len(script.streams) == 2
    assert not set(script.streams[0][:3]) & set(script.streams[1])


def test_a_stream_may_break_any_number_of_times_if_it_gets_on_between(to: Callable[..., Client]) -> None:
    script = Script(stops_after=2, breaks=6)
    with scripted(script) as address:
        outcomes = list(to(address).rank_stream(asks(20), in_flight=3))
    assert sorted(int(outcome.result().request_id) for outcome in outcomes) == list(range(20))
    assert len(script.streams) == 7


def test_a_silent_stream_goes_on_elsewhere(to: Callable[..., Client]) -> None:
    """What was waited for in vain is given up; the rest is answered by the other server."""
    with scripted(Script(silent=True)) as silent, scripted(Script("good")) as good:
        outcomes = list(to(f"{silent},{good}").rank_stream(asks(10), in_flight=2, timeout=0.2))
    assert sorted(outcome.request_id for outcome in outcomes) == [str(index) for index in range(10)]
    late = [outcome for outcome in outcomes if outcome.error]
    assert 1 <= len(late) <= 2
    assert all(isinstance(outcome.error, DeadlineError) for outcome in late)


def test_a_stream_that_cannot_go_on_tells_what_was_unanswered_then_why(to: Callable[..., Client]) -> None:
    script = Script(refusals=[Refusal(UNAVAILABLE, "closed today", "-1")])
    outcomes = []
    with scripted(script) as address:
        stream = to(address).rank_stream(asks(20), in_flight=5)
        with pytest.raises(UnavailableError, match="closed today"):
            outcomes.extend(stream)  # keeps what came before the error
    assert [type(outcome.error) for outcome in outcomes] in ([UnavailableError] * n for n in range(6))


def test_the_servers_reason_is_not_lost_while_messages_are_on_their_way(to: Callable[..., Client]) -> None:
    """What one stream in two did before the first status counted."""
    script = Script(refusals=[Refusal(UNAVAILABLE, "closed today", "-1")] * 20)
    with scripted(script) as address:
        client = to(address)
        for _ in range(20):
            with pytest.raises(UnavailableError, match="closed today"):
                list(client.rank_stream(asks(20), in_flight=5))
    assert len(script.streams) == 20


def test_a_stream_that_fails_when_all_was_sent_ends_with_their_errors(to: Callable[..., Client]) -> None:
    script = Script(refusals=[Refusal(UNAVAILABLE, pushback="-1")], seconds=0.05)
    with scripted(script) as address:
        outcomes = list(to(address).rank_stream(asks(3)))
    assert [type(outcome.error) for outcome in outcomes] == [UnavailableError] * 3


def test_a_silent_stream_costs_the_timeout_of_its_answers(to: Callable[..., Client]) -> None:
    script = Script(silent=True)
    with scripted(script) as address:
        started = time.monotonic()
        outcomes = list(to(address).rank_stream(asks(3), timeout=0.2))
        assert time.monotonic() - started < 2
    assert [type(outcome.error) for outcome in outcomes] == [DeadlineError] * 3


def test_a_stream_ends_at_its_overall_deadline(to: Callable[..., Client]) -> None:
    outcomes: list[Outcome] = []
    with scripted(Script(seconds=0.05)) as address:
        started = time.monotonic()
        stream = to(address).rank_stream(asks(1000), overall=0.4, in_flight=2)
        with pytest.raises(DeadlineError):
            outcomes.extend(stream)  # keeps what came before the error
        assert time.monotonic() - started < 2
    assert any(outcome.ranking for outcome in outcomes)


def test_a_stream_may_be_left_early(to: Callable[..., Client]) -> None:
    with scripted(Script()) as address:
        client = to(address)
        stream: Any = client.rank_stream(asks(1000), in_flight=2)
        assert next(stream).ranking
        stream.close()
        assert client.rank(user_id="u", candidate_ids=["a"]).items
        assert [lane.in_flight for lane in client.calling.lanes.lanes] == [0]


def test_what_the_source_raises_is_raised(to: Callable[..., Client]) -> None:
    def source() -> Iterator[RankRequest]:
        yield from asks(2)
        raise OSError("the list of users is gone")

    with scripted(Script()) as address, pytest.raises(OSError, match="list of users"):
        list(to(address).rank_stream(source(), in_flight=1))


def test_an_async_source_that_waits_for_answers_gets_them() -> None:
    """One request at a time, each sent when the answer before was seen."""
    import asyncio

    from ranking_service.client import AsyncRankingClient

    async def talk(address: str) -> list[str]:
        seen: asyncio.Queue[str] = asyncio.Queue()

        async def source() -> Any:
            for request in asks(5):
                yield request
                assert await seen.get() == request.request_id

        found = []
        async with AsyncRankingClient.connect(address) as client:
            async for outcome in client.rank_stream(source()):
                found.append(outcome.request_id)
                seen.put_nowait(outcome.request_id)
        return found

    with scripted(Script()) as address:
        talked = event_loop().run_until_complete(asyncio.wait_for(talk(address), 20))
        assert talked == ["0", "1", "2", "3", "4"]
