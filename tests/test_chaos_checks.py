"""The fault tests' own judgement: it lets right answers pass, and complains of each kind of wrong one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from chaos.__main__ import ALL
from chaos.calls import CANCELLED_BY_CALLER, OK, Call
from chaos.canary import ABSENT, ITEM, PAIR, USER, CanaryWorld
from chaos.checker import Checker
from chaos.load import Load, Plan
from chaos.outcome import Outcome, Window, measure
from chaos.proxy import altered
from chaos.resp import ReplyCutter, contents
from chaos.scenario import Goals
from chaos.serve_process import CALLER_GONE, TRACE_END, stack_traces
from chaos.timeline import Timeline
from hypothesis import given
from hypothesis import strategies as st

from ranking_service.proto import ranking_pb2

WORLD = CanaryWorld(users=20, items=60, trees=40)
"""Items 54 and up and users 18 and up have no rows."""
Response = ranking_pb2.RankResponse


def make_call(number: int = 1, user: int = 3, at: float = 100.0) -> Call:
    items = np.random.default_rng(number).permutation(60)[:30]
    return Call(number, user, items, 0.1, at, sent=at, finished=at + 0.01, status=OK)


def answer(call: Call, versions: tuple[int, int, int] = (0, 0, 0), level: int = 0) -> Response:
    """What a server answers that sees these versions of the user's, the items' and the pairs' rows."""
    scores = WORLD.scores(call.user, call.items, versions)
    response = Response(request_id=call.request_id, level=level, reason="told" if level else "")
    for rank, place in enumerate(np.argsort(-scores, kind="stable")):
        response.items.add(item_id=WORLD.item_id(call.items[place]), score=scores[place], rank=rank)
    return response


def complaints(call: Call, response: Response, timeline: Timeline | None = None) -> list[str]:
    call.body = response.SerializeToString()
    return [found.what for found in Checker(WORLD, timeline or Timeline(WORLD)).complaints([call])]


def swapped_user(call: Call) -> Response:
    other = make_call(call.number, user=call.user + 1)
    return answer(other)


def swapped_items(call: Call) -> Response:
    """The shape of replies that arrive in the place of their predecessors."""
    response = answer(call)
    names = [item.item_id for item in response.items]
    for item, name in zip(response.items, [*names[1:], names[0]], strict=True):
        item.item_id = name
    return response


def one_other_score(call: Call) -> Response:
    response = answer(call)
    response.items[7].score = (response.items[6].score + response.items[8].score) / 2 + 2e-5
    return response


def silent_defaults(call: Call) -> Response:
    return answer(call, (0, ABSENT, ABSENT))


def someone_elses_answer(call: Call) -> Response:
    response = answer(call)
    response.request_id = "call-9"
    return response


def one_item_missing(call: Call) -> Response:
    response = answer(call)
    del response.items[-1]
    return response


def one_item_twice(call: Call) -> Response:
    response = answer(call)
    response.items[3].item_id = response.items[2].item_id
    return response


def wrong_order(call: Call) -> Response:
    response = answer(call)
    first, last = response.items[0].score, response.items[29].score
    response.items[0].score, response.items[29].score = last, first
    return response


def unspoken_degradation(call: Call) -> Response:
    response = answer(call, (0, ABSENT, 0))
    response.degraded_views.add(view=ITEM, level=2)
    return response


def another_level_than_its_views(call: Call) -> Response:
    response = answer(call, (0, 0, 0), level=2)
    response.degraded_views.add(view=ITEM, level=1)
    return response


def no_reason(call: Call) -> Response:
    response = answer(call, level=3)
    response.reason = ""
    return response


