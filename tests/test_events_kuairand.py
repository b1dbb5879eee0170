"""KuaiRand as it is: duplicates, zero durations, unknown codes, overlapping history, damaged files."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.errors import EventDataError
from materialization.events.kuairand import USER_COLUMNS, VIDEO_COLUMNS, import_kuairand
from materialization.events.kuairand_log import LOG_COLUMNS
from materialization.events.store import EventStore

DATA = Path(
    os.environ.get("MARQUEE_TEST_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data")
)
NOON = datetime(2022, 4, 26, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
LOG, HISTORY = "log_standard_2022-04-25_to_2022-05-08.parquet", "user_history_until_2022-04-24.parquet"
USERS, VIDEOS = "user_features_pure.csv.gz", "video_features_basic_pure.csv.gz"


def log_row(**values: int) -> dict[str, int]:
    """One row of the log: user 1 sees video 10 at noon, watches 5 s of 20 s."""
    usual = {
        "user_id": 1,
        "video_id": 10,
        "time_ms": NOON_MS,
        "tab": 1,
        "play_time_ms": 5000,
        "duration_ms": 20000,
    }
    return dict.fromkeys(LOG_COLUMNS, 0) | usual | values


def write_log(folder: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), folder / LOG)


def write_csv(file: Path, columns: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    lines = [",".join(columns), *(",".join(str(row.get(column, 0)) for column in columns) for row in rows)]
    file.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of three users, two videos and two log rows."""
    made = tmp_path / "kuairand"
    made.mkdir()
    write_log(made, [log_row(), log_row(user_id=2, video_id=11, is_click=1)])
    history = {"user_id": 1, "history_len": 3, "last_time_ms": NOON_MS - 1000, "watch_seq": [10, 11, 10]}
    pq.write_table(pa.Table.from_pylist([history | {"like_seq": [], "long_watch_seq": [11]}]), made / HISTORY)
    video = {"author_id": 7, "video_type": "NORMAL", "upload_dt": "2022-04-10", "upload_type": "Kmovie"}
    first = {"video_id": 10, "video_duration": "20000.0", "music_type": "9.0", "tag": '"12,39"'}
    second = {"video_id": 11, "video_duration": "", "music_type": "", "tag": ""}
    write_csv(made / VIDEOS, VIDEO_COLUMNS, [video | first, video | second])
    users = [
        {"user_id": index, "user_active_degree": "full_active", "register_days": 10} for index in (1, 2, 3)
    ]
    users[1] |= {"user_active_degree": "UNKNOWN", "is_live_streamer": -124, "onehot_feat4": ""}
    write_csv(made / USERS, USER_COLUMNS, users)
    return made


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "home" / "events")


