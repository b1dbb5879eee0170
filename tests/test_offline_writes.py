"""Pulls, saved data sets, appended rows, logged features, and what happens when memory does not do."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import BigQuerySource, FeatureService, FeatureStore, Field, FileSource, PushSource
from feast.data_format import DeltaFormat
from feast.data_source import PushMode
from feast.errors import FeastJoinKeysDuringMaterialization, SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.types import Int64
from offline_world import EPOCH, ITEM, OURS, USER, a_view, apply, at, open_store, timely, write_rows

from feature_repo.errors import FeatureError, SettingError
from materialization.data_plane.offline.duck import DuckSettings, connect, memory_limit_bytes
from materialization.data_plane.offline.duck_files import FileStamps
from materialization.data_plane.offline.duck_sources import s3_secret_sql, source_sql

UTC_US = pa.timestamp("us", tz="UTC")
TIMES = ("event_timestamp", "created_timestamp")


def rows(*described: tuple[int | None, float, float | None, int]) -> list[dict[str, Any]]:
    return [
        {
            "user_id": user,
            "event_timestamp": at(event),
            "created_timestamp": None if created is None else at(created),
            "value": value,
        }
        for user, event, created, value in described
    ]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    path = write_rows(
        tmp_path / "ages.parquet",
        rows((1, 1, 1, 10), (1, 3, 5, 11), (1, 3, 4, 12), (2, 2, 2, 20), (2, 2, 2, 21), (2, 9, 9, 22)),
    )
    store = open_store(tmp_path / "repo")
    apply(store, USER, ITEM, a_view("ages", path))
    return store


def pull(store: FeatureStore, path: Path, *, latest: bool, **changes: Any) -> pa.Table:
    offline = store._get_provider().offline_store
    asked = {
        "data_source": FileSource(path=str(path), timestamp_field="event_timestamp"),
        "join_key_columns": ["user_id"],
        "feature_name_columns": ["value"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "created_timestamp",
        "start_date": at(1),
        "end_date": at(3),
        **changes,
    }
    method = offline.pull_latest_from_table_or_query if latest else offline.pull_all_from_table_or_query
    return method(store.config, **asked).to_arrow()


def test_pull_latest_takes_the_newest_event_then_the_newest_created_then_the_last_in_the_source(
    store: FeatureStore, tmp_path: Path
) -> None:
    table = pull(store, tmp_path / "ages.parquet", latest=True)
    assert table.column_names == ["user_id", "value", *TIMES]
    assert sorted(table.column("value").to_pylist()) == [11, 21]


@pytest.mark.parametrize(
    "kind",
    [
        UTC_US,
        pa.timestamp("ns", tz="UTC"),
        pa.timestamp("ns"),
        pa.timestamp("ms", tz="Asia/Tokyo"),
        pa.timestamp("s"),
    ],
    ids=str,
)
def test_windows_include_both_ends_as_instants_however_times_are_stored(
    store: FeatureStore, tmp_path: Path, kind: pa.DataType
) -> None:
    described = rows((1, 0, 0, 0), (1, 1, 1, 1), (2, 3, 3, 2), (2, 4, 4, 3))
    path = write_rows(tmp_path / "other.parquet", described, event_timestamp=kind, created_timestamp=kind)
    for end in (
        at(3),
        at(3).replace(tzinfo=None),
        pd.Timestamp(at(3)).tz_convert("Asia/Tokyo").to_pydatetime(),
    ):
        table = pull(store, path, latest=False, end_date=end)
        assert table.column("value").to_pylist() == [1, 2]
        assert {table.schema.field(name).type for name in TIMES} == {UTC_US}
        assert table.column("event_timestamp").to_pylist() == [at(1), at(3)]
    assert pull(store, path, latest=False, start_date=None, end_date=None).num_rows == 4
    far = {"start_date": datetime.min.replace(tzinfo=UTC), "end_date": datetime.max.replace(tzinfo=UTC)}
    assert sorted(pull(store, path, latest=True, **far).column("value").to_pylist()) == [1, 3]


def test_no_feature_names_means_every_column_and_no_keys_the_dummy_one(
    store: FeatureStore, tmp_path: Path
) -> None:
    path = tmp_path / "ages.parquet"
    every = pull(store, path, latest=False, join_key_columns=[], feature_name_columns=[])
    assert set(every.column_names) == {"user_id", "value", *TIMES, "__dummy_id"}
    latest = pull(store, path, latest=True, join_key_columns=[], end_date=at(9))
    assert latest.to_pydict()["value"] == [22]
    assert latest.to_pydict()["__dummy_id"] == [""]


def test_a_pull_names_the_missing_key_or_column(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "ages.parquet"
    with pytest.raises(FeastJoinKeysDuringMaterialization, match="item_id"):
        pull(store, path, latest=False, join_key_columns=["item_id"])
    with pytest.raises(FeatureError, match="has no column clicks; found user_id"):
        pull(store, path, latest=True, feature_name_columns=["clicks"])
    with pytest.raises(FeatureError, match=r"gone\.parquet cannot be read"):
        pull(store, tmp_path / "gone.parquet", latest=True)


def test_a_pull_of_many_rows_is_one_record_batch(store: FeatureStore, tmp_path: Path) -> None:
    many = 300_000
    stamps = timely([at(2)], UTC_US).take(pa.array([0] * many))
    table = pa.table({"user_id": range(many), **dict.fromkeys(TIMES, stamps), "value": range(many)})
    pq.write_table(table, tmp_path / "many.parquet")
    for latest in (False, True):
        pulled = pull(store, tmp_path / "many.parquet", latest=latest)
        assert [len(batch) for batch in pulled.to_batches()] == [many]


def test_feast_materializes_views_with_and_without_entity(store: FeatureStore, tmp_path: Path) -> None:
    apply(store, a_view("everyone", tmp_path / "ages.parquet", entities=[]))
    store.materialize(at(0), at(10))
    answer = store.get_online_features(["ages:value"], [{"user_id": 1}, {"user_id": 2}]).to_dict()
    assert answer["value"] == [11, 22]
    assert store.get_online_features(["everyone:value"], [{"user_id": 1}]).to_dict()["value"] == [22]


def asked(users: list[int]) -> pd.DataFrame:
    times = pd.to_datetime([at(10)] * len(users), utc=True)
    return pd.DataFrame({"user_id": users, "event_timestamp": times})


@pytest.mark.parametrize("place", ["saved.parquet", "saved"])
def test_a_saved_data_set_is_read_back_and_replaced_only_when_allowed(
    store: FeatureStore, tmp_path: Path, place: str
) -> None:
    storage = SavedDatasetFileStorage(str(tmp_path / "sets" / place))
    for users, allowed in (([1, 2, 3], False), ([2, 1], True)):
        job = store.get_historical_features(asked(users), ["ages:value"], full_feature_names=True)
        saved = store.create_saved_dataset(job, "set", storage, allow_overwrite=allowed)
        assert saved.to_df().user_id.tolist() == users
    assert store.get_saved_dataset("set").to_df().ages__value.tolist() == [22, 11]
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        store.create_saved_dataset(job, "set", storage)
    assert not list((tmp_path / "sets").glob(".*"))


def test_results_are_staged_as_parquet_files(tmp_path: Path, store: FeatureStore) -> None:
    staged = open_store(tmp_path / "repo", staging_location=str(tmp_path / "staging"))
    job = staged.get_historical_features(asked([1, 2]), ["ages:value"])
    assert job.supports_remote_storage_export()
    (path,) = job.to_remote_storage()
    assert pq.read_table(path).column("value").to_pylist() == [11, 22]
    assert not store.get_historical_features(asked([1]), ["ages:value"]).supports_remote_storage_export()


def push(store: FeatureStore, view: str, *described: Any) -> None:
    frame = pd.DataFrame(rows(*described))
    store.write_to_offline_store(view, frame)


def test_appended_rows_join_those_that_are_there(store: FeatureStore, tmp_path: Path) -> None:
    push(store, "ages", (3, 5, 5, 30), (1, 9, 9, 13))
    values = pq.read_table(tmp_path / "ages.parquet").column("value").to_pylist()
    assert values == [10, 11, 12, 20, 21, 22, 30, 13]
    answer = store.get_historical_features(asked([3, 1]), ["ages:value"]).to_arrow()
    assert answer.column("value").to_pylist() == [30, 13]


def test_appends_at_the_same_time_lose_no_row(store: FeatureStore, tmp_path: Path) -> None:
    writers = [
        threading.Thread(target=push, args=(store, "ages", (7, number, number, number)))
        for number in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    values = pq.read_table(tmp_path / "ages.parquet").column("value").to_pylist()
    assert sorted(values) == sorted([10, 11, 12, 20, 21, 22, *range(8)])


def test_a_failed_append_leaves_the_file_as_it_was(store: FeatureStore, tmp_path: Path) -> None:
    before = (tmp_path / "ages.parquet").read_bytes()
    wrong = pd.DataFrame(rows((1, 1, 1, 1))).assign(value="text")
    with pytest.raises(pa.ArrowInvalid):
        store.write_to_offline_store("ages", wrong)
    with pytest.raises(ValueError, match="incorrect columns"):
        store.write_to_offline_store("ages", wrong[wrong.columns[::-1]], reorder_columns=False)
    assert (tmp_path / "ages.parquet").read_bytes() == before
    assert not list(tmp_path.glob(".*.partial"))


def test_a_folder_gets_one_more_file_in_its_partition(store: FeatureStore, tmp_path: Path) -> None:
    for day in (1, 2):
        write_rows(tmp_path / "days" / f"day={day}" / "part.parquet", rows((day, day, day, day)))
    features = [Field(name="value", dtype=Int64), Field(name="day", dtype=Int64)]
    apply(store, a_view("days", tmp_path / "days", features=features))
    store.write_to_offline_store("days", pd.DataFrame(rows((1, 5, 5, 5))).assign(day=2))
    assert [path.parent.name for path in sorted((tmp_path / "days").rglob("*.parquet"))] == [
        "day=1",
        "day=2",
        "day=2",
    ]
    answer = store.get_historical_features(asked([1, 2]), ["days:value", "days:day"]).to_df()
    assert answer[["value", "day"]].values.tolist() == [[5, 2], [2, 2]]


def test_a_pattern_cannot_be_appended_to(store: FeatureStore, tmp_path: Path) -> None:
    apply(store, a_view("many", tmp_path / "*.parquet"))
    with pytest.raises(SettingError, match="cannot be appended to the pattern"):
        push(store, "many", (1, 1, 1, 1))


def test_pushed_rows_reach_the_source_under_its_own_column_names(store: FeatureStore, tmp_path: Path) -> None:
    described = [{"user_id": 1, "event_timestamp": at(1), "created_timestamp": at(1), "raw": 1}]
    view = a_view("pushed", write_rows(tmp_path / "raw.parquet", described), field_mapping={"raw": "value"})
    source = PushSource(name="live", batch_source=view.batch_source)
    apply(store, source, view.__class__(name="pushed", entities=[USER], schema=view.schema, source=source))
    store.push("live", pd.DataFrame([{**described[0], "raw": 2}]), to=PushMode.OFFLINE)
    assert pq.read_table(tmp_path / "raw.parquet").column("raw").to_pylist() == [1, 2]


@pytest.mark.parametrize("partition_by", [None, ["__log_date"]])
def test_logged_features_are_appended_and_read_back(
    store: FeatureStore, tmp_path: Path, partition_by: list[str] | None
) -> None:
    destination = FileLoggingDestination(path=str(tmp_path / "logs"), partition_by=partition_by)
    view = store.get_feature_view("ages")
    service = FeatureService(
        name="served", features=[view], logging_config=LoggingConfig(destination=destination, sample_rate=1.0)
    )
    apply(store, service)
    logged = {
        "user_id": [1, 2],
        "ages__value": [11, 22],
        "ages__value__timestamp": timely([at(3)] * 2, UTC_US),
        "ages__value__status": pa.array([2, 2], pa.int32()),
        "__log_timestamp": timely([at(5)] * 2, UTC_US),
        "__log_date": pa.array([EPOCH.date()] * 2),
        "__request_id": ["a", "b"],
    }
    store.write_logged_features(pa.table(logged), service)
    pq.write_table(pa.table(logged), tmp_path / "more.parquet")
    store.write_logged_features(tmp_path / "more.parquet", service)
    provider = store._get_provider()
    read = provider.retrieve_feature_service_logs(service, at(4), at(6), store.config, store.registry).to_df()
    assert sorted(read.user_id) == [1, 1, 2, 2]
    assert set(read) == set(logged) - {"__log_date"}


@pytest.mark.usefixtures("store")
def test_a_join_that_does_not_fit_says_what_to_raise(tmp_path: Path) -> None:
    small = open_store(tmp_path / "repo", memory_limit="2MB", max_spill_size="1MB", threads=1)
    many = asked([1, 2] * 200_000).sample(frac=1.0, random_state=1)
    with pytest.raises(SettingError, match="raise memory_limit"):
        small.get_historical_features(many, ["ages:value"]).to_arrow()
    refused = open_store(tmp_path / "repo", memory_limit="plenty")
    with pytest.raises(SettingError, match="refuses memory_limit = 'plenty'"):
        refused.get_historical_features(asked([1]), ["ages:value"]).to_arrow()


@pytest.mark.usefixtures("store")
def test_a_table_larger_than_the_limit_is_read_piece_by_piece(tmp_path: Path) -> None:
    limited = open_store(tmp_path / "repo", memory_limit="60MB", threads=1)
    many = pa.table({"user_id": [1, 2] * 250_000, "event_timestamp": timely([at(10)] * 500_000, UTC_US)})
    wide = many.append_column("text", pa.array(["x" * 200] * 500_000))
    job = limited.get_historical_features(wide, ["ages:value"])
    with pytest.raises(SettingError, match=r"500,000 rows needs about 0\.1 GB.*to_arrow_batches"):
        job.to_arrow()
    assert sum(len(piece) for piece in job.to_arrow_batches()) == 500_000
    job.persist(SavedDatasetFileStorage(str(tmp_path / "large.parquet")))
    saved = pq.read_table(tmp_path / "large.parquet", columns=["value"])
    assert saved.column("value").to_pylist() == [11, 22] * 250_000


def test_wide_rows_beyond_the_limit_go_through_a_file(store: FeatureStore, tmp_path: Path) -> None:
    many = 100_000
    spill = tmp_path / "spill"
    limited = open_store(tmp_path / "repo", memory_limit="20MB", threads=1, spill_directory=str(spill))
    columns = {
        "user_id": range(many),
        **dict.fromkeys(TIMES, timely([at(1)] * many, UTC_US)),
        "value": range(many),
    }
    texts = pa.array([f"{number:0100}" for number in range(many)])
    pq.write_table(pa.table({**columns, "text": texts}), tmp_path / "ages.parquet")
    view = a_view("ages", tmp_path / "ages.parquet", features=[Field(name="text", dtype=Int64)])
    apply(store, view)
    request = pa.table({"user_id": range(many - 1, -1, -1), "event_timestamp": columns["event_timestamp"]})
    pieces = list(limited.get_historical_features(request, ["ages:text"]).to_arrow_batches())
    assert pa.concat_tables(pieces).column("text").to_pylist() == texts.to_pylist()[::-1]
    assert list(spill.iterdir()) == []


def test_the_stock_options_are_accepted_and_unknown_ones_refused(tmp_path: Path) -> None:
    open_store(
        tmp_path, staging_location="s3://bucket/x", staging_location_endpoint_override="http://minio:9000"
    )
    with pytest.raises(ValueError, match="memory_limt"):
        open_store(tmp_path, memory_limt="4GB")


def test_sizes_are_read_as_duckdb_reads_them() -> None:
    for text, size in {"4GB": 4e9, "1.5GiB": 1.5 * 2**30, "100 MB": 1e8, "7kib": 7168}.items():
        assert memory_limit_bytes(DuckSettings(memory_limit=text)) == size


def test_an_s3_source_gets_a_secret_for_its_bucket_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    secret = s3_secret_sql("s3://films/a/*.parquet", "http://minio:9000", {"AWS_ACCESS_KEY_ID": "it's"})
    assert secret == (
        """CREATE OR REPLACE SECRET "s3_films" (TYPE s3, SCOPE 's3://films', KEY_ID 'it''s', REGION 'eu-west-1', """
        "ENDPOINT 'minio:9000', USE_SSL false, URL_STYLE 'path')"
    )
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert s3_secret_sql("s3://films/a.parquet", "", {}) is None
    assert s3_secret_sql("gs://films/a.parquet", "", {}) is None


@pytest.mark.parametrize(
    "source",
    [
        FileSource(path="table", file_format=DeltaFormat(), timestamp_field="t"),
        BigQuerySource(table="t", timestamp_field="t"),
    ],
)
def test_a_source_that_cannot_be_read_says_what_is_missing(source: Any) -> None:
    with (
        connect(DuckSettings()) as connection,
        pytest.raises(SettingError, match=r"install it|not BigQuerySource"),
    ):
        source_sql(connection, source, None)


def test_the_store_is_named_by_its_class_path() -> None:
    module, _, name = OURS.rpartition(".")
    assert module.endswith("offline_store")
    assert name.endswith("OfflineStore")


def test_a_file_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "ages.parquet", rows((1, 1, 1, 10)))
    source = FileSource(path=str(path), timestamp_field="event_timestamp")
    stamps = FileStamps.of([source], None)
    stamps.check()
    path.replace(tmp_path / "old.parquet")
    write_rows(path, rows((1, 1, 1, 10)))
    with pytest.raises(FeatureError, match=r"ages\.parquet was replaced"):
        stamps.check()
