"""The batch engine against Feast's local one: the same definitions, the same files, the same answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from engine_world import (
    END,
    OWN,
    START,
    apply,
    instants,
    key,
    materialize,
    open_project,
    served,
    source,
    view,
)
from feast import FeatureStore
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, Json, Map, String, UnixTimestamp
from feast.value_type import ValueType

from feature_repo.errors import FeatureError, OnlineStoreError, SettingError
from materialization.data_plane.batch_engine import PackedBatchEngine
from materialization.private_redis import PrivateRedis, private_redis

USER, ITEM = key("user_id"), key("item_id", ValueType.STRING)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[PrivateRedis]:
    with private_redis() as server:
        yield server


def both(
    tmp_path: Path, server: PrivateRedis, declared: Any, entities: list[Any], **options: Any
) -> tuple[FeatureStore, FeatureStore]:
    """The same view materialized by our engine and by Feast's, in projects of their own."""
    name = tmp_path.name
    own = open_project(tmp_path / "own", server.port, project=f"own_{name}", **options)
    stock = open_project(tmp_path / "stock", server.port, project=f"stock_{name}", engine="local", **options)
    for store in (own, stock):
        apply(store, *entities, declared)
        materialize(store)
    assert isinstance(own._get_provider().batch_engine, PackedBatchEngine)
    return own, stock


def test_the_newest_row_of_each_entity_wins_as_with_the_local_engine(
    tmp_path: Path, redis_server: PrivateRedis
) -> None:
    origin = source(
        tmp_path,
        "users",
        {
            "user_id": pa.array([1, 1, 2, 2, 3, 4, 5]),
            "x": pa.array([1.0, 2.0, math.nan, 3.0, None, 5.0, 6.0], pa.float32()),
            "event_timestamp": instants(
                "2024-01-05", "2024-01-06", "2024-01-07", "2024-01-07", "2024-01-01", "2024-03-01",
                "2024-03-01T00:00:01",
            ),
            "created": instants(*["2024-01-08"] * 3, "2024-01-09", *["2024-01-08"] * 3),
        },
    )  # fmt: skip
    own, stock = both(tmp_path, redis_server, view("users", [USER], origin), [USER])
    rows = [{"user_id": user} for user in (1, 2, 3, 4, 5)]
    answers = served(own, "users", rows)
    assert answers == served(stock, "users", rows)
    assert [answer["x"][0] for answer in answers] == [2.0, 3.0, None, 5.0, None]


def test_pairs_field_mappings_and_missing_created_times_are_as_with_the_local_engine(
    tmp_path: Path, redis_server: PrivateRedis
) -> None:
    origin = source(
        tmp_path,
        "pairs",
        {
            "uid": pa.array([1, 1, 12]),
            "iid": pa.array(["a", "b|", ""]),
            "raw": pa.array([1, 2, 3]),
            "at": instants("2024-01-05", "2024-01-06", "2024-01-07", kind=pa.timestamp("ms")),
        },
        timestamp_field="at",
        field_mapping={"uid": "user_id", "iid": "item_id", "raw": "x"},
    )
    own, stock = both(tmp_path, redis_server, view("pairs", [USER, ITEM], origin), [USER, ITEM])
    rows = [{"user_id": u, "item_id": i} for u, i in [(1, "a"), (1, "b|"), (12, ""), (1, ""), (12, "a")]]
    answers = served(own, "pairs", rows)
    assert answers == served(stock, "pairs", rows)
    assert [answer["x"][0] for answer in answers] == [1.0, 2.0, 3.0, None, None]


def test_a_view_without_entities_has_one_row(tmp_path: Path, redis_server: PrivateRedis) -> None:
    columns = {"x": pa.array([1.0, 2.0]), "event_timestamp": instants("2024-01-05", "2024-01-06")}
    own, stock = both(tmp_path, redis_server, view("all_users", [], source(tmp_path, "all", columns)), [])
    answers = served(own, "all_users", [{"__dummy_id": ""}])
    assert answers == served(stock, "all_users", [{"__dummy_id": ""}])
    assert answers[0]["x"][0] == 2.0