WRONG = (
    swapped_user,
    swapped_items,
    one_other_score,
    silent_defaults,
    someone_elses_answer,
    one_item_missing,
    one_item_twice,
    wrong_order,
    unspoken_degradation,
    another_level_than_its_views,
    no_reason,
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_each_kind_of_wrong_answer_is_complained_of(wrong: Callable[[Call], Response]) -> None:
    call = make_call()
    assert complaints(call, answer(call)) == []
    assert len(complaints(call, wrong(call))) == 1


def test_every_single_answer_of_another_user_is_noticed() -> None:
    for user in range(18):
        call = make_call(user=user)
        other = answer(make_call(user=(user + 1) % 18))
        assert complaints(call, other), f"user {user}"


def test_bytes_that_are_no_response_are_complained_of() -> None:
    call = make_call()
    call.body = b"\xff\xff\xff"
    assert len(Checker(WORLD, Timeline(WORLD)).complaints([call])) == 1


def test_declared_defaults_are_right_for_the_views_that_say_so_and_no_others() -> None:
    call = make_call()
    response = answer(call, (0, ABSENT, 0), level=2)
    response.degraded_views.add(view=ITEM, level=2)
    assert complaints(call, response) == []
    response.degraded_views[0].view = PAIR
    assert complaints(call, response)


def test_any_order_of_the_candidates_is_right_at_level_3_but_not_other_items() -> None:
    call = make_call()
    response = answer(make_call(number=call.number, user=9), level=3)
    assert complaints(call, response) == []
    response.items[0].item_id = WORLD.item_id(int(np.setdiff1d(np.arange(60), call.items)[0]))
    assert complaints(call, response)


def test_old_rows_are_right_for_two_seconds_and_as_last_known_rows_for_longer() -> None:
    timeline = Timeline(WORLD)
    with timeline.changing(ITEM, 1):
        pass
    changed = timeline.changes[0].ended
    soon, late = make_call(at=changed + 1.0), make_call(at=changed + 3.0)
    assert complaints(soon, answer(soon), timeline) == []
    assert complaints(late, answer(late), timeline)
    assert complaints(late, answer(late, (0, 1, 0)), timeline) == []
    last_known = answer(late, level=1)
    last_known.degraded_views.add(view=ITEM, level=1, last_known_candidates=30, oldest_seconds=3.0)
    assert complaints(late, last_known, timeline) == []
    last_known.degraded_views[0].last_known_candidates = 3
    assert complaints(late, last_known, timeline)
    early = make_call(at=changed - 3.0)
    assert complaints(early, answer(early, (0, 1, 0)), timeline)


def test_rows_that_redis_lost_may_not_be_shown_as_current() -> None:
    timeline = Timeline(WORLD)
    with timeline.changing_all(ABSENT):
        pass
    call = make_call(at=timeline.changes[0].ended + 5.0)
    assert complaints(call, answer(call), timeline)
    assert complaints(call, answer(call, (ABSENT, ABSENT, ABSENT)), timeline) == []


def test_users_rows_must_be_current_at_once() -> None:
    timeline = Timeline(WORLD)
    with timeline.changing(USER, 1):
        pass
    call = make_call(at=timeline.changes[0].ended + 0.01)
    assert complaints(call, answer(call), timeline)


def measured(calls: list[Call], end: float = 100.0) -> Outcome:
    window = Window(end - 10, end)
    return measure(calls, complaints=[], crashes=[], window=window, capacity=10.0)


def test_recovery_is_the_first_second_that_is_nearly_all_of_level_0() -> None:
    calls = [make_call(number, at=95 + number / 20) for number in range(400)]
    for call in calls:
        call.level = 0 if not 100 <= call.intended < 103 else 2
    outcome = measured(calls)
    assert outcome.recovery_seconds == pytest.approx(3.0, abs=0.11)
    assert Goals(recovery_seconds=2.0).missed(outcome) == ["recovery 3.0 s > 2 s"]
    for call in calls:
        call.level = 2
    assert Goals().missed(measured(calls)) == ["never recovered"]


def test_late_and_refused_calls_cost_availability_and_cancelled_ones_do_not() -> None:
    calls = [make_call(number) for number in range(10)]
    calls[0].status = "UNAVAILABLE"
    calls[1].finished += 1.0
    calls[2].status = CANCELLED_BY_CALLER
    outcome = measured(calls, 110.0)
    assert (outcome.requests, outcome.errors) == (9, {"UNAVAILABLE": 1})
    assert outcome.availability == pytest.approx(7 / 9)
    missed = Goals(recovery_seconds=None, goodput_share=0.9).missed(outcome)
    assert missed == ["availability 77.78% < 99.9%", "goodput 7% < 90% of capacity"]


def test_goodput_counts_answers_in_time_and_tells_whole_ones_apart() -> None:
    calls = [make_call(number, at=95.0) for number in range(10)]
    for number, call in enumerate(calls):
        call.level = 3 if number < 6 else 0
    calls[9].finished += 1.0
    outcome = measured(calls)
    assert (outcome.goodput_share, outcome.whole_share) == (pytest.approx(0.09), pytest.approx(0.03))


def test_a_stack_trace_is_a_crash_unless_the_caller_had_left() -> None:
    trace = '{"level": "error", "exception": "Traceback (most recent call last):\\n KeyError: 7"}'
    gone = f'{{"message": "{CALLER_GONE} [x]", "exception": "Traceback (most recent call last): ..."}}'
    assert stack_traces(f"started\n{gone}\n{trace}\n") == [trace]
    assert len(stack_traces(trace.replace("KeyError", "x" * 1_000))[0]) == TRACE_END


def test_internals_in_an_error_are_noticed() -> None:
    call = make_call()
    call.status, call.details = "INTERNAL", "oh"
    assert Goals(availability=None, recovery_seconds=None).missed(measured([call])) == [
        "a client saw INTERNAL: oh"
    ]
    call.status, call.details = "UNAVAILABLE", 'Traceback (most recent call last): File "x.py"'
    assert len(measured([call]).leaks) == 1


def test_the_page_describes_every_scenario_as_it_is() -> None:
    page = (Path(__file__).parent.parent / "docs" / "chaos.md").read_text(encoding="utf-8")
    assert len(ALL) > 20
    assert [scenario.name for scenario in ALL if f"| `{scenario.name}` | {scenario.what} |" not in page] == []


@contextmanager
def late_server(seconds: float) -> Iterator[str]:
    """Answers every call so much later."""

    def rank(_: bytes, __: Any) -> bytes:
        time.sleep(seconds)
        return b""

    handler = grpc.method_handlers_generic_handler(
        "marquee.ranking.v1.RankingService", {"Rank": grpc.unary_unary_rpc_method_handler(rank)}
    )
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.mark.timeout(60)
def test_a_server_that_is_always_late_has_no_availability() -> None:
    with late_server(0.3) as address:
        calls = Load.start(WORLD, address, Plan(((1.0, 20.0),), candidates=5)).finish()
    outcome = measure(calls, complaints=[], crashes=[], window=Window(0, 1), capacity=1.0)
    assert outcome.requests > 5
    assert outcome.availability == 0.0
    assert set(outcome.errors) == {"DEADLINE_EXCEEDED"}


REPLIES = st.recursive(
    st.one_of(
        st.binary(max_size=9).map(lambda blob: b"$%d\r\n%b\r\n" % (len(blob), blob)),
        st.integers(-5, 5).map(lambda number: b":%d\r\n" % number),
        st.sampled_from([b"+OK\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"-ERR no\r\n", b"#t\r\n"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: b"*%d\r\n" % len(parts) + b"".join(parts)),
        st.lists(inner, max_size=4).map(lambda parts: b">%d\r\n" % len(parts) + b"".join(parts)),
        st.lists(st.tuples(inner, inner), max_size=2).map(
            lambda parts: b"%%%d\r\n" % len(parts) + b"".join(b"".join(pair) for pair in parts)
        ),
    ),
    max_leaves=8,
)


@given(st.lists(REPLIES, max_size=6), st.integers(1, 7))
def test_replies_are_cut_where_they_end_however_they_arrive(replies: list[bytes], piece: int) -> None:
    stream, cutter, found = b"".join(replies), ReplyCutter(), []
    for place in range(0, len(stream), piece):
        found += cutter.feed(stream[place : place + piece])
    assert found == replies


@given(REPLIES, st.integers(0, 99))
def test_an_altered_reply_has_other_texts_and_the_same_form(reply: bytes, seed: int) -> None:
    changed, texts = altered(reply, random.Random(seed)), contents(reply)
    assert contents(changed) == texts
    assert (changed != reply) == any(map(len, texts))
    touched = {place for place in range(len(reply)) if changed[place] != reply[place]}
    assert touched <= {place for text in texts for place in text}
    assert ReplyCutter().feed(changed) == [changed]
