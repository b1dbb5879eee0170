"""Every kind of entity frame, key, name and view that a historical request may have."""

from __future__ import annotations

import inspect
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureService, FeatureStore, Field, OnDemandFeatureView, RequestSource
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Float64, Int64, String
from offline_world import ITEM, USER, a_view, apply, at, open_store, timely, write_rows

from feature_repo.errors import FeatureError

UTC_US = pa.timestamp("us", tz="UTC")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """View `ages` of user: user 1 has value 10 from second 1 and 11 from second 3, user 2 has 20 from second 2."""
    path = write_rows(
        tmp_path / "ages.parquet",
        [
            {"user_id": user, "event_timestamp": at(event), "created_timestamp": at(event), "value": value}
            for user, event, value in ((1, 1, 10), (1, 3, 11), (2, 2, 20))
        ],
    )
    store = open_store(tmp_path / "repo")
    apply(store, USER, ITEM, a_view("ages", path))
    return store


def frame(users: list[Any], seconds: list[float], **more: list[Any]) -> pd.DataFrame:
    times = pd.to_datetime([at(second) for second in seconds], utc=True)
    return pd.DataFrame({"user_id": users, "event_timestamp": times, **more})


def values(store: FeatureStore, asked: Any, features: Any = ("ages:value",), **options: Any) -> list[Any]:
    features = list(features) if isinstance(features, tuple) else features
    table = store.get_historical_features(asked, features, **options).to_arrow()
    return list(table.column("value").to_pylist())


ASKED = frame([1, 2, 1, 3, 1], [3, 2, 2, 9, 0], label=["a", "b", "c", "d", "e"])
ANSWER = [11, 20, 10, None, None]


def test_a_frame_may_come_from_pandas_arrow_a_parquet_file_or_sql(
    store: FeatureStore, tmp_path: Path
) -> None:
    table = pa.Table.from_pandas(ASKED)
    path = tmp_path / "asked.parquet"
    pq.write_table(table, path)
    for asked in (ASKED, table, table.to_batches()[0], path, str(path), f"SELECT * FROM '{path}' WHERE true"):
        assert values(store, asked) == ANSWER
    assert values(store, f"SELECT * FROM '{path}' ORDER BY label DESC") == ANSWER[::-1]


def test_the_callers_frame_is_left_as_it_is(store: FeatureStore) -> None:
    texts = ASKED.assign(event_timestamp=ASKED.event_timestamp.astype(str))
    before = texts.copy(deep=True)
    assert values(store, texts) == ANSWER
    pd.testing.assert_frame_equal(texts, before)


def test_rows_come_back_in_their_order_with_their_columns_first(store: FeatureStore) -> None:
    shuffled = pd.concat([ASKED, ASKED]).sample(frac=1, random_state=3).set_index("label", drop=False)
    answer = store.get_historical_features(shuffled, ["ages:value"], full_feature_names=True).to_df()
    assert list(answer) == ["user_id", "event_timestamp", "label", "ages__value"]
    assert list(answer.label) == list(shuffled.label)


def test_the_result_is_one_chunk_per_column_however_many_rows(store: FeatureStore) -> None:
    many = pd.concat([ASKED] * 60_000)
    table = store.get_historical_features(many, ["ages:value"]).to_arrow()
    assert len(table) == 300_000
    assert {column.num_chunks for column in table.columns} == {1}
    assert table.column("value").to_pylist() == ANSWER * 60_000
    pieces = list(store.get_historical_features(many, ["ages:value"]).to_arrow_batches(100_001))
    assert [len(piece) for piece in pieces] == [100_001, 100_001, 99_998]
    assert pa.concat_tables(pieces).equals(table)


@pytest.mark.parametrize(
    "times",
    [
        ASKED.event_timestamp.dt.tz_convert("Asia/Tokyo"),
        ASKED.event_timestamp.dt.tz_localize(None),
        ASKED.event_timestamp.dt.as_unit("s"),
        ASKED.event_timestamp.astype(str),
        ASKED.event_timestamp.dt.tz_convert("America/New_York").astype(str),
        ASKED.event_timestamp.dt.tz_localize(None).astype(object),
    ],
    ids=["zoned", "naive", "seconds", "text", "zoned text", "objects"],
)
def test_times_of_any_form_mean_the_same_instants(store: FeatureStore, times: pd.Series) -> None:
    answer = store.get_historical_features(ASKED.assign(event_timestamp=times), ["ages:value"]).to_arrow()
    assert answer.column("value").to_pylist() == ANSWER
    assert answer.schema.field("event_timestamp").type == UTC_US
    assert answer.column("event_timestamp").to_pylist() == list(ASKED.event_timestamp)


