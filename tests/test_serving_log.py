"""The serving log's tables hold what the model saw, also of answers that are not complete."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logged_world import AGE, ITEMS, popularity, ranked, read_log, without_model
from online_world import AT, CONTRACT, FIELDS, MODEL, NOW

from feature_repo.errors import BundleError
from feature_repo.frames import columns_from_table
from ranking_service.assemble import assemble
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.degrade import unread
from ranking_service.online.fetched import Fetched, Origin
from ranking_service.online.packed_reader import KINDS
from ranking_service.serving_log.places import closed_segments
from ranking_service.serving_log.tables import (
    LoggedRanking,
    candidates_table,
    check_names,
    new_served_id,
    requests_table,
)
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings_sections import LogSettings
from skew_checks.replay import served
from skew_checks.result.parts import Window


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "serving_log"


def write(folder: Path, *logged: LoggedRanking) -> None:
    log = ServingLog.start(folder, LogSettings())
    for entry in logged:
        log.offer(entry)
    assert log.close().written == len(logged)


def tables(*logged: LoggedRanking) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows as plain values."""
    return requests_table(logged, CONTRACT).to_pylist(), candidates_table(logged, CONTRACT).to_pylist()


def test_a_row_per_request_and_per_candidate(folder: Path) -> None:
    one, two = ranked("ann", limit=3, request_id="one"), ranked("nobody", ["item 1"], surface=None)
    write(folder, one, two)
    requests, candidates = read_log(folder)
    assert (requests.num_rows, candidates.num_rows) == (2, 5)
    row, stranger = requests.to_pylist()
    assert (row["request_id"], row["user_id"], row["model"], row["bundle_version"]) == (
        "one",
        "ann",
        "home",
        "v1",
    )
    assert (row["level"], row["reason"], row["degraded_views"], row["cached_candidates"]) == (0, "", [], 0)
    assert (row["surface"], row["device"], row["bandwidth"], row["request_timestamp"]) == (
        "search",
        None,
        None,
        AT,
    )
    assert (row["candidate_count"], row["returned_count"], row["received_timestamp"]) == (4, 3, NOW)
    assert (row["user_activity"], row["user_country"], row["presence__user_stats"]) == (1.5, "DE", "found")
    assert row["event_timestamp__user_stats"].timestamp() == AT - AGE
    assert stranger["user_activity"] is None, "defaults are not filled in"
    assert (stranger["event_timestamp__user_stats"], stranger["presence__user_stats"]) == (None, "not_found")
    mine = candidates.slice(0, 4).to_pylist()
    assert {entry["served_id"] for entry in mine} == {row["served_id"]}
    assert [entry["item_id"] for entry in mine] == list(ITEMS)
    assert [entry["position"] for entry in mine] == [0, 1, 2, 3]
    best = sorted((entry for entry in mine if entry["is_returned"]), key=lambda entry: entry["rank"])
    order = one.ranking.order[:3]
    assert [(entry["item_id"], entry["score"]) for entry in best] == [
        (ITEMS[place], one.ranking.scores[place]) for place in order
    ]


def test_presence_and_event_times_tell_where_a_value_comes_from() -> None:
    origins = [Origin.FOUND, Origin.NOT_FOUND, Origin.EXPIRED, Origin.LAST_KNOWN, Origin.UNREAD]
    items = [f"item {index}" for index in range(5)]
    requests, rows = tables(ranked(items=items, item_origins=origins))
    assert [row["presence__item_stats"] for row in rows] == [
        "found",
        "not_found",
        "expired",
        "last_known",
        "unread",
    ]
    assert [row["item_plays"] for row in rows] == [0.0, None, None, 3.0, None]
    assert [row["item_genres"] for row in rows] == [[], [], [], [], []]
    assert [row["event_timestamp__item_stats"] is None for row in rows] == [False, True, False, False, True]
    (request,) = requests
    assert (request["level"], request["reason"]) == (2, "Redis did not answer in 20 ms")
    assert request["degraded_views"] == [
        {"view": "item_stats", "level": 1},
        {"view": "item_stats", "level": 2},
    ]


