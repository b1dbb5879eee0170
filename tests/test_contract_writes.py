"""What Feast promises of online writes holds on the stock store and on ours: order, schemas, deletion, versions."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from contract_world import NOW, OURS, SIDES, STOCK, Project, entity, event_times, key, source, stamps, view
from feast import FeatureService, FeatureView, Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Float64, Int64, String

USER, ITEM = entity("user_id"), entity("item_id", String)
NOWHERE = source("unused.parquet")


@pytest.fixture(params=SIDES, ids=str)
def project(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Project:
    return Project(request.param, tmp_path / "project", redis_url)


@pytest.fixture
def users(project: Project) -> Callable[..., None]:
    """Writes rows of a view `users` with the features `age` and `name`."""
    project.apply(USER, view("users", [USER], NOWHERE, {"age": Int64, "name": String}))

    def write(ids: list[int], ages: list[Any], when: list[Any]) -> None:
        names = [f"named {age}" for age in ages]
        project.write_online("users", {"user_id": ids, "age": ages, "name": names, "event_timestamp": when})

    return write


def ages(project: Project, *ids: int, view_name: str = "users") -> list[Any]:
    return project.online([f"{view_name}:age"], [{"user_id": one} for one in ids])["age"]


def test_of_one_key_twice_in_a_batch_the_newest_row_stays(
    project: Project, users: Callable[..., None]
) -> None:
    users([1, 2, 1, 2, 1], [10, 20, 11, 21, 12], stamps(3, 1, 1, 3, 2))
    assert ages(project, 1, 2) == [11, 20]


def test_a_late_older_row_changes_nothing(project: Project, users: Callable[..., None]) -> None:
    users([1], [10], stamps(1))
    users([1], [9], stamps(2))
    assert ages(project, 1) == [10]
    users([1], [11], stamps(0))
    assert ages(project, 1) == [11]


def test_a_correction_at_the_same_event_time_is_applied(project: Project, users: Callable[..., None]) -> None:
    users([1], [10], stamps(1))
    users([1], [11], stamps(1))
    if project.side is STOCK:
        pytest.xfail("the stock store never applies a correction (wrong behaviour 5)")
    assert ages(project, 1) == [11]


@pytest.mark.parametrize(
    "when",
    [
        datetime(2026, 1, 2, 3, 4, 5, 678901),
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5))),
        pd.Timestamp("2026-01-02 03:04:05.678901234"),
        pd.Timestamp("2026-01-02 03:04:05.678901234", tz="America/New_York"),
        datetime(1969, 7, 20, tzinfo=timezone.utc),  # noqa: UP017
    ],
    ids=["naive", "aware", "nanoseconds", "zone", "before 1970"],
)
def test_event_times_of_any_kind_mean_the_same_instant(
    project: Project, users: Callable[..., None], when: Any
) -> None:
    users([1], [10], [when])
    response = project.ask(["users:age"], [{"user_id": 1}])
    expected = pd.Timestamp(when)
    expected = expected.tz_localize("UTC") if expected.tzinfo is None else expected
    assert response.to_dict()["age"] == [10]
    assert event_times(response, "age") == [expected.floor("us").to_pydatetime()]


def test_nulls_overwrite_values(project: Project, users: Callable[..., None]) -> None:
    users([1, 2], [10, 20], stamps(2, 2))
    frame = pd.DataFrame({"user_id": [1, 2], "age": pd.array([None, 5], "Int64"), "name": ["x", None]})
    project.write_online("users", frame.assign(event_timestamp=stamps(1, 1)))
    answer = project.online(["users:age", "users:name"], [{"user_id": 1}, {"user_id": 2}])
    assert answer == {"user_id": [1, 2], "age": [None, 5], "name": ["x", None]}


def test_an_empty_frame_writes_nothing(project: Project, users: Callable[..., None]) -> None:
    users([], [], [])
    assert ages(project, 1) == [None]


@pytest.mark.usefixtures("users")
def test_rows_may_be_given_as_inputs(project: Project) -> None:
    inputs = {"user_id": [1], "age": [3], "name": ["ann"], "event_timestamp": stamps(1)}
    project.store.write_to_online_store("users", inputs=inputs)
    assert ages(project, 1) == [3]


@pytest.mark.usefixtures("users")
def test_asynchronous_writes_are_read_by_synchronous_reads(project: Project) -> None:
    def frame(age: int, hours: float) -> pd.DataFrame:
        return pd.DataFrame({"user_id": [1], "age": [age], "name": ["x"], "event_timestamp": stamps(hours)})

    async def write() -> None:
        await project.store.write_to_online_store_async("users", frame(4, 1))
        await project.store.write_to_online_store_async("users", frame(3, 2))

    asyncio.run(write())
    assert ages(project, 1) == [4]


def test_three_hundred_features_with_names_that_need_quotes(project: Project) -> None:
    odd = ["select", "My Feature", "a-b", "ünï", "x.y", 'quo"te', "tick'", "Age", "age", "a%b", "1st"]
    names = [*odd, *(f"f{number}" for number in range(289))]
    project.apply(USER, view("wide", [USER], NOWHERE, dict.fromkeys(names, Float32)))
    columns = {name: [float(place)] for place, name in enumerate(names)}
    project.write_online("wide", {"user_id": [1], **columns, "event_timestamp": stamps(1)})
    answer = project.online([f"wide:{name}" for name in reversed(names)], [{"user_id": 1}])
    assert [answer[name][0] for name in names] == [float(place) for place in range(300)]


@pytest.mark.parametrize("name", ["ünï", "x" * 200, "A", "1"])
def test_projects_of_any_name_that_feast_permits_are_kept_apart(
    redis_url: str, tmp_path: Path, name: str
) -> None:
    pair = [
        Project(OURS, tmp_path / str(no), redis_url, changes={"project": one})
        for no, one in enumerate((name, name + "x"))
    ]
    for place, project in enumerate(pair):
        project.apply(
            USER, *(view(one, [USER], NOWHERE, {"age": Int64}) for one in ("v", "vv", "v_v", "v_v1"))
        )
        for number, one in enumerate(("v", "vv", "v_v", "v_v1")):
            project.write_online(
                one, {"user_id": [1], "age": [10 * place + number], "event_timestamp": stamps(1)}
            )
    for place, project in enumerate(pair):
        assert [ages(project, 1, view_name=one) for one in ("v", "vv", "v_v", "v_v1")] == [
            [10 * place + number] for number in range(4)
        ]


VIEWS = ("stats", "stats_day", "day_stats", "stat")


def test_deleting_one_view_leaves_the_others(project: Project) -> None:
    views = {name: view(name, [USER], NOWHERE, {"age": Int64}) for name in VIEWS}
    views["pairs"] = view("pairs", [USER, ITEM], NOWHERE, {"age": Int64})
    project.apply(USER, ITEM, *views.values())
    for name in VIEWS:
        project.write_online(name, {"user_id": [1, 2], "age": [1, 2], "event_timestamp": stamps(1, 1)})
    project.write_online(
        "pairs", {"user_id": [1], "item_id": ["a"], "age": [7], "event_timestamp": stamps(1)}
    )
    project.apply(objects_to_delete=[views["stats"]], partial=False)
    assert [one.name for one in project.store.list_feature_views() if one.name == "stats"] == []
    for name in VIEWS[1:]:
        assert ages(project, 1, 2, view_name=name) == [1, 2]
    assert project.online(["pairs:age"], [{"user_id": 1, "item_id": "a"}])["age"] == [7]
    project.apply(view("stats", [USER], NOWHERE, {"age": Int64}))
    assert ages(project, 1, 2, view_name="stats") == [None, None]


def test_deleting_the_view_of_pairs_leaves_its_neighbours(project: Project) -> None:
    pairs, others = (view(name, [USER, ITEM], NOWHERE, {"age": Int64}) for name in ("pairs", "more_pairs"))
    project.apply(USER, ITEM, pairs, others)
    for name in ("pairs", "more_pairs"):
        columns = {
            "user_id": [1, 1, 2],
            "item_id": ["a", "b", "a"],
            "age": [1, 2, 3],
            "event_timestamp": stamps(1, 1, 1),
        }
        project.write_online(name, columns)
    asked = [{"user_id": 1, "item_id": "b"}, {"user_id": 2, "item_id": "a"}]
    project.apply(objects_to_delete=[pairs], partial=False)
    assert project.online(["more_pairs:age"], asked)["age"] == [2, 3]
    project.apply(view("pairs", [USER, ITEM], NOWHERE, {"age": Int64}))
    assert project.online(["pairs:age"], asked)["age"] == [None, None]


@pytest.mark.parametrize("names", [("rank", "prerank"), ("rank", "rank2"), ("a", "b")], ids="-".join)
def test_tearing_down_one_project_leaves_the_other(
    redis_url: str, tmp_path: Path, names: tuple[str, str]
) -> None:
    for side in SIDES:
        first, second = (
            Project(side, tmp_path / side.name / name, redis_url, changes={"project": name}) for name in names
        )
        for one in (first, second):
            one.apply(USER, view("users", [USER], NOWHERE, {"age": Int64}))
            one.write_online("users", {"user_id": [1], "age": [5], "event_timestamp": stamps(1)})
        first.store.teardown()
        if side is STOCK and names == ("rank", "prerank"):
            assert ages(second, 1) == [None], "wrong behaviour 6 is gone"
            continue
        assert ages(second, 1) == [5]
        first.apply(USER, view("users", [USER], NOWHERE, {"age": Int64}))
        assert ages(first, 1) == [None]


def test_rows_written_before_a_column_was_added_keep_the_others(
    project: Project, users: Callable[..., None]
) -> None:
    users([1], [10], stamps(2))
    project.apply(view("users", [USER], NOWHERE, {"age": Int64, "tags": Array(String), "name": String}))
    answer = project.online(["users:tags", "users:age", "users:name"], [{"user_id": 1}])
    assert answer == {"user_id": [1], "tags": [None], "age": [10], "name": ["named 10"]}
    columns = {"user_id": [1], "age": [11], "name": ["n"], "tags": [["x"]], "event_timestamp": stamps(1)}
    project.write_online("users", columns)
    assert project.online(["users:tags", "users:age"], [{"user_id": 1}])["tags"] == [["x"]]


def test_rows_written_before_a_column_was_removed_keep_the_others(
    project: Project, users: Callable[..., None]
) -> None:
    users([1], [10], stamps(2))
    project.apply(view("users", [USER], NOWHERE, {"name": String}))
    assert project.online(["users:name"], [{"user_id": 1}])["name"] == ["named 10"]
    project.write_online("users", {"user_id": [2], "name": ["b"], "event_timestamp": stamps(1)})
    assert project.online(["users:name"], [{"user_id": 2}, {"user_id": 1}])["name"] == ["b", "named 10"]


def test_a_column_that_changed_its_type_is_never_misread(
    project: Project, users: Callable[..., None]
) -> None:
    users([1], [10], stamps(2))
    project.apply(view("users", [USER], NOWHERE, {"age": Float64, "name": String}))
    answer = project.online(["users:age", "users:name"], [{"user_id": 1}])
    assert answer["name"] == ["named 10"]
    assert answer["age"] in ([None], [10], [10.0])
    project.write_online("users", {"user_id": [1], "age": [1.5], "name": ["n"], "event_timestamp": stamps(1)})
    assert ages(project, 1) == [1.5]


def test_columns_in_another_order_are_the_same_columns(project: Project, users: Callable[..., None]) -> None:
    users([1], [10], stamps(2))
    project.apply(view("users", [USER], NOWHERE, {"name": String, "age": Int64}))
    assert project.online(["users:age", "users:name"], [{"user_id": 1}]) == {
        "user_id": [1],
        "age": [10],
        "name": ["named 10"],
    }


def test_a_setting_changed_on_the_open_store_counts(project: Project, users: Callable[..., None]) -> None:
    project.store.config.online_store.key_ttl_seconds = 1
    users([1], [10], stamps(0))
    assert ages(project, 1) == [10]
    time.sleep(1.1)
    assert ages(project, 1) == [None]


def direct(**numbers: int) -> FeatureView:
    made = view("stats", [USER], NOWHERE, {"trips": Int64, "rating": Float32}, ttl=timedelta(days=1))
    if "current" in numbers:
        made.current_version_number = numbers["current"]
    if "tag" in numbers:
        made.projection.version_tag = numbers["tag"]
    return made


def test_versions_of_a_view_are_rows_of_their_own(redis_url: str, tmp_path: Path) -> None:
    for side in SIDES:
        versioned = {"enable_online_feature_view_versioning": True}
        project = Project(side, tmp_path / side.name, redis_url, registry=versioned)
        online, config = project.store.provider.online_store, project.store.config
        one = key(user_id=Value(int64_val=1))

        def trips(table: FeatureView) -> Any:
            ((_, found),) = online.online_read(config, table, [one], ["trips"])  # noqa: B023
            return found["trips"].int64_val if found else 0

        for number in (1, 2, 3):
            row = (one, {"trips": Value(int64_val=100 * number)}, NOW, NOW)
            online.online_write_batch(config, direct(current=number), [row], None)
        assert [trips(direct(current=number)) for number in (1, 2, 3, 4)] == [100, 200, 300, 0]
        assert [trips(direct(tag=number)) for number in (1, 2, 3)] == [100, 200, 300]
        assert trips(direct(current=2, tag=3)) == 300
        online.update(config, [direct(current=1)], [direct(current=2)], [], [], False)
        assert [trips(direct(current=number)) for number in (1, 2, 3)] == [0, 200, 300]
        online.teardown(config, [direct(current=2)], [])


def test_a_reference_with_a_version_reads_that_version(
    project: Project, tmp_path: Path, redis_url: str
) -> None:
    versioned = {"enable_online_feature_view_versioning": True}
    project = Project(project.side, tmp_path / "versioned", redis_url, registry=versioned)
    project.apply(USER, view("users", [USER], NOWHERE, {"age": Int64}))
    project.write_online("users", {"user_id": [1], "age": [1], "event_timestamp": stamps(2)})
    project.apply(view("users", [USER], NOWHERE, {"age": Int64, "name": String}))
    project.write_online("users", {"user_id": [1], "age": [2], "name": ["x"], "event_timestamp": stamps(1)})
    numbers = sorted(entry["version_number"] for entry in project.store.list_feature_view_versions("users"))
    assert numbers == [0, 1]
    rows = [{"user_id": 1}]
    newest = project.ask(["users:age"], rows, include_feature_view_version_metadata=True)
    assert newest.to_dict()["age"] == [2]
    assert [(one.name, one.version) for one in newest.proto.metadata.feature_view_metadata] == [("users", 1)]
    assert project.online(["users@v1:age"], rows)["age"] == [2]
    assert project.online(["users@v0:age"], rows)["age"] == [1]
    both = project.online(["users@v0:age", "users@v1:age"], rows, full_feature_names=True)
    assert both == {"user_id": [1], "users@v0__age": [1], "users@v1__age": [2]}


def double_it(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"doubled": inputs["amount"] * 2.0})


def test_an_on_demand_view_may_be_written_and_read(project: Project) -> None:
    asked = RequestSource(name="asked", schema=[Field(name="amount", dtype=Float64)])
    fields = [Field(name="doubled", dtype=Float64), Field(name="user_id", dtype=Int64)]
    make = on_demand_feature_view(
        sources=[asked], schema=fields, mode="pandas", entities=[USER], write_to_online_store=True
    )
    double_it.__module__ = __name__  # Feast changes the function it is given
    project.apply(USER, made := make(double_it))
    frame = pd.DataFrame({"user_id": [1, 2], "amount": [1.5, 2.5], "event_timestamp": stamps(1, 1)})
    project.write_online(made.name, frame)
    answer = project.online([f"{made.name}:doubled"], [{"user_id": 2}, {"user_id": 1}, {"user_id": 3}])
    assert answer["doubled"] == [5.0, 3.0, None]


def test_threads_read_and_write_one_store_at_once(project: Project, users: Callable[..., None]) -> None:
    users(list(range(50)), list(range(50)), stamps(*[1] * 50))

    def work(number: int) -> list[Any]:
        return ages(project, *range(number, number + 10))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == [list(range(one, one + 10)) for one in range(40)]


def test_a_forked_child_reads_and_the_parent_goes_on(project: Project, users: Callable[..., None]) -> None:
    users([1], [10], stamps(1))
    assert ages(project, 1) == [10]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(ages(project, 1)))
    child.start()
    assert answers.get(timeout=20) == [10]
    child.join(10)
    assert ages(project, 1) == [10]


def test_the_configuration_can_be_copied_and_pickled(project: Project, users: Callable[..., None]) -> None:
    users([1], [10], stamps(1))
    config = pickle.loads(pickle.dumps(project.store.config))
    assert config.online_store == project.store.config.online_store
    assert copy.deepcopy(project.store.config).online_store == config.online_store
    assert ages(project, 1) == [10]


def test_numpy_numbers_are_entities_too(project: Project, users: Callable[..., None]) -> None:
    users([1, 2], [10, 20], stamps(1, 1))
    assert project.online(["users:age"], {"user_id": [np.int64(2), np.int32(1)]})["age"] == [20, 10]
    assert project.online(["users:age"], [{"user_id": np.int64(2)}])["age"] == [20]


def test_a_service_reads_what_was_written_after_it_was_made(
    project: Project, users: Callable[..., None]
) -> None:
    service = FeatureService(name="later", features=[project.store.get_feature_view("users")])
    project.apply(service)
    users([1], [10], stamps(1))
    other = Project(project.side, project.folder, project.redis_url)
    assert other.online(other.store.get_feature_service("later"), [{"user_id": 1}])["age"] == [10]
    assert other.store.list_feature_views()[0].name == "users"