def test_the_only_timestamp_column_is_the_label_time_and_two_are_refused(store: FeatureStore) -> None:
    renamed = ASKED.rename(columns={"event_timestamp": "shown_at"})
    assert values(store, renamed) == ANSWER
    with pytest.raises(EntityTimestampInferenceException):
        values(store, renamed.assign(other=renamed.shown_at))


def test_nanoseconds_are_compared_as_nanoseconds(tmp_path: Path) -> None:
    instant = pa.array([1_000_000_001_500], pa.timestamp("ns", tz="UTC"))
    pq.write_table(
        pa.table({"user_id": [1], "event_timestamp": instant, "value": [7]}), tmp_path / "fine.parquet"
    )
    store = open_store(tmp_path / "repo")
    apply(store, USER, a_view("fine", tmp_path / "fine.parquet", created=False))
    labels = pa.array([1_000_000_001_499, 1_000_000_001_500], pa.timestamp("ns", tz="UTC"))
    asked = pa.table({"user_id": [1, 1], "event_timestamp": labels})
    assert values(store, asked, ("fine:value",)) == [None, 7]


def test_instants_beyond_the_range_of_nanoseconds_still_compare(tmp_path: Path) -> None:
    far = (
        pd.Timestamp("0900-01-01", tz="UTC").as_unit("us"),
        pd.Timestamp("9999-12-31", tz="UTC").as_unit("us"),
    )
    rows = pa.table({"user_id": [1, 2], "event_timestamp": pa.array(far, UTC_US), "value": [1, 2]})
    pq.write_table(rows, tmp_path / "far.parquet")
    store = open_store(tmp_path / "repo")
    apply(store, USER, a_view("far", tmp_path / "far.parquet", created=False))
    assert values(store, frame([1, 2], [0, 0]), ("far:value",)) == [1, None]


def test_no_rows_asked_or_none_stored_give_an_empty_or_null_answer(
    store: FeatureStore, tmp_path: Path
) -> None:
    assert values(store, ASKED.head(0)) == []
    assert values(store, pd.DataFrame({"user_id": [], "event_timestamp": []})) == []
    kinds = {
        "user_id": pa.int64(),
        "event_timestamp": UTC_US,
        "created_timestamp": UTC_US,
        "value": pa.int64(),
    }
    write_rows(tmp_path / "ages.parquet", [], **kinds)
    assert values(store, ASKED) == [None] * 5


@pytest.mark.parametrize(
    ("stored", "asked", "answer"),
    [
        (pa.array([1, 2], pa.int32()), pa.array([2, None, 1], pa.int64()), [1, None, 0]),
        (pa.array([1, 2**63], pa.uint64()), pa.array([2**63, 1, 0], pa.uint64()), [1, 0, None]),
        (pa.array([1, 2]), pa.array([2.0, 1.5, None]), [1, None, None]),
        (pa.array([1, 2]), pa.array([Decimal("2.00"), Decimal("1.50"), None]), [1, None, None]),
        (pa.array(["a", "b\0"]), pa.array(["b\0", "b", "a"], pa.large_string()), [1, None, 0]),
        (pa.array(["a", "b"]), pa.array(["b", "a", "c"]).dictionary_encode(), [1, 0, None]),
        (pa.array([b"\0", b""]), pa.array([b"", b"\0", b"x"]), [1, 0, None]),
        (pa.array([True, False]), pa.array([False, True, None]), [1, 0, None]),
        (pa.array([1, 2]), pa.nulls(3), [None, None, None]),
    ],
)
def test_keys_of_any_type_match_by_value(
    tmp_path: Path, stored: pa.Array, asked: pa.Array, answer: list[Any]
) -> None:
    times = timely([at(0)] * 2, UTC_US)
    pq.write_table(
        pa.table({"user_id": stored, "event_timestamp": times, "value": [0, 1]}), tmp_path / "k.parquet"
    )
    store = open_store(tmp_path / "repo")
    apply(store, USER, a_view("keyed", tmp_path / "k.parquet", created=False))
    request = pa.table({"user_id": asked, "event_timestamp": timely([at(1)] * 3, UTC_US)})
    assert values(store, request, ("keyed:value",)) == answer


