"""Runs that are killed, run twice at once or lose their Redis; and the views that go to Feast's local engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import redis
from engine_world import (
    OWN,
    VIEW_WAS_LOCAL,
    apply,
    instants,
    key,
    materialize,
    open_project,
    served,
    source,
    view,
)
from feast import BatchFeatureView, FeatureStore, Field
from feast.data_format import JsonFormat
from feast.data_source import KafkaSource
from feast.stream_feature_view import StreamFeatureView
from feast.types import Float32, Int64

from feature_repo.errors import FeatureError, OnlineStoreError
from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.reading import read
from materialization.private_redis import PrivateRedis, private_redis

USER = key("user_id")
ROWS = 20_000
SLOW = {"type": OWN, "batch_rows": 200}
RUN = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from engine_world import materialize, open_project
materialize(open_project(Path({folder!r}), {port}, engine={engine!r}))
"""


@pytest.fixture
def server() -> Iterator[PrivateRedis]:
    with private_redis() as running:
        yield running


@pytest.fixture
def many(tmp_path: Path, server: PrivateRedis) -> FeatureStore:
    """A view of many users, not materialized yet."""
    store = open_project(tmp_path, server.port, engine=SLOW)
    columns = {
        "user_id": pa.array(np.arange(ROWS)),
        "x": pa.array(np.arange(ROWS, dtype=np.float32)),
        "event_timestamp": pa.array(
            np.full(ROWS, np.datetime64("2024-01-05", "us")), pa.timestamp("us", "UTC")
        ),
    }
    apply(store, USER, view("users", [USER], source(tmp_path, "users", columns)))
    return store


def start(folder: Path, server: PrivateRedis) -> subprocess.Popen[bytes]:
    script = RUN.format(tests=str(Path(__file__).parent), folder=str(folder), port=server.port, engine=SLOW)
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", script])


def rows_of(server: PrivateRedis) -> dict[bytes, Any]:
    client = redis.Redis.from_url(server.url)
    keys = sorted(client.scan_iter(b"mq:r|*", count=5_000))
    return dict(zip(keys, client.mget(keys), strict=True)) if keys else {}


def wait_for_rows(server: PrivateRedis, count: int) -> None:
    client = redis.Redis.from_url(server.url)
    deadline = time.monotonic() + 60
    while client.dbsize() < count:
        assert time.monotonic() < deadline, "no rows came"
        time.sleep(0.002)


def test_a_killed_run_moves_no_watermark_leaves_whole_rows_and_a_rerun_converges(
    tmp_path: Path, server: PrivateRedis, many: FeatureStore
) -> None:
    running = start(tmp_path, server)
    wait_for_rows(server, 1_000)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    half = rows_of(server)
    assert 0 < len(half) < ROWS
    assert read(Layout.of([("x", "FLOAT")]), list(half.values()), lambda _: None).present.all()
    assert many.get_feature_view("users").materialization_intervals == []
    materialize(many)
    after = rows_of(server)
    assert len(after) == ROWS
    redis.Redis.from_url(server.url).flushall()
    materialize(many)
    assert rows_of(server) == after


def test_two_runs_at_once_end_like_one(tmp_path: Path, server: PrivateRedis, many: FeatureStore) -> None:
    other = start(tmp_path, server)
    wait_for_rows(server, 1_000)
    materialize(many)
    assert other.wait() == 0
    both = rows_of(server)
    redis.Redis.from_url(server.url).flushall()
    materialize(many)
    assert rows_of(server) == both


