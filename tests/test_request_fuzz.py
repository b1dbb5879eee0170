"""Requests of every shape over real gRPC: an answer, or a typed error that names the field, never INTERNAL."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from online_world import AT, CONTRACT, OnlineWorld, make_booster, populate

from materialization.private_redis import private_redis
from ranking_service.bundle import publish
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import BudgetSettings, RedisSettings

FIELDS = ("request", "user_id", "candidate_ids", "context.", "model", "limit", "request_id", "priority")
"""What the message of INVALID_ARGUMENT may begin with."""
SETTINGS = ServiceSettings(
    redis=RedisSettings(connect_seconds=1.0, timeout_seconds=1.0),
    budget=BudgetSettings(request_seconds=5.0, feature_seconds=1.0, scoring_seconds=1.0),
)
RANK = "/marquee.ranking.v1.RankingService/Rank"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineWorld]:
    models: Path = tmp_path_factory.mktemp("models")
    publish(models, version="v1", booster=make_booster(), contract=CONTRACT, manifest={})
    with private_redis() as redis:
        world = OnlineWorld(redis.url, models)
        populate(world)
        yield world


@pytest.fixture(scope="module")
def channel(world: OnlineWorld) -> Iterator[grpc.Channel]:
    server = RankingServer.start(world.bundle, redis_url=world.redis_url, settings=SETTINGS)
    try:
        with grpc.insecure_channel(server.address) as channel:
            yield channel
    finally:
        server.stop()


def outcome(channel: grpc.Channel, message: bytes) -> tuple[str, str, ranking_pb2.RankResponse | None]:
    """Status, details, and the answer where there is one."""
    try:
        answer = channel.unary_unary(RANK)(message, timeout=10)
    except grpc.RpcError as error:
        return error.code().name, error.details(), None  # type: ignore[attr-defined]
    return "OK", "", ranking_pb2.RankResponse.FromString(answer)


def check(channel: grpc.Channel, message: ranking_pb2.RankRequest) -> ranking_pb2.RankResponse | None:
    """The answer to a request, complete and of finite scores; None for one refused by a field of it."""
    code, details, answer = outcome(channel, message.SerializeToString())
    assert code in ("OK", "INVALID_ARGUMENT"), f"{code}: {details}"
    if answer is None:
        assert details.startswith(FIELDS), details
        assert len(details) < 1_000
        return None
    count = len(message.candidate_ids)
    assert len(answer.items) == (min(message.limit, count) if message.limit else count)
    assert {item.item_id for item in answer.items} <= set(message.candidate_ids)
    assert all(math.isfinite(item.score) for item in answer.items)
    assert answer.level == 0
    return answer


NASTY = st.sampled_from(
    [
        "*",
        "?",
        "[a-z]",
        "item *",
        "item ?",
        "item 1\x00",
        "\x00",
        "item 1\r\n",
        "\r\n$3\r\nDEL\r\n",
        "x" * 100_000,
        "\N{PILE OF POO}",
        "e\u0301",
        "\u00e9",
        "\u202eitem 1",
        "\ufeffitem 1",
        " item 1",
        "item 1 ",
        "ITEM 1",
        "{a}",
        "%s",
        "\\x00",
    ]
)
IDS = st.one_of(NASTY, st.text(max_size=50), st.sampled_from(["ann", "bob", "item 0", "item 1"]))
NUMBERS = st.one_of(st.floats(), st.sampled_from([1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf]))
VALUES = st.one_of(
    NUMBERS.map(lambda number: ranking_pb2.ContextValue(number=number)),
    IDS.map(lambda text: ranking_pb2.ContextValue(text=text)),
    st.just(ranking_pb2.ContextValue()),
)
NAMES = st.one_of(st.sampled_from(["bandwidth", "theme", "surface", "request_timestamp"]), IDS)
INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def requests(draw: Any) -> ranking_pb2.RankRequest:
    message = ranking_pb2.RankRequest(
        request_id=draw(IDS),
        user_id=draw(IDS),
        candidate_ids=draw(st.lists(IDS, max_size=8)),
        limit=draw(st.sampled_from([0, 1, 3, 2**32 - 1])),
        explain=draw(st.booleans()),
        model=draw(st.one_of(st.just(""), IDS)),
        priority=draw(st.sampled_from([0, 1, 2, 3, 77, -1, 2**31 - 1])),
    )
    context = message.context
    context.surface, context.device = draw(IDS), draw(IDS)
    if draw(st.booleans()):
        context.request_time.seconds = draw(st.one_of(INT64, st.integers(0, 4 * 10**9)))
        context.request_time.nanos = draw(st.one_of(st.integers(-(2**31), 2**31 - 1), st.just(0)))
    if draw(st.booleans()):
        context.session_position = draw(st.integers(0, 2**32 - 1))
    for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=2)).items():
        context.features[name].CopyFrom(value)
    return message


FEW = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(requests())
@FEW
def test_any_request_is_answered_or_refused_by_its_field(
    channel: grpc.Channel, message: ranking_pb2.RankRequest
) -> None:
    check(channel, message)


@given(st.binary(max_size=300))
@FEW
def test_any_bytes_are_answered_or_refused(channel: grpc.Channel, message: bytes) -> None:
    code, details, _ = outcome(channel, message)
    assert code in ("OK", "INVALID_ARGUMENT"), f"{code}: {details}"
    assert details == "" or details.startswith(FIELDS)


@given(requests(), st.data())
@FEW
def test_a_damaged_message_is_answered_or_refused(
    channel: grpc.Channel, message: ranking_pb2.RankRequest, data: st.DataObject
) -> None:
    whole = bytearray(message.SerializeToString()[:2_000])
    for _ in range(data.draw(st.integers(1, 4))):
        if whole:
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    code, details, _ = outcome(channel, bytes(whole))
    assert code in ("OK", "INVALID_ARGUMENT"), f"{code}: {details}"


def plain(**more: Any) -> ranking_pb2.RankRequest:
    return ranking_pb2.RankRequest(**{"user_id": "ann", "candidate_ids": ["item 1", "item 3"], **more})


def context(**more: Any) -> dict[str, Any]:
    return {"context": ranking_pb2.Context(**more)}


def features(**values: ranking_pb2.ContextValue) -> dict[str, Any]:
    return context(features=values)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "10,001 candidates": (
        {"candidate_ids": [str(number) for number in range(10_001)]},
        "candidate_ids: has 10001",
    ),
    "an empty user": ({"user_id": ""}, "user_id"),
    "a huge user": ({"user_id": "x" * 1_000_000}, "user_id"),
    "a huge candidate": ({"candidate_ids": ["a", "x" * 1_000_000]}, "candidate_ids[1]"),
    "a huge request id": ({"request_id": "x" * 100_000}, "request_id"),
    "a huge repeated candidate": ({"candidate_ids": ["x" * 500, "x" * 500]}, "candidate_ids"),
    "another's model": ({"model": "nobody's"}, "model"),
    "a huge model": ({"model": "x" * 1_000_000}, "model"),
    "a priority there is none of": ({"priority": 77}, "priority"),
    "a NaN": (features(bandwidth=ranking_pb2.ContextValue(number=math.nan)), "context.features"),
    "an infinity": (features(bandwidth=ranking_pb2.ContextValue(number=-math.inf)), "context.features"),
    "a number beyond float32": (
        features(bandwidth=ranking_pb2.ContextValue(number=1e300)),
        "context.features",
    ),
    "no value": (features(bandwidth=ranking_pb2.ContextValue()), "context.features"),
    "a huge feature name": (
        features(**{"x" * 100_000: ranking_pb2.ContextValue(number=1)}),
        "context.features",
    ),
    "a huge text": (features(theme=ranking_pb2.ContextValue(text="x" * 1_000_000)), "context.features"),
    "a huge surface": (context(surface="x" * 1_000_000), "context.surface"),
    "a huge device": (context(device="x" * 1_000_000), "context.device"),
    "a time before all": (context(request_time={"seconds": -(2**63)}), "context.request_time"),
    "a time past all": (context(request_time={"seconds": 2**63 - 1}), "context.request_time"),
    "half a time": (context(request_time={"seconds": 1, "nanos": -1}), "context.request_time"),
}


@pytest.mark.parametrize(("change", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_meant_is_refused_by_its_field(
    channel: grpc.Channel, change: dict[str, Any], field: str
) -> None:
    code, details, _ = outcome(channel, plain(**change).SerializeToString())
    assert (code, details[: len(field)]) == ("INVALID_ARGUMENT", field), details[:300]
    assert len(details) < 1_000, "a message must fit into the answer's trailer"
    assert check(channel, plain()) is not None


@pytest.mark.parametrize("seconds", [-62_135_596_800, 0, 253_402_300_799])
def test_any_time_of_the_calendar_is_answered(channel: grpc.Channel, seconds: int) -> None:
    assert check(channel, plain(**context(request_time={"seconds": seconds}))) is not None


LOOK_ALIKES = [
    "item 1\x00",
    "\x00item 1",
    "item *",
    "item ?",
    "item [0-9]",
    "ITEM 1",
    "item 1 ",
    "ｉtem 1",
    "item 1\r\n",
]


def test_ids_that_resemble_another_get_none_of_its_rows(channel: grpc.Channel, world: OnlineWorld) -> None:
    at = context(request_time={"seconds": int(AT)})
    answer = check(channel, plain(candidate_ids=["item 1", *LOOK_ALIKES], **at))
    assert answer is not None
    assert answer.missing_by_view["item_stats"] == len(LOOK_ALIKES)
    scores = {item.item_id: item.score for item in answer.items}
    strangers = world.naive_scores("ann", ["unknown 1"], {"request_timestamp": AT})
    assert {round(scores[name], 5) for name in LOOK_ALIKES} == {round(float(strangers[0]), 5)}
    for user in ("ann\x00", "an?", "*", "ANN"):
        answer = check(channel, plain(user_id=user, **at))
        assert answer is not None
        assert (answer.missing_by_view["user_stats"], answer.missing_by_view["pair_stats"]) == (2, 2)


def test_an_id_that_is_no_text_cannot_even_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        plain(user_id="\ud800").SerializeToString()


def test_a_batch_names_the_field_of_each_request_by_itself(channel: grpc.Channel) -> None:
    stub = ranking_pb2_grpc.RankingServiceStub(channel)
    wrong = [plain(**change) for change, _ in list(REFUSED.values())[1:4]]
    results = stub.RankMany(
        ranking_pb2.RankManyRequest(requests=[plain(), *wrong, plain()]), timeout=10
    ).results
    assert [result.WhichOneof("outcome") for result in results] == ["response", *["error"] * 3, "response"]
    assert [result.error.code for result in results[1:4]] == [3, 3, 3]