@pytest.mark.parametrize("users", [["1", "2"], [True, False], [b"1", b"2"]])
def test_keys_of_types_that_have_nothing_in_common_are_refused(store: FeatureStore, users: list[Any]) -> None:
    with pytest.raises(
        FeatureError, match=r"ages: key user_id is \w+ in the request and BIGINT in the source"
    ):
        values(store, frame(users, [5, 5]))


def test_floats_too_large_to_tell_keys_apart_are_refused(store: FeatureStore) -> None:
    with pytest.raises(FeatureError, match="pass the key as integers"):
        values(store, frame([float(2**53), 1.0], [5, 5]))


def test_a_missing_key_column_is_named(store: FeatureStore) -> None:
    with pytest.raises(FeastEntityDFMissingColumnsError, match="user_id"):
        values(store, ASKED.drop(columns="user_id"))


def test_one_view_may_be_joined_under_several_aliases(store: FeatureStore) -> None:
    view = store.get_feature_view("ages")
    service = FeatureService(
        name="friends",
        features=[
            view.with_name("author").with_join_key_map({"user_id": "author_id"}),
            view.with_name("reader").with_join_key_map({"user_id": "reader_id"}),
        ],
    )
    apply(store, service)
    asked = frame([1, 1], [9, 9], author_id=[1, 2], reader_id=[2, 3]).drop(columns="user_id")
    answer = store.get_historical_features(asked, service, full_feature_names=True).to_df()
    assert answer.author__value.tolist() == [11, 20]
    assert answer.reader__value.fillna(-1).tolist() == [20, -1]


def test_field_mappings_rename_features_keys_and_times(tmp_path: Path) -> None:
    rows = [{"uid": 1, "when_timestamp": at(1), "made_timestamp": at(5), "raw": 7, "value": -1}]
    path = write_rows(tmp_path / "mapped.parquet", rows)
    store = open_store(tmp_path / "repo")
    view = a_view(
        "mapped",
        path,
        features=[Field(name="clicks", dtype=Int64)],
        timestamp_field="event_timestamp",
        created_timestamp_column="made_timestamp",
        field_mapping={"uid": "user_id", "raw": "clicks", "when_timestamp": "event_timestamp"},
    )
    apply(store, USER, view)
    answer = store.get_historical_features(frame([1, 1], [4, 5]), ["mapped:clicks"]).to_arrow()
    assert answer.column("clicks").to_pylist() == [None, 7]


def test_a_feature_named_like_a_requested_column_needs_its_full_name(store: FeatureStore) -> None:
    asked = ASKED.assign(value=range(5))
    with pytest.raises(FeatureError, match="two columns named value"):
        values(store, asked)
    answer = store.get_historical_features(asked, ["ages:value"], full_feature_names=True).to_df()
    assert answer.value.tolist() == [0, 1, 2, 3, 4]
    assert answer.ages__value.fillna(-1).tolist() == [11, 20, 10, -1, -1]


def test_columns_of_the_source_that_nobody_asked_for_collide_with_nothing(
    store: FeatureStore, tmp_path: Path
) -> None:
    rows = [
        {
            "user_id": 1,
            "event_timestamp": at(1),
            "created_timestamp": at(1),
            "value": 5,
            "label": 9,
            "row_id": 3,
        }
    ]
    write_rows(tmp_path / "ages.parquet", rows)
    asked = ASKED.assign(row_id=range(5), position=0, k0="k", available=None)
    assert values(store, asked) == [5, None, 5, None, None]


