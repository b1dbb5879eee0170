"""Three of the eleven wrong behaviours of DESIGN.md: those of materialization. Each says what stock Feast 0.67 does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from engine_world import apply, instants, key, materialize, open_project, source, view
from feast import FeatureStore

from materialization.data_plane.batch.reconcile_compare import Cause
from materialization.data_plane.reconcile import Scope, reconcile

USER = key("user_id")


def write_users(folder: Path, rows: list[tuple[int, float, str, str]]) -> object:
    """User, value, event time, created time."""
    users, values, events, created = zip(*rows, strict=True)
    columns = {
        "user_id": pa.array(users),
        "x": pa.array(values, pa.float32()),
        "event_timestamp": instants(*events),
        "created": instants(*created),
    }
    return source(folder, "users", columns)


@pytest.fixture
def store(tmp_path: Path, redis_url: str) -> FeatureStore:
    store = open_project(tmp_path, int(redis_url.split(":")[-1].split("/")[0]))
    origin = write_users(tmp_path, [(1, 1.0, "2024-01-05", "2024-01-05")])
    apply(store, USER, view("users", [USER], origin, ttl=timedelta(days=36_500)))
    return store


def value(store: FeatureStore) -> float | None:
    found: float | None = store.get_online_features(["users:x"], [{"user_id": 1}]).to_dict()["x"][0]
    return found


def test_4_a_row_that_arrives_late_is_delivered_by_reconciliation(
    store: FeatureStore, tmp_path: Path
) -> None:
    """Stock: the next increment begins where the last one ended, so an event before that never comes, for good."""
    store.materialize_incremental(datetime(2024, 1, 10, tzinfo=UTC))
    write_users(tmp_path, [(1, 1.0, "2024-01-05", "2024-01-05"), (1, 2.0, "2024-01-09", "2024-01-11")])
    store.materialize_incremental(datetime(2024, 1, 12, tzinfo=UTC))
    assert value(store) == 1.0
    (report,) = reconcile(store, Scope())
    assert report.findings.causes == {Cause.LATE: 1}
    assert value(store) == 2.0


@pytest.mark.parametrize("created", ["2024-01-06", "2024-01-05"], ids=["created later", "created the same"])
def test_5_a_corrected_value_of_the_same_event_time_is_applied_by_a_full_run(
    store: FeatureStore, tmp_path: Path, created: str
) -> None:
    """Stock: Redis skips a row whose event time it has already, so the correction is lost even by a full run."""
    materialize(store)
    write_users(tmp_path, [(1, 7.0, "2024-01-05", created)])
    materialize(store)
    assert value(store) == 7.0


def test_5_an_older_row_never_replaces_a_newer_one(store: FeatureStore, tmp_path: Path) -> None:
    """Stock agrees; the correction above must not cost it."""
    materialize(store)
    write_users(tmp_path, [(1, 7.0, "2024-01-04", "2024-01-20")])
    materialize(store)
    assert value(store) == 1.0


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", None])
def test_11_nanosecond_parquet_with_a_time_zone_materializes(
    redis_url: str, tmp_path: Path, zone: str | None
) -> None:
    """Stock: with DuckDB 2 such a file fails to materialize; times are kept here to the microsecond, rounded down."""
    store = open_project(tmp_path, int(redis_url.split(":")[-1].split("/")[0]))
    times = pa.array([1_704_412_800_123_456_789], pa.timestamp("ns", zone))
    columns = {"user_id": pa.array([1]), "x": pa.array([3.0]), "event_timestamp": times, "created": times}
    apply(store, USER, view("users", [USER], source(tmp_path, "users", columns)))
    materialize(store)
    response = store.get_online_features(["users:x"], [{"user_id": 1}])
    assert value(store) == 3.0
    assert response.proto.results[1].event_timestamps[0].ToMicroseconds() == 1_704_412_800_123_456
