"""Feast's own client gets from the ranking server what Feast's own store gives, to the bit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from feast.protos.feast.serving import ServingService_pb2 as serving
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64, String
from feast_api_world import (
    AT,
    COLUMNS,
    KINDS,
    NOW,
    ON_DEMAND,
    TTL,
    FeastApiWorld,
    columns,
    values,
)
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from online_world import OnlineWorld
from packed_rows_values import ABSENT, ODD, as_feast, feast_values
from prometheus_client import values as metric_values

from materialization.private_redis import private_redis
from ranking_service.compile_contract import left_out
from ranking_service.proto.feast.serving import ServingService_pb2
from ranking_service.proto.feast.types import Value_pb2
from ranking_service.proto.generate import stale_outputs
from ranking_service.server.metrics_folder import exposition
from ranking_service.server.server import RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import FeastApiSettings, RedisSettings, SecuritySettings

SETTINGS = ServiceSettings(
    redis=RedisSettings(connect_seconds=2.0, timeout_seconds=2.0),
    feast_api=FeastApiSettings(entities=50, request_seconds=5.0),
)
ALL_KINDS = [f"kinds:{name}" for name in KINDS]
CONTEXT = {
    "surface": ["home", "search", None],
    "device": ["tv", None, "phone"],
    "request_timestamp": [AT, AT - 5_000.5, AT + 1],
    "session_position": [0.0, None, 7.0],
}
fresh = count()
"""Every example has entities of its own."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeastApiWorld]:
    with private_redis() as redis:
        made = FeastApiWorld(tmp_path_factory.mktemp("feast"), redis.url, SETTINGS)
        try:
            yield made
        finally:
            made.stop()


def proto_context(**changed: list[Any]) -> dict[str, Any]:
    types = {"surface": String, "device": String}
    return {name: values(types.get(name, Float64), *row) for name, row in {**CONTEXT, **changed}.items()}


AGES = st.sampled_from([timedelta(), timedelta(milliseconds=1), TTL, TTL * 2, -TTL]) | st.timedeltas(
    timedelta(), TTL * 2
)