def test_an_answer_without_the_model_has_neither_input_nor_score() -> None:
    complete, model_free = ranked(), without_model(ranked())
    requests, rows = tables(complete, model_free)
    assert [request["level"] for request in requests] == [0, 3]
    assert [row["score"] is None for row in rows] == [False] * 4 + [True] * 4
    assert [row["model__item_plays"] for row in rows[4:]] == [None] * 4
    assert [row["item_plays"] for row in rows[4:]] == [0.0, 1.0, 2.0, 3.0]
    assert [row["rank"] for row in rows[4:]] == [0, 1, 2, 3]


def test_views_that_were_not_even_tried_count_as_unread() -> None:
    logged = without_model(ranked())
    nothing = replace(logged, ranking=replace(logged.ranking, fetched=Fetched(4)))
    (request,), rows = tables(nothing)
    assert (request["presence__user_stats"], request["user_country"]) == ("unread", None)
    assert {row["presence__item_stats"] for row in rows} == {"unread"}
    assert [row["item_genres"] for row in rows] == [[]] * 4
    assert [row["item_plays"] for row in rows] == [None] * 4


def test_candidates_of_which_nothing_was_read_are_written_as_such_alone_and_among_others() -> None:
    plans = [
        BlockPlan(CONTRACT, tuple(view for view in CONTRACT.views if set(view.join_keys) == kind))
        for kind in KINDS
    ]
    logged = without_model(ranked())
    nothing = replace(logged, ranking=replace(logged.ranking, fetched=unread(plans, 4, reason="no room")))
    assert nothing.ranking.fetched.is_unread
    assert not logged.ranking.fetched.is_unread
    alone, mixed = (candidates_table(some, CONTRACT) for some in ([nothing] * 3, [logged, *[nothing] * 3]))
    assert alone.schema == mixed.schema
    assert alone.to_pylist() == mixed.slice(4).to_pylist()


def test_values_after_their_defaults_stand_beside_those_before(folder: Path) -> None:
    """A number of the model has them in its model column, all others that can be filled in a column of their own."""
    write(folder, ranked("nobody", surface=None))
    requests, candidates = read_log(folder)
    filled = {
        name for name in (*requests.column_names, *candidates.column_names) if name.startswith("filled__")
    }
    assert filled == {
        f"filled__{name}" for name in ("user_country", "surface", "device", "session_position", "theme")
    }
    (row,) = requests.to_pylist()
    assert (row["surface"], row["filled__surface"], row["filled__theme"]) == (None, "home", "light")
    assert (row["session_position"], row["filled__session_position"]) == (None, 0.0)
    assert {row["model__user_activity"] for row in candidates.to_pylist()} == {
        FIELDS["user_activity"].default
    }


def test_the_logged_model_input_is_assembled_from_the_logged_raw_values(folder: Path) -> None:
    """The replay's first half: raw values plus the contract give the matrix, bit by bit."""
    write(folder, *(ranked(user) for user in ("ann", "bob", "nobody")))
    segment = served.read_log(folder, Window()).segments[0].read()
    rows = segment.rows(np.arange(12))
    assert rows[f"model__{MODEL[0]}"].type == pa.float32()
    assert segment.model_input.tobytes() == assemble(columns_from_table(rows), CONTRACT).tobytes()


def test_stored_floats_keep_their_bits_and_other_numbers_their_width(folder: Path) -> None:
    write(folder, ranked())
    candidates = read_log(folder)[1]
    assert (candidates["item_popularity"].type, candidates["item_plays"].type) == (pa.float32(), pa.float64())
    assert candidates["item_popularity"].to_pylist() == [popularity(item) for item in ITEMS]


