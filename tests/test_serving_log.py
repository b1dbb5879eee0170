"""The serving log holds what the model saw, and never holds up a request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from online_world import AT, CONTRACT, MODEL, NOW, OnlineWorld

from feature_repo.columns import Column, Ragged
from feature_repo.errors import BundleError
from ranking_service.assemble import assemble
from ranking_service.client import RankingClient
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.ranker import Ranker
from ranking_service.online.request import RankRequest
from ranking_service.online.start_up import open_ranker
from ranking_service.server.server import RankingServer
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.serving_log.writer import ServingLog, is_sampled
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import LogSettings, RedisSettings
from skew_checks import served
from skew_checks.verdict import Window

SETTINGS = ServiceSettings(redis=RedisSettings(1.0, 1.0))


@pytest.fixture
def log_folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def read_log(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Every request and candidate that was logged, as the skew check reads them."""
    segments = served.read_log(folder, Window()).segments
    return (
        pa.concat_tables([segment.requests() for segment in segments]),
        pa.concat_tables([segment.candidates() for segment in segments]),
    )


@contextmanager
def serving(world: OnlineWorld, folder: Path, log: LogSettings) -> Iterator[RankingClient]:
    settings = replace(SETTINGS, log=log)
    server = RankingServer.start(
        world.bundle, redis_url=world.redis_url, settings=settings, log_folder=folder
    )
    with RankingClient.connect(server.address) as client:
        yield client
    server.stop()


@pytest.fixture
def ranker(online_world: OnlineWorld) -> Ranker:
    return open_ranker(online_world.bundle, redis_url=online_world.redis_url, settings=SETTINGS)


def logged(ranker: Ranker, user: str = "ann", items: tuple[str, ...] = ("item 1", "item 2")) -> LoggedRanking:
    return LoggedRanking(ranker(RankRequest("r", user, items, AT)), AT)


def test_a_row_per_request_and_per_candidate(online_world: OnlineWorld, log_folder: Path) -> None:
    with serving(online_world, log_folder, LogSettings()) as client:
        first = client.rank(
            user_id="ann",
            candidate_ids=online_world.items,
            at=NOW,
            surface="search",
            limit=3,
            request_id="one",
        )
        client.rank(user_id="nobody", candidate_ids=["item 1"], at=NOW, features={"bandwidth": 2.0})
    requests, candidates = read_log(log_folder)
    assert (requests.num_rows, candidates.num_rows) == (2, 15)
    row = requests.to_pylist()[0]
    assert row["request_id"] == "one"
    assert (row["user_id"], row["bundle_version"], row["level"]) == ("ann", "v1", 0)
    assert (row["surface"], row["device"], row["bandwidth"], row["request_timestamp"]) == (
        "search",
        None,
        None,
        AT,
    )
    assert (row["candidate_count"], row["returned_count"]) == (14, 3)
    assert (row["user_activity"], row["user_country"]) == (1.5, "DE")
    assert (row["event_timestamp__user_stats"], row["presence__user_stats"]) == (NOW, "found")
    stranger = requests.to_pylist()[1]
    assert stranger["user_activity"] is None, "defaults are not filled in"
    assert (stranger["event_timestamp__user_stats"], stranger["presence__user_stats"]) == (None, "not_found")
    mine = candidates.slice(0, 14).to_pylist()
    assert {entry["served_id"] for entry in mine} == {row["served_id"]}
    assert [entry["item_id"] for entry in mine] == list(online_world.items)
    assert [entry["position"] for entry in mine] == list(range(14))
    best = sorted((entry for entry in mine if entry["is_returned"]), key=lambda entry: entry["rank"])
    assert [(entry["item_id"], entry["score"]) for entry in best] == [
        (item.item_id, item.score) for item in first.items
    ]