def test_a_redis_that_dies_midway_is_an_error_and_moves_no_watermark(
    server: PrivateRedis, many: FeatureStore
) -> None:
    def kill() -> None:
        wait_for_rows(server, 1_000)
        os.kill(server.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(OnlineStoreError):
        materialize(many)
    killer.join()
    assert many.get_feature_view("users").materialization_intervals == []


def origin(folder: Path) -> Any:
    columns = {
        "user_id": pa.array([1, 2, 2]),
        "x": pa.array([1.0, 2.0, 3.0]),
        "event_timestamp": instants("2024-01-05", "2024-01-05", "2024-01-06"),
    }
    return source(folder, "users", columns)


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    """A transformation; imports nothing, as Feast carries it around by value."""
    frame["x"] = frame["x"] * 2
    return frame


def transformed(folder: Path, mode: str, udf: Any = doubled) -> BatchFeatureView:
    schema = [Field(name="user_id", dtype=Int64), Field(name="x", dtype=Float32)]
    return BatchFeatureView(
        name="users", entities=[USER], schema=schema, source=origin(folder), online=True, udf=udf,
        udf_string="", mode=mode,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["pandas", "python"])
def test_transformed_views_are_left_to_the_local_engine(
    tmp_path: Path, server: PrivateRedis, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_project(tmp_path, server.port)
    apply(store, USER, transformed(tmp_path, mode))
    with caplog.at_level("INFO"):
        materialize(store)
    assert "users goes to Feast's local engine: it has a transformation" in caplog.text
    answers = served(store, "users", [{"user_id": 1}, {"user_id": 2}, {"user_id": 3}])
    assert [answer["x"][0] for answer in answers] == [2.0, 6.0, None]


def test_a_failing_transformation_is_feasts_error_with_a_note_who_ran_it(
    tmp_path: Path, server: PrivateRedis
) -> None:
    store = open_project(tmp_path, server.port)
    apply(store, USER, transformed(tmp_path, "python", lambda frame: frame["nothing"]))
    with pytest.raises(KeyError) as raised:
        materialize(store)
    assert raised.value.__notes__ == [VIEW_WAS_LOCAL]
    assert store.get_feature_view("users").materialization_intervals == []


@pytest.mark.parametrize("engine", [OWN, "local"])
def test_a_view_that_writes_back_offline_ends_as_with_the_local_engine(
    tmp_path: Path, server: PrivateRedis, engine: str
) -> None:
    """Feast adds a pandas index to what it writes back, which file stores refuse; the rows are online by then."""
    store = open_project(tmp_path, server.port, engine=engine)
    apply(store, USER, view("users", [USER], origin(tmp_path), offline=True))
    with pytest.raises(ValueError, match="__index_level_0__"):
        materialize(store)
    assert served(store, "users", [{"user_id": 2}])[0]["x"][0] == 3.0


def test_a_stream_view_is_loaded_from_its_batch_source(tmp_path: Path, server: PrivateRedis) -> None:
    store = open_project(tmp_path, server.port)
    stream = KafkaSource(
        name="clicks", kafka_bootstrap_servers="nowhere", topic="clicks", timestamp_field="event_timestamp",
        batch_source=origin(tmp_path), message_format=JsonFormat("x int"),
    )  # fmt: skip
    schema = [Field(name="user_id", dtype=Int64), Field(name="x", dtype=Float32)]
    declared = StreamFeatureView(
        name="users", entities=[USER], schema=schema, source=stream, ttl=timedelta(days=36_500),
        timestamp_field="event_timestamp",
    )  # fmt: skip
    apply(store, USER, declared)
    materialize(store, "users")
    values = store.get_online_features(["users:x"], [{"user_id": 1}, {"user_id": 2}]).to_dict()["x"]
    assert values == [1.0, 3.0]


@pytest.mark.parametrize("offline", ["duckdb", "dask"])
def test_other_online_stores_are_served_through_the_local_engine(
    tmp_path: Path, server: PrivateRedis, offline: str
) -> None:
    online = {"type": "sqlite", "path": str(tmp_path / "online.db")}
    store = open_project(tmp_path, server.port, online_store=online, offline_store={"type": offline})
    apply(store, USER, view("users", [USER], origin(tmp_path)))
    materialize(store)
    answers = served(store, "users", [{"user_id": 1}, {"user_id": 2}])
    assert [answer["x"][0] for answer in answers] == [1.0, 3.0]


def test_stock_offline_stores_feed_our_online_store(tmp_path: Path, server: PrivateRedis) -> None:
    store = open_project(tmp_path, server.port, offline_store={"type": "dask"}, engine=OWN)
    apply(store, USER, view("users", [USER], origin(tmp_path)))
    materialize(store)
    assert served(store, "users", [{"user_id": 2}])[0]["x"][0] == 3.0


def test_a_transformation_in_sql_says_which_engine_it_needs(tmp_path: Path) -> None:
    from materialization.data_plane.batch.own_path import refuse_other_engines

    declared = transformed(tmp_path, "sql", lambda table: f"SELECT * FROM {table}")
    with pytest.raises(FeatureError, match="mode 'sql', which runs inside Spark"):
        refuse_other_engines(declared)


def test_versions_lie_side_by_side(tmp_path: Path, server: PrivateRedis) -> None:
    registry = {
        "registry_type": "file", "path": str(tmp_path / "registry.db"), "cache_ttl_seconds": 0,
        "enable_online_feature_view_versioning": True,
    }  # fmt: skip
    store = open_project(tmp_path, server.port, registry=registry)
    apply(store, USER, view("users", [USER], origin(tmp_path)))
    materialize(store)
    apply(store, USER, view("users", [USER], origin(tmp_path), features={"x": Int64}))
    materialize(store, "users")
    answers = served(store, "users", [{"user_id": 1}])
    assert answers[0]["x"][0] == 1
    assert len(rows_of(server)) == 4