def test_rows_in_blocks_give_the_same_tables_as_rows_by_column() -> None:
    """The fast path of what the packed reader hands over."""
    logged = ranked(items=["item 0", "item 1"])
    plan = BlockPlan(CONTRACT, (CONTRACT.view("item_stats"),))
    by_column = logged.ranking.fetched.item
    genres, plays = by_column.columns["item_genres"], by_column.columns["item_plays"]
    popularities = by_column.columns["item_popularity"]
    view = by_column.views["item_stats"]
    blocks = replace(
        plan.blank,
        floats=np.array([popularities], np.float32).T,
        numbers=np.array([plays]).T,
        texts=np.empty((2, 0), object),
        lists=(genres,),  # type: ignore[arg-type]
        presence=view.presence[:, None],
        events=view.event_timestamps[:, None],
    )
    fetched = replace(logged.ranking.fetched, item=plan.entity_rows(blocks))
    in_blocks = replace(logged, ranking=replace(logged.ranking, fetched=fetched))
    several = [logged, logged, logged]
    assert candidates_table([in_blocks] * 3, CONTRACT).equals(candidates_table(several, CONTRACT))
    mixed = [logged, in_blocks, logged]
    assert candidates_table(mixed, CONTRACT).equals(candidates_table(several, CONTRACT))


def test_a_repeated_request_id_does_not_mix_answers(folder: Path) -> None:
    write(folder, ranked("ann", request_id="r"), ranked("bob", request_id="r"))
    requests, candidates = read_log(folder)
    assert requests["request_id"].to_pylist() == ["r", "r"]
    assert len(set(requests["served_id"].to_pylist())) == 2
    assert candidates.group_by("served_id").aggregate([("rank", "count")])["rank_count"].to_pylist() == [4, 4]


def test_later_served_ids_sort_behind_earlier_ones() -> None:
    ids = [new_served_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [served_id[:16] for served_id in ids] == sorted(served_id[:16] for served_id in ids)


def test_ids_survive_as_they_are(folder: Path) -> None:
    odd = ("0", "trailing\0 1", "ünïcode 🎬 2", " space 3")
    write(folder, ranked("us\ner", odd))
    requests, candidates = read_log(folder)
    assert requests["user_id"].to_pylist() == ["us\ner"]
    assert tuple(candidates["item_id"].to_pylist()) == odd


def test_one_bundles_rows_can_be_read_alone(folder: Path) -> None:
    write(folder, ranked(), ranked(version="v2", items=["item 1"]))
    (segment,) = served.read_log(folder, Window()).of_bundle("v2")
    assert segment.requests()["bundle_version"].to_pylist() == ["v2"]
    assert segment.candidates().num_rows == 1


def test_a_window_opens_only_the_days_it_covers(folder: Path) -> None:
    write(folder, ranked(), ranked(at=AT + 86_400, request_id="next day"))
    today, tomorrow = closed_segments(folder)[0], closed_segments(folder)[1]
    (today if "03-01" in str(today.path) else tomorrow).requests.write_bytes(b"damaged")
    start = NOW.replace(day=2, hour=0, minute=0)
    (segment,) = served.read_log(folder, Window(start=start)).segments
    assert segment.requests()["request_id"].to_pylist() == ["next day"]


def test_features_named_like_the_logs_columns_are_refused() -> None:
    views = (ViewPlan("v", ("item_id",), (Field("score", "FLOAT", 0.0),), 0.0, ""),)
    clash: Any = Contract("rank", "ranker", views, (Field("date", "FLOAT", 0.0),), (), ())
    with pytest.raises(BundleError, match="date, score"):
        check_names(clash)


def test_the_files_are_ordinary_parquet(folder: Path) -> None:
    write(folder, ranked())
    (segment,) = closed_segments(folder)
    assert (pq.read_table(segment.requests).num_rows, pq.read_table(segment.candidates).num_rows) == (1, 4)