def test_presence_and_event_times_tell_why_a_value_is_missing(
    online_world: OnlineWorld, log_folder: Path
) -> None:
    with serving(online_world, log_folder, LogSettings()) as client:
        client.rank(user_id="ann", candidate_ids=["item 3", "item 5", "unknown 1"], at=NOW)
    rows = read_log(log_folder)[1].to_pylist()
    assert [row["presence__item_stats"] for row in rows] == ["found", "expired", "not_found"]
    assert [row["item_plays"] for row in rows] == [3, None, None]
    assert [row["item_genres"] for row in rows] == [[], [], []]
    assert rows[1]["event_timestamp__item_stats"] is not None
    assert rows[2]["event_timestamp__item_stats"] is None


def test_the_logged_model_input_is_assembled_from_the_logged_raw_values(
    online_world: OnlineWorld, log_folder: Path
) -> None:
    """The replay's first half: raw values plus the contract give the matrix, bit by bit."""
    with serving(online_world, log_folder, LogSettings()) as client:
        for user in ("ann", "bob", "nobody"):
            client.rank(user_id=user, candidate_ids=online_world.items, at=NOW, surface="search")
    requests, candidates = read_log(log_folder)
    rows = _joined(requests, candidates)
    columns = {field.name: _column(rows, field) for field in _raw_fields()}
    seen = np.column_stack([rows[f"model__{name}"].to_numpy() for name in MODEL])
    assert rows[f"model__{MODEL[0]}"].type == pa.float32()
    np.testing.assert_array_equal(seen, assemble(columns, CONTRACT))
    naive = [
        online_world.naive_input(user, online_world.items, {"surface": "search", "request_timestamp": AT})
        for user in ("ann", "bob", "nobody")
    ]
    np.testing.assert_array_equal(seen, np.concatenate(naive))


def _raw_fields() -> list[Field]:
    return [*(field for view in CONTRACT.views for field in view.fields), *CONTRACT.request_fields]


def _joined(requests: pa.Table, candidates: pa.Table) -> pa.Table:
    """Each candidate row with its request's columns beside it."""
    places = {served_id: place for place, served_id in enumerate(requests["served_id"].to_pylist())}
    of_request = requests.take([places[served_id] for served_id in candidates["served_id"].to_pylist()])
    for name in of_request.column_names:
        if name not in candidates.column_names:
            candidates = candidates.append_column(name, of_request[name])
    return candidates


def _column(rows: pa.Table, field: Field) -> Column:
    values = rows[field.name].to_pylist()
    if field.is_list:
        return Ragged.from_lists(values)
    if field.is_text:
        return np.array(values, object)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def test_users_are_sampled_as_a_whole_and_in_proportion() -> None:
    users = [f"user {index}" for index in range(20_000)]
    sampled = [user for user in users if is_sampled(user, 0.25)]
    assert len(sampled) == pytest.approx(5000, rel=0.05)
    assert all(is_sampled(user, 0.5) for user in sampled), "a larger sample keeps the smaller one's users"
    assert not any(is_sampled(user, 0.0) for user in users)
    assert all(is_sampled(user, 1.0) for user in users)


def test_users_outside_the_sample_are_counted_not_logged(ranker: Ranker, log_folder: Path) -> None:
    log = ServingLog.start(log_folder, CONTRACT, LogSettings(sample=0.0))
    log.offer(logged(ranker))
    counts = log.close()
    assert (counts.written, counts.dropped, counts.unsampled) == (0, 0, 1)


def test_a_full_queue_drops_and_counts_without_waiting(ranker: Ranker, log_folder: Path) -> None:
    stuck = ServingLog(log_folder, CONTRACT, LogSettings(queue_requests=3))
    one = logged(ranker)
    started = time.monotonic()
    for _ in range(10):
        stuck.offer(one)
    assert time.monotonic() - started < 0.1
    assert stuck.counts.dropped == 7


def test_a_disk_that_fails_is_counted_and_the_log_goes_on(ranker: Ranker, log_folder: Path) -> None:
    log = ServingLog.start(log_folder, CONTRACT, LogSettings(segment_candidates=1))
    (log_folder / "candidates").rmdir()
    log.offer(logged(ranker))
    _wait_for(lambda: log.counts.dropped == 1)
    (log_folder / "candidates").mkdir()
    log.offer(logged(ranker))
    assert log.close().written == 1