@settings(max_examples=40, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(data=st.data(), full=st.booleans())
def test_every_type_every_age_and_every_gap_is_answered_as_by_feast(
    world: FeastApiWorld, data: st.DataObject, full: bool
) -> None:
    user = f"user {next(fresh)} "
    row = st.fixed_dictionaries(
        {name: feast_values(dtype.to_value_type().name) | ABSENT | ODD for name, dtype in KINDS.items()}
    )
    users = [user + name for name in "abc"]
    for name in users[: data.draw(st.integers(0, 3))]:
        written = {one: value for one, value in data.draw(row).items() if value is not None}
        world.write("kinds", [name], written, data.draw(AGES))
    asked = data.draw(st.lists(st.sampled_from(users), min_size=1, max_size=5))
    ours = world.ours(ALL_KINDS, {"user_id": values(String, *asked)}, full=full)
    feasts = world.feasts(ALL_KINDS, {"user_id": asked}, full=full)
    assert columns(ours) == columns(feasts)


def seconds_ago(low: float, high: float) -> st.SearchStrategy[Value | None]:
    moments = st.floats(low, high).map(lambda ago: Value(double_val=AT - ago))
    return moments | st.none()


GENRES = st.lists(st.sampled_from(["drama", "crime", "kids"]), max_size=3, unique=True)
WEIGHTS = st.lists(st.floats(0, 9, width=32), min_size=3, max_size=3)


@st.composite
def user_rows(draw: st.DrawFn) -> dict[str, Value]:
    row = {name: draw(seconds_ago(0, 1e7)) for name in ("user_last_seen_at", "user_signed_up_at")}
    row["user_long_view_rate"] = draw(
        feast_values("FLOAT").filter(lambda one: 0 <= one.float_val <= 1) | st.none()
    )
    genres = draw(GENRES | st.none())
    if genres is not None:
        row["user_genre_names"] = as_feast(genres, "STRING_LIST")
        for name in ("exposures", "long_views", "likes"):
            row[f"user_genre_{name}"] = as_feast(draw(WEIGHTS)[: len(genres)], "FLOAT_LIST")
    return {name: value for name, value in row.items() if value is not None}


@st.composite
def item_rows(draw: st.DrawFn) -> dict[str, Value]:
    row = {name: draw(seconds_ago(-1e5, 1e7)) for name in ("item_released_at", "item_last_shown_at")}
    row["item_genres"] = draw(GENRES.map(lambda genres: as_feast(genres, "STRING_LIST")) | st.none())
    return {name: value for name, value in row.items() if value is not None}


@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(data=st.data(), full=st.booleans(), in_entities=st.booleans(), one_user=st.booleans())
def test_a_feature_service_with_on_demand_features_is_answered_as_by_feast(
    world: FeastApiWorld, data: st.DataObject, full: bool, in_entities: bool, one_user: bool
) -> None:
    number = next(fresh)
    users = [f"user {number}"] * 3 if one_user else [f"user {number} {place}" for place in range(3)]
    items = [f"item {number} {place}" for place in range(3)]
    for user, item in zip(users, items, strict=True):
        if data.draw(st.booleans()):
            world.write("users", [user], data.draw(user_rows()), data.draw(AGES))
        if data.draw(st.booleans()):
            world.write("items", [item], data.draw(item_rows()), data.draw(AGES))
        if data.draw(st.booleans()):
            seen = {"pair_last_seen_at": Value(double_val=AT - 60), "pair_plays": Value(int64_val=-3)}
            world.write("pairs", [user, item], seen, data.draw(AGES))
    ids = {"user_id": values(String, *users), "item_id": values(String, *items)}
    sent = ({**ids, **proto_context()}, None) if in_entities else (ids, proto_context())
    ours = world.ours("ranker", sent[0], context=sent[1], full=full)
    feasts = world.feasts("ranker", {"user_id": users, "item_id": items, **CONTEXT}, full=full)
    assert columns(ours) == columns(feasts)


def test_the_service_has_what_it_names_in_the_order_of_its_views(world: FeastApiWorld) -> None:
    ids = {"user_id": values(String, "a", "b", "c"), "item_id": values(String, "x", "y", "z")}
    answer = world.ours("ranker", ids, context=proto_context())
    stored = [name for view in ("users", "items", "pairs") for name in COLUMNS[view]]
    computed = [one.name for view in ON_DEMAND for one in view.features]
    named = ["user_id", "item_id", *(name for name in stored if name != "user_secret"), *computed]
    assert [*answer.metadata.feature_names.val] == named


def test_a_feature_that_the_service_leaves_out_can_be_asked_for_by_reference(world: FeastApiWorld) -> None:
    world.write("users", ["a spy"], {"user_secret": Value(string_val="007")}, timedelta(seconds=90))
    answer = world.ours(["users:user_secret"], {"user_id": values(String, "a spy", "nobody")})
    secret = answer.results[1]
    assert [value.string_val for value in secret.values] == ["007", ""]
    assert [*secret.statuses] == [FieldStatus.PRESENT, FieldStatus.NOT_FOUND]
    assert [one.ToSeconds() for one in secret.event_timestamps] == [int(NOW.timestamp()) - 90, 0]


def test_an_on_demand_feature_by_reference_needs_its_own_inputs_alone(world: FeastApiWorld) -> None:
    asked = {"surface": ["home"], "device": ["tv"], "request_timestamp": [AT], "session_position": [2.0]}
    only = world.ours(["request_context:context_hour"], {}, context=proto_context(**asked))
    assert columns(only) == columns(world.feasts(["request_context:context_hour"], asked))
    with pytest.raises(grpc.RpcError) as caught:
        world.ours(["item_freshness:pair_idle_hours"], {}, context=proto_context(**asked))
    assert "join key item_id, join key user_id; found" in refused(caught)[1]


def refused(caught: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[str, str]:
    return caught.value.code().name, caught.value.details()


ONE = {"user_id": values(String, "a")}


@pytest.mark.parametrize(
    ("features", "entities", "context", "code", "words"),
    [
        ("nobody", ONE, {}, "NOT_FOUND", "'nobody'.*ranker, other"),
        (["nowhere:x"], ONE, {}, "NOT_FOUND", "no served model reads a view 'nowhere'.*users, items, pairs.*kinds"),
        (["users:x", "users:user_secret"], ONE, {}, "NOT_FOUND", "view users has no x; it has user_last_seen_at"),
        (["users"], ONE, {}, "INVALID_ARGUMENT", "'users' is no reference"),
        ([], ONE, {}, "INVALID_ARGUMENT", "features: is empty"),
        (["kinds:bool", "kinds:bool"], ONE, {}, "INVALID_ARGUMENT", "bool would stand more than once"),
        (["kinds:bool"], {}, {}, "INVALID_ARGUMENT", "has 0 rows; send 1 to 50"),
        (["kinds:bool"], {"user_id": values(String, *"a" * 51)}, {}, "INVALID_ARGUMENT", "has 51 rows"),
        (["kinds:bool"], {"item_id": values(String, "a")}, {}, "INVALID_ARGUMENT", "join key user_id; found item_id"),
        (["kinds:bool"], {"user_id": values(Int64, 1)}, {}, "INVALID_ARGUMENT", "value 0 is a int64; ids are STRING"),
        (["kinds:bool"], {"user_id": values(String, "a", None)}, {}, "INVALID_ARGUMENT", "value 1 is nothing"),
        (
            ["pairs:pair_plays"],
            {**ONE, "item_id": values(String, "x", "y")},
            {},
            "INVALID_ARGUMENT",
            "equally many",
        ),
        ("ranker", {**ONE, "item_id": values(String, "x")}, {}, "INVALID_ARGUMENT", "request field surface"),
        (
            ["request_context:context_hour"],
            {},
            {name: values(String, "noon") for name in CONTEXT},
            "INVALID_ARGUMENT",
            r'request_context\["request_timestamp"\]: is declared DOUBLE, found a string',
        ),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_what_is_wrong(
    world: FeastApiWorld, features: Any, entities: Any, context: Any, code: str, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        world.ours(features, entities, context=context)
    assert refused(caught)[0] == code
    assert re.search(words, refused(caught)[1]), refused(caught)


def test_the_service_is_listed_and_says_whose_version_it_has(world: FeastApiWorld) -> None:
    info = world.stub.GetFeastServingInfo(serving.GetFeastServingInfoRequest(), timeout=5)
    assert info.version == version("feast")
    reflection = reflection_pb2_grpc.ServerReflectionStub(world.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection.ServerReflectionInfo(iter([asked]), timeout=5)
    listed = {one.name for one in answer.list_services_response.service}
    assert {"feast.serving.ServingService", "marquee.ranking.v1.RankingService"} <= listed
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="feast.serving.ServingService")
    (answer,) = reflection.ServerReflectionInfo(iter([asked]), timeout=5)
    assert len(answer.file_descriptor_response.file_descriptor_proto) >= 1


def test_versions_are_told_where_asked_for(world: FeastApiWorld) -> None:
    asked = serving.GetOnlineFeaturesRequest(entities=ONE, include_feature_view_version_metadata=True)
    asked.features.val.append("kinds:bool")
    (view,) = world.stub.GetOnlineFeatures(asked, timeout=5).metadata.feature_view_metadata
    assert (view.name, view.version) == ("kinds", 0)


def test_what_is_checked_in_is_what_the_installed_feast_generates() -> None:
    assert stale_outputs() == []


def test_the_generated_messages_import_nothing_of_feast() -> None:
    for module in (ServingService_pb2, Value_pb2):
        text = Path(module.__file__).read_text(encoding="utf-8")
        imports = re.findall(r"^(?:from|import) (\S+)", text, re.MULTILINE)
        assert imports, module
        assert not [name for name in imports if name.split(".")[0] == "feast"]


def test_both_sets_of_messages_are_one_in_a_process() -> None:
    assert ServingService_pb2.GetOnlineFeaturesRequest is serving.GetOnlineFeaturesRequest


def test_a_store_that_is_down_is_unavailable(tmp_path: Path) -> None:
    with private_redis() as redis:
        world = FeastApiWorld(tmp_path, redis.url, replace(SETTINGS, feast_api=FeastApiSettings()))
    try:
        with pytest.raises(grpc.RpcError) as caught:
            world.ours(["kinds:bool"], ONE)
        assert refused(caught)[0] == "UNAVAILABLE"
        assert "grpc-retry-pushback-ms" in dict(caught.value.trailing_metadata())
    finally:
        world.stop()


def test_callers_need_a_token_where_the_server_asks_for_one(
    online_world: OnlineWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_values, "ValueClass", metric_values.MutexValue)  # of this server alone
    tokens = tmp_path / "tokens"
    tokens.write_text("shop:0123456789abcdef0123456789abcdef\n")
    tokens.chmod(0o600)
    guarded = replace(SETTINGS, security=SecuritySettings(tokens_file=str(tokens)))
    server = RankingServer.start(online_world.bundle, redis_url=online_world.redis_url, settings=guarded)
    asked = serving.GetOnlineFeaturesRequest(
        features=serving.FeatureList(val=["user_stats:user_country"]),
        entities={"user_id": values(String, "ann")},
    )
    try:
        with grpc.insecure_channel(server.address) as channel:
            stub = ServingServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetOnlineFeatures(asked, timeout=5)
            assert refused(caught)[0] == "UNAUTHENTICATED"
            known = (("authorization", "Bearer 0123456789abcdef0123456789abcdef"),)
            answer = stub.GetOnlineFeatures(asked, timeout=5, metadata=known)
            assert answer.results[1].values[0].string_val == "DE"
            asked.features.val.append("user_stats:nothing")
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetOnlineFeatures(asked, timeout=5, metadata=known)
            assert refused(caught)[0] == "NOT_FOUND"
    finally:
        server.stop()
    told = exposition(server.server.servicer.watch.metrics.registry).decode().splitlines()
    assert 'marquee_feature_requests_total{code="OK"} 1.0' in told
    assert 'marquee_feature_requests_total{code="NOT_FOUND"} 1.0' in told
    assert 'marquee_caller_requests_total{caller="shop",code="OK"} 1.0' in told
    assert "marquee_feature_request_seconds_count 2.0" in told


def test_a_contract_knows_what_its_service_leaves_out(world: FeastApiWorld) -> None:
    views = [*COLUMNS.keys() - {"kinds"}]
    service = world.store.get_feature_service("ranker")
    projected = {one.name: {field.name for field in one.features} for one in service.feature_view_projections}
    missing = [f"{view}:{name}" for view in views for name in COLUMNS[view] if name not in projected[view]]
    stored = [world.store.get_feature_view(view) for view in views]
    assert [*left_out(service, stored)] == missing == ["users:user_secret"]


def test_the_api_can_be_switched_off(online_world: OnlineWorld) -> None:
    off = replace(SETTINGS, feast_api=FeastApiSettings(enabled=False))
    server = RankingServer.start(online_world.bundle, redis_url=online_world.redis_url, settings=off)
    try:
        with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
            ServingServiceStub(channel).GetFeastServingInfo(serving.GetFeastServingInfoRequest(), timeout=5)
        assert refused(caught)[0] == "UNIMPLEMENTED"
    finally:
        server.stop()