def imported(store: EventStore, folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The exposures made of a log of these rows."""
    write_log(folder, rows)
    import_kuairand(store, folder)
    return list(store.read("exposures").to_pylist())


def test_a_log_row_becomes_an_exposure(store: EventStore, folder: Path) -> None:
    row = imported(store, folder, [log_row(long_view=1, is_hate=1, is_forward=1)])[0]
    assert (row["user_id"], row["item_id"], row["surface"]) == ("1", "10", "tab_1")
    assert row["event_timestamp"] == NOON
    assert row["created_timestamp"] == NOON + timedelta(seconds=5), "outcomes are known when the play ends"
    assert (row["click"], row["long_view"], row["hide"], row["share"]) == (False, True, True, True)
    assert row["device"] is None
    assert row["position"] is None


@pytest.mark.parametrize(
    ("play_ms", "duration_ms", "completed"),
    [(19_999, 20_000, False), (20_000, 20_000, True), (50_000, 20_000, True), (50_000, 0, False)],
)
def test_completed_means_played_at_least_a_known_duration(
    store: EventStore, folder: Path, play_ms: int, duration_ms: int, completed: bool
) -> None:
    row = imported(store, folder, [log_row(play_time_ms=play_ms, duration_ms=duration_ms)])[0]
    assert row["completed"] is completed
    assert row["duration_ms"] == (duration_ms or None)


def test_the_first_of_exact_duplicates_is_kept_and_near_duplicates_stay_apart(
    store: EventStore, folder: Path
) -> None:
    rows = imported(store, folder, [log_row(), log_row(), log_row(), log_row(is_click=1)])
    assert [row["exposure_id"] for row in rows] == [f"1-{NOON_MS}-10", f"1-{NOON_MS}-10-2"]
    assert store.source()["quarantined"] == {"exposures": {"exact duplicate of another row": 2}}


@pytest.mark.parametrize(("shift_ms", "kept"), [(-1, False), (0, False), (1, True)])
def test_rows_not_later_than_the_history_are_put_aside(
    store: EventStore, folder: Path, shift_ms: int, kept: bool
) -> None:
    rows = imported(store, folder, [log_row(user_id=2), log_row(time_ms=NOON_MS - 1000 + shift_ms)])
    assert (len(rows) == 2) is kept
    assert store.source()["quarantined"] == (
        {} if kept else {"exposures": {"not later than the user's history": 1}}
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"is_click": 2}, "is_click is not 0 or 1"),
        ({"play_time_ms": -1}, "play_time_ms is negative"),
        ({"duration_ms": -5}, "duration_ms is negative"),
        ({"time_ms": 12}, "time_ms is not a time between 2000 and 2100"),
        ({"user_id": -124}, "user_id is missing"),
        ({"video_id": None}, "video_id is missing"),
    ],
)
def test_a_row_that_breaks_the_schema_is_put_aside_as_it_came(
    store: EventStore, folder: Path, values: dict[str, Any], reason: str
) -> None:
    rows = imported(store, folder, [log_row(user_id=2), {**log_row(), **values}])
    assert len(rows) == 1
    aside = store.quarantined("exposures")
    assert aside is not None
    assert aside["reason"].to_pylist() == [reason]
    assert aside["source_row"].to_pylist() == [1]
    name, value = next(iter(values.items()))
    assert aside[name].to_pylist() == [value]


def test_an_unknown_play_time_is_null(store: EventStore, folder: Path) -> None:
    row = imported(store, folder, [log_row(play_time_ms=-124)])[0]
    assert row["play_ms"] is None
    assert row["completed"] is False
    assert row["created_timestamp"] == row["event_timestamp"]


def test_sessions_end_with_thirty_quiet_minutes(store: EventStore, folder: Path) -> None:
    minute = 60_000
    times = [0, 0, 10 * minute, 40 * minute, 71 * minute]
    rows = imported(
        store, folder, [log_row(time_ms=NOON_MS + at, video_id=index) for index, at in enumerate(times)]
    )
    assert [row["session_position"] for row in rows] == [0, 0, 2, 3, 0]
    assert [row["session_id"] for row in rows] == [f"1-{NOON_MS}"] * 4 + [f"1-{NOON_MS + 71 * minute}"]
    assert rows[0]["request_id"] == rows[1]["request_id"] != rows[2]["request_id"]


def test_items_users_and_histories_are_read_with_unknowns_as_null(store: EventStore, folder: Path) -> None:
    import_kuairand(store, folder)
    first, second = store.read("items").to_pylist()
    assert first["release_timestamp"] == datetime(2022, 4, 9, 16, tzinfo=UTC), "midnight in Beijing"
    assert (first["genres"], first["duration_ms"], first["music_type"]) == (["12", "39"], 20_000, "9")
    assert (second["genres"], second["duration_ms"], second["music_type"]) == ([], None, None)
    users = store.read("users").to_pylist()
    assert users[0]["signup_timestamp"] == datetime(2022, 4, 14, tzinfo=UTC)
    assert (users[0]["activity_degree"], users[0]["is_streamer"], users[0]["category_4"]) == (
        "full_active",
        False,
        0,
    )
    assert (users[1]["activity_degree"], users[1]["is_streamer"], users[1]["category_4"]) == (
        None,
        None,
        None,
    )
    history = store.read("histories").to_pylist()
    assert history[0]["exposed_item_ids"] == ["10", "11", "10"]
    assert history[0]["liked_item_ids"] == []
    assert history[0]["created_timestamp"] == NOON - timedelta(seconds=1)


def test_the_statistics_of_the_whole_month_are_never_read(store: EventStore, folder: Path) -> None:
    (folder / "video_features_statistic_pure.parquet").write_text("unreadable")
    source = import_kuairand(store, folder)
    assert not any("statistic" in name for name in source["files"])
    assert any("leak the future" in note for note in source["notes"])


def test_bad_values_in_text_tables_put_the_row_aside(store: EventStore, folder: Path) -> None:
    text = gzip.decompress((folder / VIDEOS).read_bytes()).decode()
    more = [
        "12,7,NORMAL,2022-04-10,Kmovie,long,1,1,9,1",
        "13,7,NORMAL,someday,Kmovie,5,1,1,9,1",
        "14,7",
        "15,7,NORMAL,2022-04-10,Kmovie,5,99999999999,1,9,1",
        "10" + ",1" * 9,
    ]
    (folder / VIDEOS).write_bytes(gzip.compress("\n".join([text, *more]).encode()))
    import_kuairand(store, folder)
    assert store.source()["rows"]["items"] == 2
    assert store.source()["quarantined"]["items"] == {
        "video_duration is not a number": 1,
        "server_width is above 2,147,483,647": 1,
        "upload_dt is not a date": 2,
        "wrong number of fields": 1,
    }
    aside = store.quarantined("items")
    assert aside is not None
    assert [row["line"] for row in aside.to_pylist() if row["text"] == "14,7"] == [6]


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _remove(file: Path) -> None:
    file.unlink()


def _nonsense(file: Path) -> None:
    file.write_bytes(b"<html>not found</html>" * 9)


@pytest.mark.parametrize("name", [LOG, HISTORY, USERS, VIDEOS])
@pytest.mark.parametrize("damage", [_truncate, _empty, _remove, _nonsense])
def test_a_damaged_file_is_named_and_the_store_stays_as_it_was(
    store: EventStore, folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    before = import_kuairand(store, folder)
    damage(folder / name)
    with pytest.raises(EventDataError, match=name.split("_202")[0].split("_until")[0]):
        import_kuairand(store, folder)
    assert store.source() == before
    assert store.read("exposures").num_rows == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{key: value for key, value in log_row().items() if key != "tab"}], "column tab is missing"),
        ([{**log_row(), "time_ms": "noon"}], "column time_ms has the unexpected type string"),
        ([{**log_row(), "is_click": 0.5}], "column is_click has the unexpected type double"),
        ([log_row(time_ms=1)], "no row is usable, most because time_ms is not a time"),
    ],
)
def test_a_log_of_the_wrong_shape_names_file_and_column(
    store: EventStore, folder: Path, rows: list[dict[str, Any]], message: str
) -> None:
    write_log(folder, rows)
    with pytest.raises(EventDataError, match=message) as caught:
        import_kuairand(store, folder)
    assert LOG in str(caught.value)


def test_a_missing_text_column_and_a_table_without_rows_are_named(store: EventStore, folder: Path) -> None:
    write_csv(folder / USERS, USER_COLUMNS[:-1], [{"user_id": 1}])
    with pytest.raises(EventDataError, match="column onehot_feat17 is missing"):
        import_kuairand(store, folder)
    write_csv(folder / USERS, USER_COLUMNS, [])
    with pytest.raises(EventDataError, match="has no rows"):
        import_kuairand(store, folder)


def test_a_folder_of_something_else_is_named(store: EventStore, tmp_path: Path) -> None:
    with pytest.raises(EventDataError, match="is this the right data set"):
        import_kuairand(store, tmp_path)
    with pytest.raises(EventDataError, match="is not a folder"):
        import_kuairand(store, tmp_path / "nowhere")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([LOG, HISTORY, USERS, VIDEOS]), share=st.floats(0.0, 0.999))
def test_a_file_cut_anywhere_never_harms_the_store(
    store: EventStore, folder: Path, tmp_path: Path, name: str, share: float
) -> None:
    before = import_kuairand(store, folder)
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut, dirs_exist_ok=True)
    whole = (folder / name).read_bytes()
    (cut / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(EventDataError, match=name[:8]):
        import_kuairand(store, cut)
    assert store.source() == before
    assert store.read("exposures").num_rows == 2


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    """The data set beside the repository, imported."""
    folder = DATA / "kuairand-pure-2w"
    if not folder.is_dir():
        pytest.skip(f"no KuaiRand in {DATA}; name the folder of the data sets in MARQUEE_TEST_DATA")
    made = EventStore(tmp_path_factory.mktemp("real") / "events")
    import_kuairand(made, folder)
    return made


@pytest.mark.real_data
def test_the_real_rows_add_up(real: EventStore) -> None:
    source = real.source()
    assert source["rows"] == {
        "exposures": 222_866,
        "items": 7_583,
        "users": 27_285,
        "histories": 26_469,
        "truth": 0,
    }
    assert source["quarantined"] == {
        "exposures": {"exact duplicate of another row": 5_460, "not later than the user's history": 3}
    }
    assert source["first_event"].startswith("2022-04-24T15:05:41")
    assert source["last_event"].startswith("2022-05-08T15:52:10")
    assert pc.sum(real.read("histories")["history_length"]).as_py() == 1_208_280


@pytest.mark.real_data
def test_the_real_labels_add_up_with_the_rows_put_aside(real: EventStore) -> None:
    kept, aside = real.read("exposures"), real.quarantined("exposures")
    assert aside is not None
    published = {
        "click": ("is_click", 100_900),
        "long_view": ("long_view", 70_963),
        "like": ("is_like", 3_915),
        "profile_visit": ("is_profile_enter", 4_231),
        "comment": ("is_comment", 579),
        "follow": ("is_follow", 304),
        "share": ("is_forward", 195),
        "hide": ("is_hate", 190),
    }
    for ours, (theirs, count) in published.items():
        assert pc.sum(kept[ours]).as_py() + pc.sum(aside[theirs]).as_py() == count, ours


@pytest.mark.real_data
def test_the_real_nulls_and_keys_are_as_published(real: EventStore) -> None:
    exposures, items, users = (real.read(name) for name in ("exposures", "items", "users"))
    assert len(exposures["exposure_id"].unique()) == len(exposures)
    assert (len(exposures["user_id"].unique()), len(exposures["item_id"].unique())) == (25_156, 6_361)
    assert (items["duration_ms"].null_count, items["music_type"].null_count) == (239, 203)
    assert pc.sum(pc.equal(pc.list_value_length(items["genres"]), 0)).as_py() == 96
    assert len(items["author_id"].unique()) == 6_510
    assert users["is_streamer"].null_count == 21_127
    assert (users["category_4"].null_count, users["category_12"].null_count) == (874, 714)
