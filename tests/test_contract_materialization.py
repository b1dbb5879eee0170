"""What Feast promises of materialization holds with the stock engine and stores and with ours: rows, windows, views."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract_world import (
    END,
    NOW,
    OURS,
    SIDES,
    START,
    STOCK,
    Project,
    entity,
    event_times,
    quietly,
    source,
    times,
    view,
)
from feast import BatchFeatureView, FeatureService, FeatureView, Field, PushSource, StreamFeatureView
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, Float64, Int32, Int64, String

USER, ITEM = entity("user_id"), entity("item_id", String)
PLACE = entity("place", join_key="place_id")


@pytest.fixture(params=SIDES, ids=str)
def project(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Project:
    return Project(request.param, tmp_path / "project", redis_url)


@pytest.fixture
def pair(redis_url: str, tmp_path: Path) -> list[Project]:
    return [Project(side, tmp_path / side.name, redis_url) for side in SIDES]


def served(
    project: Project, name: str, *ids: Any, join_key: str = "user_id", feature: str = "value"
) -> list[Any]:
    return project.online([f"{name}:{feature}"], [{join_key: one} for one in ids])[feature]


def add(
    project: Project, name: str, ids: list[Any], values: list[Any], when: Any, **options: Any
) -> FeatureView:
    """A view of one float feature, registered."""
    columns = {"user_id": ids, "value": pa.array(values, pa.float32()), "event_timestamp": when}
    origin = project.write(name, columns | options.pop("columns", {}), **options.pop("origin", {}))
    made = view(name, [USER], origin, **options)
    project.apply(USER, made)
    return made


def test_the_newest_row_of_each_entity_is_served(project: Project) -> None:
    add(project, "v", [1, 2, 1, 2, 3], [1, 2, 3, 4, None], times(5, 1, 3, 4, 2))
    project.materialize()
    assert served(project, "v", 1, 2, 3, 4) == [3.0, 2.0, None, None]
    response = project.ask(["v:value"], [{"user_id": 1}, {"user_id": 2}])
    assert event_times(response, "value") == [NOW - timedelta(hours=3), NOW - timedelta(hours=1)]


def test_the_later_created_of_equal_event_times_is_served(project: Project) -> None:
    created = {"created": times(1, 2, 4, 3)}
    add(
        project,
        "v",
        [1, 1, 2, 2],
        [1, 2, 3, 4],
        times(5, 5, 5, 5),
        columns=created,
        origin={"created_timestamp_column": "created"},
    )
    project.materialize()
    assert served(project, "v", 1, 2) == [1.0, 4.0]


def test_only_rows_of_the_window_are_served_both_ends_included(project: Project) -> None:
    add(project, "v", [1, 2, 3, 4], [1, 2, 3, 4], times(5, 4, 3, 2))
    project.materialize(start=NOW - timedelta(hours=4), end=NOW - timedelta(hours=3))
    assert served(project, "v", 1, 2, 3, 4) == [None, 2.0, 3.0, None]


def test_overlapping_windows_and_repetitions_end_at_the_newest(project: Project) -> None:
    add(project, "v", [1, 1, 2, 1], [1, 2, 3, 4], times(9, 5, 5, 2))
    for first, last in ((10, 4), (6, 1), (10, 4), (10, 0)):
        project.materialize(start=NOW - timedelta(hours=first), end=NOW - timedelta(hours=last))
    assert served(project, "v", 1, 2) == [4.0, 3.0]


def test_an_empty_window_changes_nothing(project: Project) -> None:
    add(project, "v", [1], [1], times(5))
    project.materialize(start=NOW - timedelta(hours=2))
    assert served(project, "v", 1) == [None]
    project.materialize()
    project.materialize(start=NOW - timedelta(hours=2))
    assert served(project, "v", 1) == [1.0]


def test_increments_go_on_where_the_last_run_ended(project: Project) -> None:
    add(project, "v", [1], [1], times(5), ttl=timedelta(days=10))
    with quietly():
        project.store.materialize_incremental(NOW - timedelta(hours=4))
        columns = {"user_id": [1, 2], "value": pa.array([2, 3], pa.float32()), "event_timestamp": times(3, 2)}
        project.write("v", columns)
        project.store.materialize_incremental(NOW - timedelta(hours=2.5))
    assert served(project, "v", 1, 2) == [2.0, None]
    with quietly():
        project.store.materialize_incremental(NOW)
    assert served(project, "v", 1, 2) == [2.0, 3.0]
    intervals = project.store.get_feature_view("v").materialization_intervals
    ends = [NOW - timedelta(hours=4), NOW - timedelta(hours=2.5), NOW]
    assert [end for _, end in intervals] == ends
    assert [start for start, _ in intervals[1:]] == ends[:-1]


def test_naive_dates_are_taken_for_utc(project: Project) -> None:
    add(project, "v", [1, 2], [1, 2], times(5, 1))
    naive = [(NOW - timedelta(hours=hours)).replace(tzinfo=None) for hours in (6, 4)]
    project.materialize(start=naive[0], end=naive[1])
    assert served(project, "v", 1, 2) == [1.0, None]


@pytest.mark.parametrize("named", [True, False])
def test_only_views_named_or_all_that_are_online_are_materialized(project: Project, named: bool) -> None:
    add(project, "a", [1], [1], times(5))
    add(project, "ab", [1], [2], times(5))
    add(project, "never", [1], [3], times(5), online=False)
    if named:
        project.materialize("a")
        assert (served(project, "a", 1), served(project, "ab", 1)) == ([1.0], [None])
        with pytest.raises(ValueError, match="not configured to be served online"):
            project.materialize("never")
    else:
        project.materialize()
        assert (served(project, "a", 1), served(project, "ab", 1)) == ([1.0], [2.0])


def test_an_empty_source_writes_nothing(project: Project) -> None:
    add(project, "v", pa.array([], pa.int64()), [], times())
    project.materialize()
    assert served(project, "v", 1) == [None]


def test_more_rows_than_one_record_batch_are_all_written(redis_url: str, tmp_path: Path) -> None:
    count = 140_000
    project = Project(OURS, tmp_path, redis_url)
    when = pa.array([NOW - timedelta(hours=3)] * count, pa.timestamp("us", "UTC"))
    add(project, "v", pa.array(range(count)), range(count), when)
    project.materialize()
    some = [*range(0, count, 997), 131_071, 131_072, count - 1]
    assert served(project, "v", *some) == [float(one) for one in some]


def test_a_view_without_entity_is_materialized(project: Project) -> None:
    if project.side is STOCK:
        pytest.xfail("the stock DuckDB store does not supply the key of a view without entity")
    origin = project.write("facts", {"rides": [1, 2], "event_timestamp": times(5, 3)})
    project.apply(USER, view("facts", [], origin, {"rides": Int32}))
    add(project, "v", [1], [1], times(5))
    project.materialize()
    answer = project.online(["facts:rides", "v:value"], [{"user_id": 1}, {"user_id": 2}])
    assert answer == {"user_id": [1, 2], "rides": [2, 2], "value": [1.0, None]}


def test_pairs_and_join_keys_of_another_name_are_materialized(project: Project) -> None:
    pairs = {
        "user_id": [1, 1, 2],
        "item_id": ["a", "", "a"],
        "seen": [1, 2, 3],
        "event_timestamp": times(5, 4, 3),
    }
    places = {"place_id": [7], "value": pa.array([1.5], pa.float32()), "event_timestamp": times(3)}
    project.apply(
        USER,
        ITEM,
        PLACE,
        view("pairs", [ITEM, USER], project.write("pairs", pairs), {"seen": Int64}),
        view("places", [PLACE], project.write("places", places)),
    )
    project.materialize()
    asked = [{"user_id": 2, "item_id": "a"}, {"user_id": 1, "item_id": ""}, {"user_id": 2, "item_id": ""}]
    assert project.online(["pairs:seen"], asked)["seen"] == [3, 2, None]
    assert served(project, "places", 7, join_key="place_id") == [1.5]


@pytest.mark.parametrize(
    "mapping",
    [
        {"val": "value"},
        {"id": "user_id"},
        {"ts": "event_timestamp"},
        {"id": "user_id", "val": "value", "ts": "event_timestamp"},
    ],
    ids=lambda mapping: "-".join(mapping),
)
def test_columns_may_be_mapped(project: Project, mapping: dict[str, str]) -> None:
    columns = {"user_id": [1, 1], "value": pa.array([1, 2], pa.float32()), "event_timestamp": times(5, 3)}
    back = {name: one for one, name in mapping.items()}
    origin = project.write(
        "v", {back.get(name, name): column for name, column in columns.items()}, field_mapping=mapping
    )
    project.apply(USER, view("v", [USER], origin))
    project.materialize()
    assert served(project, "v", 1) == [2.0]


def test_a_missing_column_is_an_error_and_moves_no_watermark(project: Project) -> None:
    origin = project.write(
        "v", {"other_id": [1], "value": pa.array([1], pa.float32()), "event_timestamp": times(5)}
    )
    project.apply(USER, view("v", [USER], origin, {"value": Float32}))
    with pytest.raises(Exception, match="user_id"):
        project.materialize()
    assert project.store.get_feature_view("v").materialization_intervals == []


def test_a_row_without_key_is_left_out(redis_url: str, tmp_path: Path) -> None:
    project = Project(OURS, tmp_path, redis_url)
    add(project, "v", pa.array([1, None, 2]), [1, 2, 3], times(5, 4, 3))
    project.materialize()
    assert served(project, "v", 1, 2) == [1.0, 3.0]


def test_features_inferred_from_the_source_are_served(project: Project) -> None:
    columns = {
        "user_id": [1],
        "value": pa.array([1.5], pa.float32()),
        "name": ["x"],
        "event_timestamp": times(3),
    }
    origin = project.write("v", columns)
    with quietly():
        inferred = FeatureView(name="v", entities=[USER], source=origin)
    project.apply(USER, inferred)
    project.materialize()
    assert project.online(["v:value", "v:name"], [{"user_id": 1}]) == {
        "user_id": [1],
        "value": [1.5],
        "name": ["x"],
    }


def test_stream_and_batch_views_are_materialized(project: Project) -> None:
    rows = {"user_id": [1], "value": pa.array([1.5], pa.float32()), "event_timestamp": times(3)}
    origin = project.write("rows", rows)
    pushed = PushSource(name="pushed", batch_source=origin)
    project.apply(
        USER,
        view("streamed", [USER], pushed, kind=StreamFeatureView),
        view("batched", [USER], origin, kind=BatchFeatureView, online=True),
    )
    project.materialize()
    assert served(project, "streamed", 1) == [1.5]
    assert served(project, "batched", 1) == [1.5]
    with quietly():
        project.store.push("pushed", pd.DataFrame({"user_id": [1], "value": [9.0], "event_timestamp": [NOW]}))
    project.materialize()
    assert served(project, "streamed", 1) == [9.0]


def test_wide_views_with_odd_names(project: Project) -> None:
    odd = ["select", "My Feature", "a-b", "ünï", "x.y", "tick'", "a%b", "1st", "row_number", "desc"]
    names = [*odd, *(f"f{number}" for number in range(290))]
    columns = {name: pa.array([float(place)], pa.float32()) for place, name in enumerate(names)}
    origin = project.write("wide", {"user_id": [1], **columns, "event_timestamp": times(3)})
    project.apply(USER, view("wide", [USER], origin, dict.fromkeys(names, Float32)))
    project.materialize()
    answer = project.online([f"wide:{name}" for name in names], [{"user_id": 1}])
    assert [answer[name][0] for name in names] == [float(place) for place in range(300)]


def test_folders_of_files_are_materialized(project: Project) -> None:
    folder = project.folder / "hive"
    table = pa.table(
        {"user_id": [1, 2], "value": pa.array([1, 2], pa.float32()), "event_timestamp": times(3, 2)}
    )
    pq.write_to_dataset(table.append_column("day", pa.array(["1", "2"])), folder, partition_cols=["day"])
    project.apply(USER, view("v", [USER], source(f"{folder}/*/*.parquet", name="hive"), {"value": Float32}))
    project.materialize()
    assert served(project, "v", 1, 2) == [1.0, 2.0]


@pytest.mark.parametrize("latest", [True, False])
def test_either_way_of_pulling_ends_alike(redis_url: str, tmp_path: Path, latest: bool) -> None:
    for side in SIDES:
        changes = {"materialization": {"pull_latest_features": latest}}
        project = Project(side, tmp_path / side.name, redis_url, changes=changes)
        add(project, "v", [1, 1, 2], [1, 2, 3], times(5, 3, 4))
        project.materialize()
        assert served(project, "v", 1, 2) == [2.0, 3.0]


MIXTURES = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1) if 0 < a + b + c < 3]


@pytest.mark.parametrize("mixture", MIXTURES, ids=lambda one: "".join("so"[number] for number in one))
def test_each_plug_in_works_beside_the_stock_others(
    redis_url: str, tmp_path: Path, mixture: tuple[int, int, int]
) -> None:
    online, offline, engine = (SIDES[number] for number in mixture)
    changes = {"offline_store": {"type": offline.offline}, "batch_engine": {"type": engine.engine}}
    project = Project(online, tmp_path, redis_url, changes=changes)
    add(project, "v", [1, 1, 2], [1, 2, None], times(5, 3, 4))
    project.materialize()
    assert served(project, "v", 1, 2, 3) == [2.0, None, None]


def test_a_service_with_precomputed_vectors_is_filled_by_materialization(project: Project) -> None:
    made = add(project, "v", [1, 2], [1, 2], times(5, 3))
    project.apply(FeatureService(name="fast", features=[made], precompute_online=True))
    project.materialize()
    service = project.store.get_feature_service("fast")
    answer = project.online(service, [{"user_id": 2}, {"user_id": 1}], full_feature_names=True)
    assert answer["v__value"] == [2.0, 1.0]


def test_disabled_event_times_materialize_everything(project: Project) -> None:
    add(project, "v", [1, 2], [1, 2], times(24 * 400, 3))
    with quietly():
        project.store.materialize(START, END, disable_event_timestamp=True)
    assert served(project, "v", 2) == [2.0]


def square(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"squared": inputs["value"].astype(float) ** 2.0})


def test_an_on_demand_view_that_is_written_is_materialized_with_its_sources(project: Project) -> None:
    made = add(project, "v", [1, 2], [3, 4], times(5, 3))
    square.__module__ = __name__  # Feast changes the function it is given
    make = on_demand_feature_view(
        sources=[made],
        schema=[Field(name="squared", dtype=Float64)],
        mode="pandas",
        entities=[USER],
        write_to_online_store=True,
    )
    project.apply(derived := make(square))
    project.materialize()
    assert served(project, derived.name, 2, 1, feature="squared") == [16.0, 9.0]


@pytest.mark.parametrize("inferred", [False, True])
def test_online_and_offline_agree_after_each_step(redis_url: str, tmp_path: Path, inferred: bool) -> None:
    """Rows of mixed zones, mapped times, everything created after the fact: Feast's own consistency check."""
    for side in SIDES:
        offline = {} if side is STOCK else {"knowledge_time": False}
        project = Project(side, tmp_path / side.name, redis_url, changes={"offline": offline})
        ts = pd.Timestamp(NOW)
        zoned = [
            (ts - timedelta(hours=4)).tz_convert("Europe/Berlin"),
            (ts - timedelta(hours=1)).tz_convert("US/Pacific"),
        ]
        when = [ts - timedelta(hours=4), ts, ts - timedelta(hours=3), *zoned]
        rows = {
            "user_id": [1, 2, 1, 3, 3],
            "value": [0.1, None, 0.3, 4, 5],
            "ts_1": when,
            "created": [ts] * 5,
        }
        origin = project.write(
            "rows",
            pd.DataFrame(rows),
            timestamp_field="ts",
            created_timestamp_column="created",
            field_mapping={"ts_1": "ts"},
        )
        with quietly():
            bare = FeatureView(name="v", entities=[USER], source=origin, ttl=timedelta(days=5))
        project.apply(
            USER, bare if inferred else view("v", [USER], origin, {"value": Float64}, ttl=timedelta(days=5))
        )
        split, naive = NOW - timedelta(hours=1, seconds=1), NOW.replace(tzinfo=None)
        for end, expected in ((split, [0.3, None, 4.0]), (naive, [0.3, None, 5.0])):
            with quietly():
                if end is split:
                    project.store.materialize(NOW - timedelta(hours=5), end)
                else:
                    project.store.materialize_incremental(end)
            assert served(project, "v", 1, 2, 3) == expected
            frame = pd.DataFrame({"user_id": [1, 2, 3], "event_timestamp": [end] * 3})
            joined = project.historical(frame, ["v:value"]).sort_values("user_id")["value"]
            assert [None if pd.isna(one) else one for one in joined] == expected
