"""What Feast promises of an online read holds on the stock store and on ours: names, order, projections, statuses."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from types import FunctionType
from typing import Any

import pandas as pd
import pytest
from contract_world import (
    NOW,
    SIDES,
    STOCK,
    Project,
    entity,
    event_times,
    key,
    source,
    stamps,
    statuses,
    view,
)
from feast import FeatureService, Field, RequestSource
from feast.errors import FeatureNameCollisionError, FeatureViewNotFoundException
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Float64, Int32, Int64, String

USER, ITEM = entity("user_id"), entity("item_id", String)
PLACE = entity("place", join_key="place_id")


@pytest.fixture(params=SIDES, ids=str)
def project(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Project:
    return Project(request.param, tmp_path / "project", redis_url)


@pytest.fixture
def filled(project: Project) -> Project:
    """Users 1 and 2, items a and b, the pair of user 1 and item a, three places, one fact of nobody."""
    users = view(
        "users", [USER], source("unused.parquet"), {"age": Int32, "score": Float32, "tags": Array(String)}
    )
    items = view("items", [ITEM], source("unused.parquet"), {"score": Float64, "title": String})
    pairs = view("pairs", [USER, ITEM], source("unused.parquet"), {"seen": Int64})
    places = view("places", [PLACE], source("unused.parquet"), {"temperature": Int32})
    everybody = view("everybody", [], source("unused.parquet"), {"rides": Int32})
    project.apply(USER, ITEM, PLACE, users, items, pairs, places, everybody)
    when = stamps(2, 1)
    tags = [["x", ""], []]
    project.write_online(
        "users",
        {"user_id": [1, 2], "age": [30, None], "score": [0.5, 1.5], "tags": tags, "event_timestamp": when},
    )
    project.write_online(
        "items", {"item_id": ["a", "b"], "score": [7.0, 8.0], "title": ["A", ""], "event_timestamp": when}
    )
    project.write_online(
        "pairs", {"user_id": [1], "item_id": ["a"], "seen": [3], "event_timestamp": when[:1]}
    )
    project.write_online(
        "places", {"place_id": [1, 2, 3], "temperature": [10, 20, 30], "event_timestamp": stamps(1, 1, 1)}
    )
    project.write_online("everybody", {"rides": [99], "event_timestamp": when[:1]})
    return project


def test_rows_come_back_in_the_order_asked_with_repetitions(filled: Project) -> None:
    answer = filled.online(
        ["items:title", "items:score"], [{"item_id": one} for one in ("b", "a", "zz", "b", "a")]
    )
    assert answer == {
        "item_id": ["b", "a", "zz", "b", "a"],
        "title": ["", "A", None, "", "A"],
        "score": [8.0, 7.0, None, 8.0, 7.0],
    }


def test_columns_come_back_in_the_order_of_the_views_after_the_join_keys(filled: Project) -> None:
    features = ["items:title", "users:tags", "users:age", "pairs:seen"]
    answer = filled.online(features, [{"item_id": "a", "user_id": 1}, {"item_id": "b", "user_id": 2}])
    names = list(answer)
    assert names[:3] == ["item_id", "user_id", "title"]
    assert names[5:] == ["seen"]  # Feast keeps the features of one view in a set
    assert answer["tags"] == [["x", ""], []]
    assert answer["age"] == [30, None]
    assert answer["seen"] == [3, None]


def test_one_view_asked_in_two_places_is_one_group(filled: Project) -> None:
    answer = filled.online(["users:age", "items:title", "users:tags"], [{"user_id": 1, "item_id": "a"}])
    assert {name: column[0] for name, column in answer.items()} == {
        "user_id": 1,
        "item_id": "a",
        "age": 30,
        "title": "A",
        "tags": ["x", ""],
    }


def test_equal_names_of_two_views_collide_unless_full(filled: Project) -> None:
    features, rows = ["users:score", "items:score"], [{"user_id": 1, "item_id": "a"}]
    with pytest.raises(FeatureNameCollisionError):
        filled.online(features, rows)
    answer = filled.online(features, rows, full_feature_names=True)
    assert answer == {"user_id": [1], "item_id": ["a"], "users__score": [0.5], "items__score": [7.0]}


def test_entities_may_come_as_columns(filled: Project) -> None:
    assert filled.online(["users:score"], {"user_id": [2, 1]})["score"] == [1.5, 0.5]


def test_the_name_of_an_entity_may_stand_for_its_join_key(filled: Project) -> None:
    assert filled.online(["places:temperature"], [{"place": 2}])["temperature"] == [20]
    assert filled.online(["places:temperature"], [{"place_id": 2}])["temperature"] == [20]


def test_a_view_without_entity_answers_every_row(filled: Project) -> None:
    if filled.side is STOCK:
        pytest.xfail("Feast writes a frame without entity under another key than it reads")
    answer = filled.online(
        ["everybody:rides", "users:score"], [{"user_id": 1}, {"user_id": 2}, {"user_id": 5}]
    )
    assert answer == {"user_id": [1, 2, 5], "rides": [99, 99, 99], "score": [0.5, 1.5, None]}


def test_a_view_without_entity_alone_answers_one_row(filled: Project) -> None:
    if filled.side is STOCK:
        pytest.xfail("Feast writes a frame without entity under another key than it reads")
    assert filled.online(["everybody:rides"], [{"user_id": 1}])["rides"] == [99]


@pytest.mark.parametrize("asked", [["nobody:age"], ["users:nothing"]])
def test_an_unknown_name_is_an_error(filled: Project, asked: list[str]) -> None:
    with pytest.raises((FeatureViewNotFoundException, KeyError, ValueError)):
        filled.online(asked, [{"user_id": 1}])


def test_a_missing_join_key_is_an_error(filled: Project) -> None:
    with pytest.raises((KeyError, ValueError)):
        filled.online(["users:age"], [{"item_id": "a"}])


def test_no_rows_asked_are_no_rows_answered_in_every_column(filled: Project) -> None:
    if filled.side is STOCK:
        pytest.xfail("Feast 0.67 fails on a request without rows; later versions answer empty columns")
    features = ["users:age", "pairs:seen", "everybody:rides"]
    empty = {"user_id": [], "item_id": [], "age": [], "seen": [], "rides": []}
    assert filled.online(features, {"user_id": [], "item_id": []}) == empty
    with pytest.raises(KeyError):
        filled.online(features, [])


def test_every_value_of_a_row_carries_the_event_time_of_its_row(filled: Project) -> None:
    response = filled.ask(["users:age", "items:title"], [{"user_id": 1, "item_id": "b"}])
    assert event_times(response, "age") == [NOW - timedelta(hours=2)]
    assert event_times(response, "title") == [NOW - timedelta(hours=1)]
    seconds = response.to_df(include_event_timestamps=True)["age__ts"]
    assert list(seconds) == [int((NOW - timedelta(hours=2)).timestamp())]


def test_a_value_that_is_there_is_present(filled: Project) -> None:
    response = filled.ask(["users:score", "users:age"], [{"user_id": 1}])
    assert statuses(response, "score") == ["PRESENT"]
    assert statuses(response, "age") == ["PRESENT"]


def test_a_missing_row_is_not_found_and_a_null_is_a_null(filled: Project) -> None:
    response = filled.ask(["users:age"], [{"user_id": 5}, {"user_id": 2}])
    assert response.to_dict()["age"] == [None, None]
    if filled.side is STOCK:
        pytest.xfail("the stock store calls a missing row PRESENT (wrong behaviour 3)")
    assert statuses(response, "age") == ["NOT_FOUND", "NULL_VALUE"]


def test_a_row_past_its_ttl_is_outside_its_maximum_age(project: Project) -> None:
    old = view("old", [USER], source("unused.parquet"), {"age": Int32}, ttl=timedelta(hours=1))
    project.apply(USER, old)
    project.write_online("old", {"user_id": [1, 2], "age": [3, 4], "event_timestamp": stamps(0.5, 1.1)})
    response = project.ask(["old:age"], [{"user_id": 1}, {"user_id": 2}])
    if project.side is STOCK:
        pytest.xfail("the stock store ignores a view's ttl online (wrong behaviour 2)")
    assert response.to_dict()["age"] == [3, None]
    assert statuses(response, "age") == ["PRESENT", "OUTSIDE_MAX_AGE"]
    assert event_times(response, "age") == [NOW - timedelta(hours=0.5), NOW - timedelta(hours=1.1)]


@pytest.mark.parametrize("ttl", [None, timedelta(0)], ids=str)
def test_without_ttl_a_row_of_any_age_is_served(project: Project, ttl: timedelta | None) -> None:
    project.apply(USER, view("old", [USER], source("unused.parquet"), {"age": Int32}, ttl=ttl))
    project.write_online(
        "old", {"user_id": [1], "age": [3], "event_timestamp": [pd.Timestamp("1999-01-01", tz="UTC")]}
    )
    assert project.online(["old:age"], [{"user_id": 1}])["age"] == [3]


def service_of(project: Project, *features: Any, name: str = "service") -> FeatureService:
    made = FeatureService(name=name, features=list(features))
    project.apply(made)
    return project.store.get_feature_service(name)


def test_a_feature_service_answers_its_projections(filled: Project) -> None:
    users, items = (filled.store.get_feature_view(name) for name in ("users", "items"))
    service = service_of(filled, items[["title"]], users[["tags", "age"]])
    answer = filled.online(service, [{"user_id": 1, "item_id": "b"}])
    assert answer == {"user_id": [1], "item_id": ["b"], "title": [""], "tags": [["x", ""]], "age": [30]}


@pytest.mark.parametrize("asked", ["full", "plain"])
def test_one_view_under_two_aliases_is_read_by_each_key(filled: Project, asked: str) -> None:
    places = filled.store.get_feature_view("places")
    service = service_of(
        filled,
        places.with_name("origin").with_join_key_map({"place_id": "origin_id"}),
        places.with_name("destination").with_join_key_map({"place_id": "destination_id"}),
    )
    rows = [{"origin_id": 1, "destination_id": 2}, {"origin_id": 3, "destination_id": 9}]
    if asked == "plain":
        with pytest.raises(FeatureNameCollisionError):
            filled.online(service, rows)
        return
    assert filled.online(service, rows, full_feature_names=True) == {
        "origin_id": [1, 3],
        "destination_id": [2, 9],
        "origin__temperature": [10, 30],
        "destination__temperature": [20, None],
    }


def test_a_pair_may_be_mapped_and_named_anew(filled: Project) -> None:
    pairs = filled.store.get_feature_view("pairs")
    service = service_of(
        filled, pairs.with_name("watched").with_join_key_map({"user_id": "viewer", "item_id": "film"})
    )
    answer = filled.online(
        service, [{"film": "a", "viewer": 1}, {"film": "a", "viewer": 2}], full_feature_names=True
    )
    assert answer == {"film": ["a", "a"], "viewer": [1, 2], "watched__seen": [3, None]}


def test_a_service_with_precomputed_vectors_answers_the_same(filled: Project) -> None:
    users = filled.store.get_feature_view("users")
    filled.apply(FeatureService(name="fast", features=[users[["score", "age"]]], precompute_online=True))
    filled.write_online(
        "users", {"user_id": [1], "age": [31], "score": [0.25], "tags": [["y"]], "event_timestamp": stamps(0)}
    )
    filled.store.precompute_feature_service("fast")
    service = filled.store.get_feature_service("fast")
    assert filled.online(service, [{"user_id": 1}], full_feature_names=True) == {
        "user_id": [1],
        "users__score": [0.25],
        "users__age": [31],
    }


def test_the_same_is_answered_asynchronously_in_one_event_loop_after_another(filled: Project) -> None:
    features, rows = ["users:age", "items:title", "pairs:seen"], [{"user_id": 1, "item_id": "a"}]
    expected = filled.ask(features, rows).proto

    async def ask() -> Any:
        return (await filled.store.get_online_features_async(features, rows)).proto

    for _ in range(2):
        if filled.side is STOCK and _:
            pytest.xfail("the stock store's async client outlives its event loop")
        assert asyncio.run(ask()) == expected


def test_initialize_and_close_bracket_asynchronous_use(filled: Project) -> None:
    async def ask() -> Any:
        await filled.store.initialize()
        try:
            answers = await asyncio.gather(
                *(
                    filled.store.get_online_features_async(["users:score"], [{"user_id": 1}])
                    for _ in range(20)
                )
            )
        finally:
            await filled.store.close()
        return [answer.to_dict()["score"] for answer in answers]

    assert asyncio.run(ask()) == [[0.5]] * 20


def sum_up_frame(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"total": inputs["score"] + inputs["bonus"]})


def sum_up_lists(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"total": [score + bonus for score, bonus in zip(inputs["score"], inputs["bonus"])]}  # noqa: B905


def sum_up_one(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"total": inputs["score"] + inputs["bonus"]}


SUMS = {
    "pandas": (sum_up_frame, "pandas"),
    "python": (sum_up_lists, "python"),
    "singleton": (sum_up_one, "python"),
}
BONUS = RequestSource(name="asked", schema=[Field(name="bonus", dtype=Float64)])


@pytest.mark.parametrize("way", SUMS)
def test_an_on_demand_view_computes_on_what_was_read(filled: Project, way: str) -> None:
    function, mode = SUMS[way]
    function = FunctionType(
        function.__code__, globals(), function.__name__
    )  # Feast changes the one it is given
    sources, schema = [filled.store.get_feature_view("users"), BONUS], [Field(name="total", dtype=Float64)]
    make = on_demand_feature_view(sources=sources, schema=schema, mode=mode, singleton=way == "singleton")
    filled.apply(made := make(function))
    rows = [{"user_id": 2, "bonus": 10.0}, {"user_id": 1, "bonus": 1.0}]
    if way == "singleton":
        assert filled.online([f"{made.name}:total"], rows[:1])["total"] == [11.5]
        return
    assert filled.online([f"{made.name}:total"], rows) == {"user_id": [2, 1], "total": [11.5, 1.5]}
    if way == "pandas":
        both = filled.online(["users:age", f"{made.name}:total"], rows, full_feature_names=True)
        assert both == {"user_id": [2, 1], "users__age": [None, 30], f"{made.name}__total": [11.5, 1.5]}


def test_many_asynchronous_requests_at_once_do_not_starve_each_other(project: Project) -> None:
    wide = {f"f{number}": Float32 for number in range(100)}
    project.apply(USER, view("wide", [USER], source("unused.parquet"), wide))
    columns = {name: [0.5] * 300 for name in wide}
    project.write_online("wide", {"user_id": range(300), **columns, "event_timestamp": stamps(*[1] * 300)})
    features, rows = [f"wide:{name}" for name in wide], [{"user_id": number} for number in range(300)]

    async def ask() -> list[Any]:
        requests = [project.store.get_online_features_async(features, rows) for _ in range(10)]
        return [answer.to_dict()["f99"] for answer in await asyncio.gather(*requests)]

    assert asyncio.run(ask()) == [[0.5] * 300] * 10


def test_the_whole_response_is_alike_on_both(redis_url: str, tmp_path: Path) -> None:
    protos = []
    for side in SIDES:
        project = Project(side, tmp_path / side.name, redis_url)
        users = view("users", [USER], source("unused.parquet"), {"age": Int32, "score": Float32})
        project.apply(USER, users)
        project.write_online(
            "users", {"user_id": [1, 2], "age": [1, 2], "score": [0.5, 0.25], "event_timestamp": stamps(1, 2)}
        )
        rows = [{"user_id": 2}, {"user_id": 1}, {"user_id": 2}]
        protos.append(project.ask(["users:score", "users:age"], rows).proto)
    assert protos[0] == protos[1]


def test_reading_no_keys_and_no_features_is_possible(project: Project) -> None:
    users = view("users", [USER], source("unused.parquet"), {"age": Int32})
    online, config = project.store.provider.online_store, project.store.config
    someone = key(user_id=Value(int64_val=1))
    assert online.online_read(config, users, [], ["age"]) == []
    online.online_write_batch(config, users, [], None)
    online.online_write_batch(config, users, [(someone, {"age": Value(int32_val=4)}, NOW, NOW)], None)
    if project.side is STOCK:
        pytest.xfail("the stock store fails when no features are named")
    ((when, found),) = online.online_read(config, users, [someone])
    assert when == NOW
    assert found == {"age": Value(int32_val=4)}
