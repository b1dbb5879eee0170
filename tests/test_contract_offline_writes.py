"""Pushes, saved data sets, logs, retrieval by dates, empty and large sources: alike on the stock store and on ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract_world import NOW, SIDES, STOCK, Project, entity, quietly, source, stamps, times, view
from feast import FeatureService, PushSource, StreamFeatureView
from feast.data_source import PushMode
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.types import Float32, Int32, Int64, String

USER, ITEM = entity("user_id"), entity("item_id", String)


@pytest.fixture(params=SIDES, ids=str)
def project(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Project:
    return filled(Project(request.param, tmp_path / "project", redis_url))


@pytest.fixture
def pair(redis_url: str, tmp_path: Path) -> list[Project]:
    return [filled(Project(side, tmp_path / side.name, redis_url)) for side in SIDES]


def filled(project: Project) -> Project:
    columns = {
        "user_id": [1, 2],
        "age": pa.array([30, 40], pa.int32()),
        "name": ["ann", "bob"],
        "event_timestamp": times(10, 9),
        "created": times(10, 9),
    }
    origin = project.write("users", columns, created_timestamp_column="created")
    pushed = PushSource(name="pushed", batch_source=origin)
    features = {"age": Int32, "name": String}
    project.apply(
        USER,
        view("users", [USER], pushed, features, kind=StreamFeatureView),
        view("plain", [USER], origin, features),
    )
    return project


def new_rows(*ids: int, hours: float = 1.0) -> pd.DataFrame:
    """In another order of columns than the source's."""
    when = stamps(*[hours] * len(ids))
    return pd.DataFrame(
        {
            "name": [f"new {one}" for one in ids],
            "age": pd.array([100 + one for one in ids], "int32"),
            "event_timestamp": when,
            "user_id": list(ids),
            "created": when,
        }
    )


def asked(users: list[Any], *hours_ago: float, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"user_id": users, **columns, "event_timestamp": stamps(*hours_ago)})


def both_ages(project: Project) -> tuple[list[Any], list[Any]]:
    """Of users 1 and 3, online and offline."""
    online = project.online(["users:age"], [{"user_id": 1}, {"user_id": 3}])["age"]
    joined = project.historical(asked([1, 3], 0, 0), ["users:age"]).sort_values("user_id")
    return online, [None if pd.isna(one) else int(one) for one in joined["age"]]


ENDS = {
    PushMode.ONLINE: ([101, 103], [30, None]),
    PushMode.OFFLINE: ([None, None], [101, 103]),
    PushMode.ONLINE_AND_OFFLINE: ([101, 103], [101, 103]),
}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["push", "push_async"])
@pytest.mark.parametrize("mode", ENDS)
def test_a_push_ends_where_its_mode_says(project: Project, mode: PushMode, asynchronous: bool) -> None:
    if asynchronous:
        asyncio.run(project.store.push_async("pushed", new_rows(1, 3), to=mode))
    else:
        project.push("pushed", new_rows(1, 3), to=mode)
    assert both_ages(project) == ENDS[mode]