def test_columns_of_every_kind_are_as_with_the_local_engine(
    tmp_path: Path, redis_server: PrivateRedis
) -> None:
    origin = source(
        tmp_path,
        "kinds",
        {
            "user_id": pa.array([1, 2]),
            "f64": pa.array([0.1, None]),
            "i32": pa.array([2**31 - 1, None], pa.int64()),
            "i64": pa.array([2**53 + 1, -1]),
            "flag": pa.array([True, None]),
            "text": pa.array(["né", None]),
            "raw": pa.array([b"\x00", b""]),
            "when": instants("2024-01-01T10:00", "2024-01-02", kind=pa.timestamp("ns")),
            "numbers": pa.array([[1.5, 2.5], []], pa.list_(pa.float32())),
            "words": pa.array([["a", ""], ["b"]]),
            "table": pa.array(['{"a": 1}', None]),
            "document": pa.array(['{"a": [1]}', "[]"]),
            "event_timestamp": instants("2024-01-05", "2024-01-06", kind=pa.timestamp("ns", "UTC")),
        },
    )
    features = {
        "f64": Float64, "i32": Int32, "i64": Int64, "flag": Bool, "text": String, "raw": Bytes,
        "when": UnixTimestamp, "numbers": Array(Float32), "words": Array(String), "table": Map, "document": Json,
    }  # fmt: skip
    declared = view("kinds", [USER], origin, features=features)
    own, stock = both(tmp_path, redis_server, declared, [USER])
    rows = [{"user_id": 1}, {"user_id": 2}, {"user_id": 3}]
    assert served(own, "kinds", rows) == served(stock, "kinds", rows)


def test_more_rows_than_one_batch_all_arrive(tmp_path: Path, redis_server: PrivateRedis) -> None:
    count = 2_500
    origin = source(
        tmp_path,
        "many",
        {
            "item_id": pa.array([f"i{number}" for number in range(count)]),
            "x": pa.array(range(count), pa.float32()),
            "event_timestamp": instants(*["2024-01-05"] * count),
        },
    )
    store = open_project(
        tmp_path, redis_server.port, project="many", engine={"type": OWN, "batch_rows": 100, "threads": 1}
    )
    apply(store, ITEM, view("many", [ITEM], origin))
    said = materialize(store)
    answers = served(store, "many", [{"item_id": f"i{number}"} for number in range(count)])
    assert [answer["x"][0] for answer in answers] == list(range(count))
    assert "2500/2500" in said


def test_naive_and_zoned_times_of_any_unit_are_the_same_instants(
    tmp_path: Path, redis_server: PrivateRedis
) -> None:
    kinds = [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"),
             pa.timestamp("us", "Europe/Amsterdam"), pa.timestamp("ns", "UTC"), pa.date32()]  # fmt: skip
    for number, kind in enumerate(kinds):
        columns = {"user_id": pa.array([1]), "x": pa.array([1.0]),
                   "event_timestamp": instants("2024-01-05", kind=kind)}  # fmt: skip
        store = open_project(tmp_path / str(number), redis_server.port, project=f"times_{number}")
        apply(store, USER, view("users", [USER], source(tmp_path / str(number), "users", columns)))
        materialize(store, start=datetime(2024, 1, 5, tzinfo=UTC), end=datetime(2024, 1, 5, tzinfo=UTC))
        (answer,) = served(store, "users", [{"user_id": 1}])
        assert answer["x"][2] == datetime(2024, 1, 5, tzinfo=UTC).timestamp() * 1e6, kind