def test_on_demand_views_see_joined_features_and_request_data(store: FeatureStore) -> None:
    source = RequestSource(name="asked_now", schema=[Field(name="bonus", dtype=Int64)])
    view = OnDemandFeatureView(
        name="sums",
        sources=[store.get_feature_view("ages"), source],
        schema=[Field(name="total", dtype=Float64)],
        feature_transformation=PandasTransformation(_total, inspect.getsource(_total)),
        mode="pandas",
    )
    apply(store, view)
    answer = store.get_historical_features(ASKED.assign(bonus=100), ["sums:total", "ages:value"])
    assert answer.to_df().total.fillna(-1).tolist() == [111, 120, 110, -1, -1]
    assert pa.concat_tables(answer.to_arrow_batches(2)).equals(answer.to_arrow().combine_chunks())


def _total(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"total": inputs["value"].astype("float64") + inputs["bonus"]})


def test_without_a_frame_every_entity_seen_in_the_range_is_answered_as_of_its_end(
    store: FeatureStore,
) -> None:
    answer = store.get_historical_features(
        entity_df=None, features=["ages:value"], start_date=at(0), end_date=at(2.5)
    ).to_df()
    assert answer[["user_id", "value"]].values.tolist() == [[1, 10], [2, 20]]
    later = store.get_historical_features(None, ["ages:value"], start_date=at(2.5), end_date=at(9)).to_df()
    assert later[["user_id", "value"]].values.tolist() == [[1, 11]]


def test_wide_types_come_back_as_the_stock_store_gives_them(tmp_path: Path) -> None:
    path = tmp_path / "types.parquet"
    columns = {
        "value": pa.array([[1.5, None]], pa.list_(pa.float32())),
        "small": pa.array([1], pa.int8()),
        "text": pa.array(["é"], pa.large_string()),
        "made": pa.array([at(0)], pa.timestamp("ns", tz="UTC")),
        "pair": pa.array([{"a": 1, "b": "x"}]),
        "raw": pa.array([b"\0\1"]),
    }
    pq.write_table(pa.table({"user_id": [1], "event_timestamp": timely([at(0)], UTC_US), **columns}), path)
    store = open_store(tmp_path / "repo")
    features = [Field(name=name, dtype=String) for name in columns]
    apply(store, USER, a_view("types", path, created=False, features=features))
    references = [f"types:{name}" for name in columns]
    ours = store.get_historical_features(frame([1], [5]), references).to_arrow()
    stock = open_store(tmp_path / "repo", type="duckdb")
    assert isinstance(stock._get_provider().offline_store, DuckDBOfflineStore)
    theirs = stock.get_historical_features(frame([1], [5]), references).to_arrow()
    assert ours.drop_columns("made").equals(theirs.drop_columns("made"))
    assert ours.column("made").to_pylist() == [at(0)]


def test_a_relative_path_is_meant_from_the_working_directory_or_else_from_the_repository(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    apply(store, a_view("near", "ages.parquet"))
    assert values(store, ASKED, ("near:value",)) == ANSWER
    monkeypatch.chdir(os.sep)
    (tmp_path / "ages.parquet").rename(tmp_path / "repo" / "ages.parquet")
    assert values(store, ASKED, ("near:value",)) == ANSWER


def test_folders_globs_and_hive_partitions_are_read_whole(tmp_path: Path) -> None:
    for day in (1, 2):
        row = {"user_id": day, "event_timestamp": at(day), "created_timestamp": at(day), "value": day}
        write_rows(tmp_path / "views" / f"day={day}" / "part.parquet", [row])
    store = open_store(tmp_path / "repo")
    features = [Field(name="value", dtype=Int64), Field(name="day", dtype=Int64)]
    places = {"folder": "views", "pattern": "views/*/*.parquet", "one": "views/day=2/part.parquet"}
    apply(store, USER, *(a_view(name, tmp_path / path, features=features) for name, path in places.items()))
    for name, expected in {"folder": [1, 2], "pattern": [1, 2], "one": [None, 2]}.items():
        answer = store.get_historical_features(
            frame([1, 2], [9, 9]), [f"{name}:value", f"{name}:day"]
        ).to_arrow()
        assert answer.column("value").to_pylist() == answer.column("day").to_pylist() == expected


def test_a_request_holds_its_rows_when_the_frame_changes_afterwards(store: FeatureStore) -> None:
    asked = ASKED.copy()
    job = store.get_historical_features(asked, ["ages:value"])
    asked["user_id"] = np.int64(3)
    assert job.to_arrow().column("value").to_pylist() == ANSWER