def test_rows_are_appended_to_a_source_again_and_again(pair: list[Project]) -> None:
    def ask(project: Project) -> pd.DataFrame:
        for number in range(3):
            with quietly():
                project.store.write_to_offline_store("plain", new_rows(5, hours=3 - number))
        frame = asked([5, 5, 5, 1], 0.5, 1.5, 2.5, 0)
        return project.historical(frame, ["plain:age", "plain:name"]).sort_values(
            "event_timestamp", ignore_index=True
        )

    stock, ours = (ask(project) for project in pair)
    pd.testing.assert_frame_equal(ours, stock)
    assert ours["age"].tolist() == [105, 105, 105, 30]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda frame: frame.drop(columns=["name"]), "missing_expected_columns: \\['name'\\]"),
        (lambda frame: frame.assign(extra=1), "extra_unexpected_columns: \\['extra'\\]"),
    ],
)
def test_a_frame_of_another_schema_is_refused(
    project: Project, change: Callable[..., Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        project.store.write_to_offline_store("plain", change(new_rows(1)))


def test_a_column_of_the_wrong_type_is_refused_and_the_source_stays(project: Project) -> None:
    with pytest.raises(Exception, match=r"."):
        project.store.write_to_offline_store("plain", new_rows(1).assign(age=["many"]))
    assert project.historical(asked([1], 0), ["plain:age"])["age"].tolist() == [30]


def saved(project: Project, path: Path, **options: Any) -> Any:
    with quietly():
        job = project.store.get_historical_features(
            asked([1, 2, 9], 0, 1, 2, label=[1, 0, 1]), ["plain:age", "plain:name"]
        )
        return project.store.create_saved_dataset(
            from_=job, name="training", storage=SavedDatasetFileStorage(path=str(path)), **options
        )


@pytest.mark.parametrize("place", ["one.parquet", "folder"])
def test_a_saved_data_set_is_what_was_joined(pair: list[Project], place: str) -> None:
    read, keys = [], []
    for project in pair:
        made = saved(project, project.folder / place)
        again = project.store.get_saved_dataset("training")
        assert sorted(made.features) == ["plain:age", "plain:name"]
        keys.append(sorted(made.join_keys))
        assert (made.min_event_timestamp, made.max_event_timestamp) == (NOW - timedelta(hours=2), NOW)
        frames = [one.to_df().sort_values("user_id", ignore_index=True) for one in (made, again)]
        pd.testing.assert_frame_equal(*frames)
        read.append(frames[0])
    assert keys[1] == keys[0]
    pd.testing.assert_frame_equal(read[1][read[0].columns], read[0])


def test_a_saved_data_set_is_not_overwritten_unasked(project: Project) -> None:
    path = project.folder / "one.parquet"
    saved(project, path)
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        saved(project, path)
    saved(project, path, allow_overwrite=True)


@pytest.mark.parametrize("partitioned", [False, True], ids=["flat", "by day"])
@pytest.mark.parametrize("as_path", [False, True], ids=["table", "path"])
def test_logs_of_a_service_are_written_and_read(
    pair: list[Project], as_path: bool, partitioned: bool
) -> None:
    frames = []
    for project in pair[partitioned:]:  # the stock store cannot partition with DuckDB 2
        folder = project.folder / "logs"
        folder.mkdir()
        days = ["__log_date"] if partitioned else None
        destination = FileLoggingDestination(path=str(folder), partition_by=days)
        service = FeatureService(
            name="logged",
            features=[project.store.get_feature_view("plain")],
            logging_config=LoggingConfig(destination=destination),
        )
        project.apply(service)
        schema = FeatureServiceLoggingSource(service, project.store.project).get_schema(
            project.store.registry
        )
        for part in range(2):
            logs: Any = pa.Table.from_pylist(
                [log_row(schema, number) for number in range(3 * part, 3 * part + 3)], schema
            )
            if as_path:
                pq.write_table(logs, project.folder / "logs.parquet")
                logs = project.folder / "logs.parquet"
            project.store.write_logged_features(logs=logs, source=service)
        with quietly():
            job = project.store.provider.retrieve_feature_service_logs(
                feature_service=service,
                start_date=NOW - timedelta(hours=4),
                end_date=NOW,
                config=project.store.config,
                registry=project.store.registry,
            )
        frames.append(job.to_df().sort_values("plain__age", ignore_index=True))
    stock, ours = frames[0], frames[-1]
    assert ours["plain__age"].tolist() == [0, 1, 2, 3, 4]
    pd.testing.assert_frame_equal(ours[sorted(ours)], stock[sorted(stock)], check_dtype=False)


def log_row(schema: pa.Schema, number: int) -> dict[str, Any]:
    when = NOW - timedelta(hours=number)
    special = {"__log_timestamp": when, "__log_date": when.date(), "__request_id": f"request {number}"}
    row = {"user_id": number, "plain__age": number, "plain__name": None if number == 2 else "x"}
    stamped = {name: when for name in schema.names if name.endswith("__timestamp")}
    return {name: 1 for name in schema.names if name.endswith("__status")} | stamped | row | special


def test_dates_alone_ask_for_every_entity_as_of_the_end(project: Project) -> None:
    if project.side is STOCK:
        pytest.xfail("the stock DuckDB store of Feast 0.67 needs a frame")
    with quietly():
        project.store.write_to_offline_store("plain", new_rows(1, 7, hours=2))
    options = {"start_date": NOW - timedelta(days=2), "end_date": NOW - timedelta(hours=1)}
    found = project.historical(None, ["plain:age", "plain:name"], **options)
    assert set(found.columns) == {"user_id", "event_timestamp", "age", "name"}
    assert dict(zip(found["user_id"], found["age"], strict=True)) == {1: 101, 2: 40, 7: 107}
    assert found["event_timestamp"].between(*options.values()).all()


def test_a_source_without_rows_joins_nulls(pair: list[Project]) -> None:
    def ask(project: Project) -> pd.DataFrame:
        columns = {
            "user_id": pa.array([], pa.int64()),
            "age": pa.array([], pa.int32()),
            "event_timestamp": times(),
        }
        project.apply(view("empty", [USER], project.write("empty", columns), {"age": Int32}))
        return project.historical(asked([1, 2], 0, 0), ["empty:age", "plain:name"])

    stock, ours = (ask(project).sort_values("user_id", ignore_index=True) for project in pair)
    assert ours["age"].isna().all()
    assert ours["name"].tolist() == ["ann", "bob"]
    assert list(ours.columns) == list(stock.columns)


def test_a_frame_without_rows_is_answered_without_rows(project: Project) -> None:
    if project.side is STOCK:
        pytest.xfail("the stock store takes the least time of no rows")
    frame = asked([1], 0).iloc[:0]
    joined = project.historical(frame, ["plain:age"])
    assert list(joined.columns) == ["user_id", "event_timestamp", "age"]
    assert len(joined) == 0


def test_a_query_may_name_the_entities(project: Project) -> None:
    if project.side is STOCK:
        pytest.xfail("the stock DuckDB store takes frames only")
    rows = f"SELECT * FROM '{project.folder}/users.parquet'"
    query = f"SELECT user_id, event_timestamp + INTERVAL 1 HOUR AS event_timestamp FROM ({rows})"
    joined = project.historical(query, ["plain:age"])
    assert joined["age"].tolist() == [30, 40]


def test_more_rows_than_one_record_batch_are_joined(pair: list[Project]) -> None:
    count = 140_000

    def ask(project: Project) -> pd.DataFrame:
        when = pa.array([NOW - timedelta(hours=3)] * count, pa.timestamp("us", "UTC"))
        columns = {
            "user_id": range(count),
            "value": pa.array(range(count), pa.float32()),
            "event_timestamp": when,
        }
        project.apply(view("many", [USER], project.write("many", columns)))
        frame = pd.DataFrame({"user_id": range(count), "event_timestamp": pd.Timestamp(NOW)})
        return project.historical(frame, ["many:value"]).sort_values("user_id", ignore_index=True)

    stock, ours = (ask(project) for project in pair)
    assert ours["value"].astype(int).tolist() == list(range(count))
    pd.testing.assert_frame_equal(ours, stock)


def test_a_job_can_be_asked_for_every_form_of_its_result(project: Project) -> None:
    with quietly():
        job = project.store.get_historical_features(asked([1, 2], 0, 0), ["plain:age"])
    frame, table = job.to_df(), job.to_arrow()
    assert table.num_rows == len(frame) == 2
    assert sorted(table["age"].to_pylist()) == sorted(frame["age"]) == [30, 40]
    assert job.metadata.features == ["plain:age"]
    assert job.metadata.keys == ["user_id"]
    assert job.metadata.min_event_timestamp == job.metadata.max_event_timestamp == NOW
    assert job.full_feature_names is False
    assert job.on_demand_feature_views == []


def test_paths_may_be_relative_to_the_repository(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder if project.side is STOCK else os.sep)
    relative = source("users.parquet", name="relative", created_timestamp_column="created")
    project.apply(view("near", [USER], relative, {"age": Int32}))
    assert project.historical(asked([1], 0), ["near:age"])["age"].tolist() == [30]


def test_odd_names_of_columns_are_joined(pair: list[Project]) -> None:
    odd = [
        "select",
        "My Feature",
        "a-b",
        "ünï",
        "x.y",
        "tick'",
        "a%b",
        "1st",
        "value",
        "row_id",
    ]

    def ask(project: Project) -> pd.DataFrame:
        columns = {name: pa.array([float(place)], pa.float32()) for place, name in enumerate(odd)}
        made = project.write("odd", {"user_id": [1], **columns, "event_timestamp": times(3)})
        project.apply(view("odd", [USER], made, dict.fromkeys(odd, Float32)))
        return project.historical(asked([1], 0), [f"odd:{name}" for name in odd])

    stock, ours = (ask(project) for project in pair)
    assert ours.iloc[0, 2:].tolist() == [float(place) for place in range(len(odd))]
    pd.testing.assert_frame_equal(ours, stock)


def test_views_of_different_entities_and_types_of_keys_join_in_one_request(pair: list[Project]) -> None:
    def ask(project: Project) -> pd.DataFrame:
        items = project.write(
            "items", {"item_id": ["a", "1"], "price": [1, 2], "event_timestamp": times(5, 5)}
        )
        pairs = {
            "user_id": [1, 1, 11],
            "item_id": ["1", "11", "1"],
            "seen": [1, 2, 3],
            "event_timestamp": times(5, 5, 5),
        }
        project.apply(
            ITEM,
            view("items", [ITEM], items, {"price": Int64}),
            view("pairs", [USER, ITEM], project.write("pairs", pairs), {"seen": Int64}),
        )
        frame = asked([1, 1, 11, 2], 0, 0, 0, 0, item_id=["1", "11", "1", "a"])
        features = ["pairs:seen", "items:price", "users:age"]
        return project.historical(frame, features).sort_values(["user_id", "item_id"], ignore_index=True)

    stock, ours = (ask(project) for project in pair)
    assert ours["seen"].tolist()[:2] == [1, 2]
    pd.testing.assert_frame_equal(ours, stock)