def test_a_row_without_a_key_is_left_out_and_counted(
    tmp_path: Path, redis_server: PrivateRedis, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"user_id": pa.array([1, None, None]), "x": pa.array([1.0, 2.0, 3.0]),
               "event_timestamp": instants("2024-01-05", "2024-01-05", "2024-01-06")}  # fmt: skip
    store = open_project(tmp_path, redis_server.port, project="keyless")
    apply(store, USER, view("users", [USER], source(tmp_path, "users", columns)))
    materialize(store)
    assert served(store, "users", [{"user_id": 1}])[0]["x"][0] == 1.0
    assert "1 row of users left out" in caplog.text


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"x": pa.array([1.0])}, FeastJoinKeysDuringMaterialization, "user_id"),
        ({"user_id": pa.array([1])}, FeatureError, "no column x"),
        ({"user_id": pa.array([1]), "x": pa.array(["many"])}, FeatureError, "column x is declared FLOAT"),
        (
            {"user_id": pa.array([1.5]), "x": pa.array([1.0])},
            FeatureError,
            "column user_id is declared INT64",
        ),
    ],
    ids=["no key", "no feature", "wrong type", "half a user"],
)
def test_a_source_that_does_not_fit_is_an_error_and_moves_no_watermark(
    tmp_path: Path,
    redis_server: PrivateRedis,
    columns: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    origin = source(tmp_path, "users", {**columns, "event_timestamp": instants("2024-01-05")})
    store = open_project(tmp_path, redis_server.port, project="unfit")
    apply(store, USER, view("users", [USER], origin))
    with pytest.raises(error, match=message):
        materialize(store)
    assert store.get_feature_view("users").materialization_intervals == []


def test_a_redis_that_went_away_is_an_error_and_moves_no_watermark(tmp_path: Path) -> None:
    columns = {"user_id": pa.array([1]), "x": pa.array([1.0]), "event_timestamp": instants("2024-01-05")}
    with private_redis() as server:
        store = open_project(tmp_path, server.port)
        apply(store, USER, view("users", [USER], source(tmp_path, "users", columns)))
    with pytest.raises(OnlineStoreError):
        materialize(store)
    assert store.get_feature_view("users").materialization_intervals == []


def test_a_job_says_how_it_ended(tmp_path: Path, redis_server: PrivateRedis) -> None:
    columns = {"user_id": pa.array([1]), "x": pa.array([1.0]), "event_timestamp": instants("2024-01-05")}
    store = open_project(tmp_path, redis_server.port, project="jobs")
    apply(store, USER, view("users", [USER], source(tmp_path, "users", columns)))
    declared = store.get_feature_view("users")
    engine = store._get_provider().batch_engine
    task = MaterializationTask("jobs", declared, START, END)
    (done,) = engine.materialize(store.registry, task)
    assert (done.status(), done.error(), done.url(), done.should_be_retried()) == (
        MaterializationJobStatus.SUCCEEDED, None, None, False,
    )  # fmt: skip
    assert done.job_id() == f"users-{START}-{END}"
    (tmp_path / "users.parquet").unlink()
    failed, again = engine.materialize(store.registry, [task, task])
    assert failed.status() == again.status() == MaterializationJobStatus.ERROR
    assert isinstance(failed.error(), FeatureError)


def test_settings_are_checked_and_a_plain_string_is_enough(
    tmp_path: Path, redis_server: PrivateRedis
) -> None:
    assert open_project(tmp_path, redis_server.port)._get_provider().batch_engine.config.batch_rows > 0
    wrong = open_project(tmp_path, redis_server.port, engine={"type": OWN, "memory_limits": "1GB"})
    with pytest.raises(SettingError, match="memory_limits"):
        wrong._get_provider().batch_engine  # noqa: B018


def test_incremental_runs_load_from_the_last_end_on(tmp_path: Path, redis_server: PrivateRedis) -> None:
    columns = {"user_id": pa.array([1, 1]), "x": pa.array([1.0, 2.0]),
               "event_timestamp": instants("2024-01-05", "2024-01-06")}  # fmt: skip
    store = open_project(tmp_path, redis_server.port, project="increments")
    apply(store, USER, view("users", [USER], source(tmp_path, "users", columns), ttl=timedelta(days=9999)))
    for day, expected in [(5, 1.0), (7, 2.0)]:
        store.materialize_incremental(datetime(2024, 1, day, tzinfo=UTC))
        assert served(store, "users", [{"user_id": 1}])[0]["x"][0] == expected
    assert [end.day for _, end in store.get_feature_view("users").materialization_intervals] == [5, 7]