def test_a_segment_appears_by_size_by_age_and_at_the_end(ranker: Ranker, log_folder: Path) -> None:
    by_size = ServingLog.start(
        log_folder / "size", CONTRACT, LogSettings(segment_candidates=4, segment_seconds=60)
    )
    by_age = ServingLog.start(log_folder / "age", CONTRACT, LogSettings(segment_seconds=0.5))
    at_end = ServingLog.start(log_folder / "end", CONTRACT, LogSettings(segment_seconds=60))
    for _ in range(2):
        for log in (by_size, by_age, at_end):
            log.offer(logged(ranker))
    _wait_for(lambda: by_size.counts.written == 2 and by_age.counts.written == 2)
    assert at_end.counts.written == 0
    for log in (by_size, by_age, at_end):
        assert log.close().written == 2
        assert read_log(log.folder)[0].num_rows == 2


def test_a_half_written_segment_is_not_read(ranker: Ranker, log_folder: Path) -> None:
    log = ServingLog.start(log_folder, CONTRACT, LogSettings())
    log.offer(logged(ranker))
    log.close()
    whole = next((log_folder / "candidates").glob("*.parquet"))
    (log_folder / "candidates" / "later.parquet").write_bytes(whole.read_bytes())
    (log_folder / "requests" / "later.partial").write_bytes(b"cut off")
    requests, candidates = read_log(log_folder)
    assert (requests.num_rows, candidates.num_rows) == (1, 2)
    assert not list(log_folder.rglob("*.partial.parquet"))


def test_a_repeated_request_id_does_not_mix_answers(ranker: Ranker, log_folder: Path) -> None:
    log = ServingLog.start(log_folder, CONTRACT, LogSettings())
    log.offer(logged(ranker, "ann"))
    log.offer(logged(ranker, "bob"))
    log.close()
    requests, candidates = read_log(log_folder)
    assert requests["request_id"].to_pylist() == ["r", "r"]
    assert len(set(requests["served_id"].to_pylist())) == 2
    assert candidates.group_by("served_id").aggregate([("rank", "count")])["rank_count"].to_pylist() == [2, 2]


def test_ids_survive_as_they_are(ranker: Ranker, log_folder: Path) -> None:
    odd = ("trailing\0", "ünïcode 🎬", " space ")
    log = ServingLog.start(log_folder, CONTRACT, LogSettings())
    log.offer(logged(ranker, "us\ner", odd))
    log.close()
    requests, candidates = read_log(log_folder)
    assert requests["user_id"].to_pylist() == ["us\ner"]
    assert tuple(candidates["item_id"].to_pylist()) == odd


def test_one_bundles_rows_can_be_read_alone(ranker: Ranker, log_folder: Path) -> None:
    log = ServingLog.start(log_folder, CONTRACT, LogSettings())
    one = logged(ranker)
    log.offer(one)
    log.offer(LoggedRanking(replace(one.ranking, bundle_version="v2"), AT))
    log.close()
    (segment,) = served.read_log(log_folder, Window()).of_bundle("v2")
    assert segment.requests()["bundle_version"].to_pylist() == ["v2"]
    assert segment.candidates().num_rows == 2


def test_features_named_like_the_logs_columns_are_refused(log_folder: Path) -> None:
    views = (ViewPlan("v", ("item_id",), (Field("score", "FLOAT", 0.0),), 0.0, ""),)
    clash: Any = Contract("rank", "ranker", views, (Field("rank", "FLOAT", 0.0),), (), ())
    with pytest.raises(BundleError, match="rank, score"):
        ServingLog.start(log_folder, clash, LogSettings())


def test_the_files_are_ordinary_parquet(ranker: Ranker, log_folder: Path) -> None:
    log = ServingLog.start(log_folder, CONTRACT, LogSettings())
    log.offer(logged(ranker))
    log.close()
    for kind in ("requests", "candidates"):
        assert pq.read_table(log_folder / kind).num_rows > 0


def _wait_for(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
