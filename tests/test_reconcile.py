"""Reconciliation finds what increments miss and repairs it, and touches nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from engine_world import ONLINE, apply, instants, key, materialize, open_project, source, view
from feast import FeatureStore, PushSource
from feast.types import Float64
from feast.value_type import ValueType
from redis_servers import cluster

from feature_repo.errors import FeatureError, SettingError
from materialization.data_plane.batch.reconcile_compare import Cause
from materialization.data_plane.batch.reconcile_sample import EVERYTHING, choose
from materialization.data_plane.reconcile import Scope, ViewReport, reconcile
from materialization.private_redis import PrivateRedis, private_redis

USER, ITEM = key("user_id"), key("item_id", ValueType.STRING)
END = datetime(2024, 1, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateRedis]:
    with private_redis() as running:
        yield running


@pytest.fixture
def rows(server: PrivateRedis) -> redis.Redis:
    client = redis.Redis.from_url(server.url)
    client.flushall()
    return client


@pytest.fixture
def store(tmp_path: Path, server: PrivateRedis, rows: redis.Redis) -> FeatureStore:  # noqa: ARG001
    return open_project(tmp_path, server.port)


def users(folder: Path, values: dict[int, tuple[float, str]], *, created: str = "2024-01-20") -> Any:
    """One row per user: value and event day."""
    return source(
        folder,
        "users",
        {
            "user_id": pa.array(list(values), pa.int64()),
            "x": pa.array([value for value, _ in values.values()], pa.float32()),
            "event_timestamp": instants(*(day for _, day in values.values())),
            "created": instants(*[created] * len(values)),
        },
    )


def loaded(store: FeatureStore, folder: Path, values: dict[int, tuple[float, str]], **options: Any) -> None:
    apply(store, USER, view("users", [USER], users(folder, values), **options))
    materialize(store, end=END)


def only(reports: list[ViewReport]) -> ViewReport:
    (report,) = reports
    return report


def causes(store: FeatureStore, **scope: Any) -> dict[Cause, int]:
    """What was found in the only view."""
    return dict(only(reconcile(store, Scope(**scope))).findings.causes.items())


def value(store: FeatureStore, user: int) -> Any:
    return store.get_online_features(["users:x"], [{"user_id": user}]).to_dict()["x"][0]


def test_after_a_complete_load_there_is_nothing_to_repair(store: FeatureStore, tmp_path: Path) -> None:
    loaded(store, tmp_path, {1: (1.0, "2024-01-10"), 2: (2.0, "2024-01-10")})
    report = only(reconcile(store, Scope()))
    assert report.as_of == END
    assert (report.findings.causes, report.findings.found) == ({Cause.SAME: 2}, 0)
    assert (report.findings.offline, report.findings.online, report.findings.written) == (2, 2, 0)


def test_late_corrected_lost_and_deleted_rows_are_found_and_repaired(
    store: FeatureStore, tmp_path: Path, rows: redis.Redis
) -> None:
    before = dict.fromkeys(range(1, 6), (1.0, "2024-01-10"))
    loaded(store, tmp_path, before)
    rows.delete(next(one for one in rows.scan_iter(b"mq:r|*") if one.endswith(b"|l3")))
    users(
        tmp_path,
        {1: (2.0, "2024-01-11"), 2: (3.0, "2024-01-10"), 3: (1.0, "2024-01-10"), 5: (1.0, "2024-01-10")},
    )
    found = {Cause.LATE: 1, Cause.CORRECTED: 1, Cause.MISSING: 1, Cause.GONE: 1, Cause.SAME: 1}
    assert causes(store, dry_run=True) == found
    report = only(reconcile(store, Scope()))
    assert report.findings.causes == found
    assert report.findings.examples[Cause.LATE] == ["user_id=1"]
    assert (report.findings.written, report.findings.deleted) == (3, 1)
    assert [value(store, user) for user in range(1, 6)] == [2.0, 3.0, 1.0, None, 1.0]
    assert causes(store) == {Cause.SAME: 4}


def test_a_dry_run_changes_nothing(store: FeatureStore, tmp_path: Path, rows: redis.Redis) -> None:
    loaded(store, tmp_path, {1: (1.0, "2024-01-10"), 2: (1.0, "2024-01-10"), 4: (1.0, "2024-01-10")})
    rows.set(next(one for one in rows.scan_iter(b"mq:r|*") if one.endswith(b"|l4")), b"rubbish")
    users(tmp_path, {1: (2.0, "2024-01-11"), 3: (1.0, "2024-01-10"), 4: (1.0, "2024-01-10")})
    before = everything(rows)
    assert causes(store, dry_run=True) == {Cause.LATE: 1, Cause.GONE: 1, Cause.MISSING: 1, Cause.DAMAGED: 1}
    assert everything(rows) == before


def everything(rows: redis.Redis) -> dict[bytes, Any]:
    """Every key with its content."""
    return {
        name: rows.hgetall(name) if rows.type(name) == b"hash" else rows.get(name)
        for name in rows.scan_iter()
    }


def test_rows_newer_online_than_offline_are_kept(store: FeatureStore, tmp_path: Path) -> None:
    loaded(store, tmp_path, {1: (1.0, "2024-01-10")})
    users(tmp_path, {1: (5.0, "2024-02-10"), 2: (6.0, "2024-02-10")})
    materialize(store, end=datetime(2024, 2, 20, tzinfo=UTC))
    users(tmp_path, {1: (1.0, "2024-01-10")})
    assert causes(store, as_of=END) == {Cause.NEWER: 2}
    assert (value(store, 1), value(store, 2)) == (5.0, 6.0)


def test_a_pushed_entity_that_the_source_does_not_know_yet_is_kept(
    store: FeatureStore, tmp_path: Path
) -> None:
    origin = users(tmp_path, {1: (1.0, "2024-01-10"), 2: (1.0, "2024-01-10")})
    apply(store, USER, view("users", [USER], PushSource(name="pushed", batch_source=origin)))
    materialize(store, end=END)
    users(tmp_path, {1: (1.0, "2024-01-10")})
    assert causes(store) == {Cause.SAME: 1, Cause.NEWER: 1}


def test_damaged_rows_are_replaced_whatever_times_they_claim(
    store: FeatureStore, tmp_path: Path, rows: redis.Redis
) -> None:
    loaded(store, tmp_path, {1: (1.0, "2024-01-10"), 2: (2.0, "2024-01-10"), 3: (3.0, "2024-01-10")})
    first, second, stray = sorted(rows.scan_iter(b"mq:r|*"))
    whole = rows.get(first)
    assert isinstance(whole, bytes)
    rows.set(first, whole[:8] + b"\xff" * 7 + b"\x7f" + whole[16:])
    rows.set(second, b"")
    rows.setrange(stray, 30, b"\x77")
    rows.set(stray[:-1] + b"9", b"\x01rubbish")
    assert causes(store) == {Cause.DAMAGED: 4}
    assert [value(store, user) for user in (1, 2, 3, 9)] == [1.0, 2.0, 3.0, None]
    assert causes(store) == {Cause.SAME: 3}


def test_rows_of_an_older_definition_are_written_anew(store: FeatureStore, tmp_path: Path) -> None:
    loaded(store, tmp_path, {1: (1.0, "2024-01-10")})
    origin = users(tmp_path, {1: (1.0, "2024-01-10")})
    changed = view("users", [USER], origin, features={"x": Float64})
    apply(store, changed)
    assert causes(store) == {Cause.OLDER_SCHEMA: 1}
    assert causes(store) == {Cause.SAME: 1}


def test_pairs_past_their_ttl_are_removed_and_younger_ones_kept(
    store: FeatureStore, tmp_path: Path, rows: redis.Redis
) -> None:
    days = ["2024-01-02", "2024-01-20", "2024-01-30", "2024-01-15T12:00"]
    origin = source(
        tmp_path,
        "pairs",
        {
            "user_id": pa.array([1, 1, 1, 2]),
            "item_id": pa.array(["old", "a", "b", "kept a day"]),
            "x": pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()),
            "event_timestamp": instants(*days),
        },
    )
    apply(store, USER, ITEM, view("pairs", [USER, ITEM], origin, ttl=timedelta(days=15)))
    materialize(store, end=END)
    assert causes(store) == {Cause.SAME: 3, Cause.EXPIRED: 1}
    (one,) = [name for name in rows.scan_iter(b"mq:r|*") if name.endswith(b"|l1")]
    assert sorted(rows.hkeys(one)) == [b"sa", b"sb"]


def test_a_sample_repairs_its_entities_alone_and_the_same_ones_each_time(
    store: FeatureStore, tmp_path: Path, rows: redis.Redis
) -> None:
    count = 3_000
    loaded(store, tmp_path, dict.fromkeys(range(count), (1.0, "2024-01-10")))
    for name in [*rows.scan_iter(b"mq:r|*")][::2]:
        rows.delete(name)
    reports = [only(reconcile(store, Scope(sample=300, dry_run=True))) for _ in range(2)]
    first, second = (report.findings for report in reports)
    assert first.causes == second.causes
    assert first.examples == second.examples
    assert first.offline == 300
    assert 0.05 < first.share < 0.2
    assert first.online + first.causes[Cause.MISSING] == 300
    written = only(reconcile(store, Scope(sample=300))).findings.written
    assert written == first.causes[Cause.MISSING]
    assert causes(store)[Cause.MISSING] == count // 2 - written


def test_the_sample_is_the_smallest_hashes_however_the_rows_are_cut() -> None:
    entities = [b"l%d" % (number % 50) for number in range(200)]
    at = np.arange(200)
    whole, places = choose([(entities, at)], size=7, salt=3)
    cut, same = choose([(entities[i : i + 9], at[i : i + 9]) for i in range(0, 200, 9)], size=7, salt=3)
    assert (whole, sorted(places)) == (cut, sorted(same))
    assert {entities[place] for place in places} == {one for one in entities if whole.has(one)}
    assert len({entities[place] for place in places}) == 7
    assert choose([(entities, at)], size=50, salt=3)[0] is EVERYTHING


def test_what_cannot_be_compared_is_named_with_its_reason(store: FeatureStore, tmp_path: Path) -> None:
    apply(store, USER, view("users", [USER], users(tmp_path, {1: (1.0, "2024-01-10")})))
    report = only(reconcile(store, Scope()))
    assert (report.as_of, report.not_compared) == (None, "it was never materialized")
    with pytest.raises(FeatureError, match="no online feature view named nobody; there are users"):
        reconcile(store, Scope(views=["nobody"]))


def test_an_empty_source_empties_nothing(store: FeatureStore, tmp_path: Path) -> None:
    loaded(store, tmp_path, {1: (1.0, "2024-01-10")})
    users(tmp_path, {2: (1.0, "2024-02-10")})
    assert "no row in the window" in str(only(reconcile(store, Scope())).not_compared)
    assert value(store, 1) == 1.0


def test_another_online_store_is_refused(tmp_path: Path, server: PrivateRedis) -> None:
    online = {"type": "sqlite", "path": str(tmp_path / "online.db")}
    with pytest.raises(SettingError, match="PackedRedisOnlineStore"):
        reconcile(open_project(tmp_path, server.port, online_store=online), Scope())


def test_on_a_cluster_strings_and_hashes_are_compared_and_repaired_too(tmp_path: Path) -> None:
    with cluster() as ports:
        online = {"redis_type": "redis_cluster", "connection_string": f"127.0.0.1:{ports[0]}"}
        store = open_project(tmp_path, 0, online_store={"type": ONLINE, "write_timeout_ms": 20_000, **online})
        single = users(tmp_path, dict.fromkeys(range(50), (1.0, "2024-01-10")))
        columns = {
            "user_id": pa.array([1, 1, 2]),
            "item_id": pa.array(["a", "b", "c"]),
            "x": pa.array([1.0, 2.0, 3.0]),
            "event_timestamp": instants(*["2024-01-10"] * 3),
        }
        pairs = view("pairs", [USER, ITEM], source(tmp_path, "pairs", columns))
        apply(store, USER, ITEM, view("users", [USER], single), pairs)
        materialize(store, end=END)
        users(tmp_path, dict.fromkeys(range(1, 51), (2.0, "2024-01-10")))
        source(tmp_path, "pairs", {**columns, "item_id": pa.array(["a", "b", "new"])})
        reports = {report.view: report.findings.causes for report in reconcile(store, Scope())}
        assert reports["users"] == {Cause.CORRECTED: 49, Cause.MISSING: 1, Cause.GONE: 1}
        assert reports["pairs"] == {Cause.SAME: 2, Cause.MISSING: 1, Cause.GONE: 1}
        again = {report.view: report.findings.found for report in reconcile(store, Scope())}
        assert again == {"users": 0, "pairs": 0}
