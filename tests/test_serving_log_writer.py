"""Segments, retention, counts, crashes and full disks of the serving log, with real files and processes."""

from __future__ import annotations

import json
import logging
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from logged_world import ranked, read_log
from online_world import AT, CONTRACT

from ranking_service.contract import Field, ViewPlan
from ranking_service.serving_log.counts import WriterRecord, writer_records
from ranking_service.serving_log.crashes import crashed_writers
from ranking_service.serving_log.places import closed_segments
from ranking_service.serving_log.tables import new_served_id
from ranking_service.serving_log.writer import ServingLog, is_sampled
from ranking_service.settings_sections import LogSettings

DAY = 86_400.0
WRITER = """
import pickle, sys, time
from dataclasses import replace
from pathlib import Path
from ranking_service.serving_log.tables import new_served_id
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings_sections import LogSettings
folder, name, count, hold = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "hold"
one = pickle.load(sys.stdin.buffer)
log = ServingLog.start(folder, LogSettings(batch_candidates=8, segment_bytes=60_000, queue_requests=10**6))
for number in range(count):
    request = replace(one.ranking.request, request_id=f"{name}-{number}")
    log.offer(replace(one, ranking=replace(one.ranking, request=request), served_id=new_served_id()))
print(log.writer, flush=True)
if hold:
    time.sleep(60)
counts = log.close()
print(counts.written, counts.dropped, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "serving_log"


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@contextmanager
def writer_process(folder: Path, name: str, count: int, hold: str = "") -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count), hold]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(pickle.dumps(ranked()))
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def test_users_are_sampled_as_a_whole_and_in_proportion() -> None:
    users = [f"user {index}" for index in range(20_000)]
    sampled = [user for user in users if is_sampled(user, 0.25)]
    assert len(sampled) == pytest.approx(5000, rel=0.05)
    assert all(is_sampled(user, 0.5) for user in sampled), "a larger sample keeps the smaller one's users"
    assert not any(is_sampled(user, 0.0) for user in users)
    assert all(is_sampled(user, 1.0) for user in users)


def test_users_outside_the_sample_are_counted_not_logged(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings(sample=0.0))
    log.offer(ranked())
    counts = log.close()
    assert (counts.offered, counts.written, counts.dropped, counts.unsampled) == (1, 0, 0, 1)


def test_a_full_queue_drops_and_counts_without_waiting(folder: Path) -> None:
    stuck = ServingLog(folder, LogSettings(queue_requests=3))
    one = ranked()
    started = time.monotonic()
    for _ in range(10):
        stuck.offer(one)
    assert time.monotonic() - started < 0.1
    assert (stuck.counts.offered, stuck.counts.dropped, stuck.counts.waiting) == (10, 7, 3)


def test_every_request_offered_by_many_threads_is_written_or_counted(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings(queue_requests=20, batch_candidates=8, segment_bytes=1))
    one = ranked()

    def offer_many() -> None:
        for _ in range(200):
            log.offer(replace(one, served_id=new_served_id()))

    threads = [threading.Thread(target=offer_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = log.close()
    assert (counts.offered, counts.waiting) == (800, 0)
    assert counts.written + counts.dropped == 800
    assert read_log(folder)[0].num_rows == counts.written > 0


def test_what_is_offered_after_the_end_is_dropped_and_counted(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings())
    log.close()
    log.offer(ranked())
    assert (log.counts.dropped, log.counts.waiting) == (1, 0)


def test_a_segment_appears_by_size_by_age_and_at_the_end(folder: Path) -> None:
    by_size = ServingLog.start(folder / "size", LogSettings(batch_candidates=8, segment_bytes=1))
    by_age = ServingLog.start(folder / "age", LogSettings(segment_seconds=0.5))
    at_end = ServingLog.start(folder / "end", LogSettings())
    logs = (by_size, by_age, at_end)
    for log in logs:
        log.offer(ranked())
        log.offer(ranked())
    wait_for(lambda: by_size.counts.written == 2 and by_age.counts.written == 2)
    assert at_end.counts.written == 0
    assert closed_segments(at_end.folder) == []
    for log in logs:
        assert log.close().written == 2
        assert read_log(log.folder)[0].num_rows == 2
        assert len(closed_segments(log.folder)) == 1


def test_a_segment_grows_by_row_groups_and_appears_with_both_files(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings(batch_candidates=4, queue_requests=1000))
    for _ in range(5):
        log.offer(ranked())
    wait_for(lambda: any(path.stat().st_size > 0 for path in folder.glob("open/*/*/candidates.parquet")))
    assert closed_segments(folder) == []
    log.close()
    (segment,) = closed_segments(folder)
    assert segment.requests.is_file()
    assert segment.candidates.is_file()
    assert list((folder / "open").iterdir()) == []


def test_requests_lie_in_the_folder_of_their_own_day(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings())
    for days in (0, 1, 0, 400):
        log.offer(ranked(at=AT + days * DAY))
    assert log.close().written == 4
    days = {path.name: len(list(path.iterdir())) for path in folder.glob("date=*")}
    assert days == {"date=2026-03-01": 1, "date=2026-03-02": 1, "date=2027-04-05": 1}


def test_requests_of_very_many_days_keep_few_segments_open(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings(batch_candidates=4 * 30))
    for day in range(30):
        log.offer(ranked(at=AT + day * DAY))
    wait_for(lambda: log.counts.written >= 22)
    assert len(list(folder.glob("open/*/*"))) == 8
    assert log.close().written == 30


def test_bundles_with_different_features_are_logged_side_by_side(folder: Path) -> None:
    """Two models in one server, or a swap at run time."""
    views = tuple(
        replace(view, fields=(*view.fields, Field("item_age_days", "FLOAT", 1.0)))
        if view.name == "item_stats"
        else view
        for view in CONTRACT.views
    )
    wider = replace(
        CONTRACT,
        views=(*views, ViewPlan("user_more", ("user_id",), (Field("mood", "STRING", "calm"),), 0.0, "")),
    )
    log = ServingLog.start(folder, LogSettings())
    old, new = ranked(), ranked(version="v2")
    columns = {
        **new.ranking.fetched.item.columns,
        "item_age_days": new.ranking.fetched.item.columns["item_plays"],
    }
    item = replace(new.ranking.fetched.item, columns=columns)
    ranking = replace(new.ranking, fetched=replace(new.ranking.fetched, item=item))
    for _ in range(2):
        log.offer(old)
        log.offer(replace(new, ranking=ranking, contract=wider))
    assert log.close().written == 4
    assert len(closed_segments(folder)) == 2
    rows = duckdb.sql(
        f"""SELECT bundle_version, avg(item_age_days), any_value(filled__mood), any_value(presence__user_more)
        FROM read_parquet('{folder}/date=*/*/candidates.parquet', union_by_name=true)
        JOIN read_parquet('{folder}/date=*/*/requests.parquet', union_by_name=true) USING (served_id)
        GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
    assert rows == [("v1", None, None, None), ("v2", 1.5, "calm", "unread")]


def test_duckdb_reads_the_log_in_one_line_also_while_it_is_written(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings(batch_candidates=8, segment_bytes=1))
    log.offer(ranked("ann", limit=1))
    log.offer(ranked("bob"))
    wait_for(lambda: log.counts.written == 2)
    log.offer(ranked("late"))
    requests, candidates = (f"'{folder}/date=*/*/{name}.parquet'" for name in ("requests", "candidates"))
    one_line = f"FROM {requests} JOIN {candidates} USING (served_id, date)"
    assert duckdb.sql(f"SELECT count(*) {one_line}").fetchall() == [(8,)]
    assert duckdb.sql(
        f"SELECT user_id, count(*) FILTER (is_returned) {one_line} "
        "WHERE date = '2026-03-01' GROUP BY ALL ORDER BY ALL"
    ).fetchall() == [("ann", 1), ("bob", 4)]
    log.close()
    assert duckdb.sql(f"SELECT count(*) {one_line}").fetchall() == [(12,)]


def test_several_processes_write_to_one_folder(folder: Path) -> None:
    with writer_process(folder, "one", 40) as one, writer_process(folder, "two", 40) as two:
        outputs = [process.communicate(timeout=60)[0].decode().split() for process in (one, two)]
    assert [output[1:] for output in outputs] == [["40", "0"], ["40", "0"]]
    ids = read_log(folder)[0]["request_id"].to_pylist()
    assert sorted(ids) == sorted(f"{name}-{number}" for name in ("one", "two") for number in range(40))
    assert sum(record.counts.written for record in writer_records(folder)) == 80
    assert {record.writer for record in writer_records(folder)} == {output[0] for output in outputs}
    assert all(record.closed for record in writer_records(folder))
    assert list((folder / "open").iterdir()) == []


def test_a_killed_writer_loses_its_open_segment_only_and_the_next_start_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with writer_process(folder, "killed", 45, "hold") as process:
        assert process.stdout is not None
        name = process.stdout.readline().decode().strip()
        wait_for(lambda: _record(folder, name).counts.offered == 45)
        wait_for(
            lambda: any(path.stat().st_size > 0 for path in folder.glob(f"open/{name}/*/candidates.parquet"))
        )
        assert crashed_writers(folder) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = _record(folder, name).counts.written
    assert read_log(folder)[0].num_rows == kept
    assert [record.writer for record in crashed_writers(folder)] == [name]
    with caplog.at_level(logging.WARNING):
        log = ServingLog.start(folder, LogSettings())
    assert f"writer {name} died without closing the log" in caplog.text
    assert f"{45 - kept} requests" in caplog.text
    assert log.close().crashed_writers == 1
    assert list((folder / "open").iterdir()) == []
    assert (_record(folder, name).lost, _record(folder, name).closed) == (45 - kept, False)
    assert 0 < kept < 45
    caplog.clear()
    assert ServingLog.start(folder, LogSettings()).close().crashed_writers == 0
    assert caplog.text == ""


def _record(folder: Path, writer: str) -> WriterRecord:
    (record,) = [record for record in writer_records(folder) if record.writer == writer]
    return record


def test_a_full_disk_is_said_once_counted_and_survived(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit on the size of files stands for the full disk: writes fail halfway."""
    log = ServingLog.start(folder, LogSettings(batch_candidates=4, segment_bytes=1, queue_requests=1000))
    log.offer(ranked())
    wait_for(lambda: log.counts.written == 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        for _ in range(20):
            log.offer(ranked())
        wait_for(lambda: log.counts.dropped == 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caplog.text.count("drops requests until it can") == 1
    assert "writes again" not in caplog.text
    assert list(folder.glob("open/*/*")) == []
    log.offer(ranked())
    assert log.close().written == 2
    assert "writes again; it dropped 20 requests" in caplog.text
    assert read_log(folder)[0].num_rows == 2
    assert [record.counts.dropped for record in writer_records(folder)] == [20]


def test_values_that_are_not_what_their_contract_says_cost_their_segment_not_the_log(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings(batch_candidates=4, segment_bytes=1))
    good = ranked()
    item = replace(good.ranking.fetched.item, columns={})
    log.offer(replace(good, ranking=replace(good.ranking, fetched=replace(good.ranking.fetched, item=item))))
    wait_for(lambda: log.counts.dropped == 1)
    log.offer(good)
    assert log.close().written == 1


def test_retention_by_age_deletes_the_oldest_closed_segments_only(folder: Path) -> None:
    now = [AT]
    settings = LogSettings(batch_candidates=4, segment_bytes=1, keep_days=2.0)
    log = ServingLog.start(folder, settings, clock=lambda: now[0])
    for day in range(5):
        now[0] = AT + day * DAY
        log.offer(ranked(at=AT, request_id=f"logged on day {day}"))
        wait_for(lambda day=day: log.counts.written == day + 1)
    counts = log.close()
    assert counts.deleted_segments == 2
    assert counts.deleted_bytes > 0
    assert sorted(read_log(folder)[0]["request_id"].to_pylist()) == [
        f"logged on day {day}" for day in (2, 3, 4)
    ]
    (record,) = writer_records(folder)
    assert record.deleted_through == "2026-03-02T12:30:00+00:00"


def test_retention_by_size_keeps_the_newest_and_never_touches_an_open_segment(folder: Path) -> None:
    now = [AT]
    settings = LogSettings(batch_candidates=4, segment_bytes=1, keep_days=0.0)
    log = ServingLog.start(folder, settings, clock=lambda: now[0])
    for number in range(4):
        now[0] = AT + number
        log.offer(ranked(request_id=f"old {number}"))
        wait_for(lambda number=number: log.counts.written == number + 1)
    log.close()
    files = [path for segment in closed_segments(folder) for path in segment.path.iterdir()]
    largest = sum(path.stat().st_size for path in files) // 4
    opened = ServingLog.start(folder, LogSettings(batch_candidates=4, keep_days=0.0))
    opened.offer(ranked(request_id="open"))
    wait_for(lambda: any(folder.glob("open/*/*/candidates.parquet")))
    limited = ServingLog.start(folder, replace(settings, keep_bytes=largest * 5 // 2), clock=lambda: AT + 9)
    limited.offer(ranked(request_id="new"))
    assert limited.close().deleted_segments == 3
    assert sorted(read_log(folder)[0]["request_id"].to_pylist()) == ["new", "old 3"]
    assert opened.close().written == 1


def test_the_drop_rate_is_one_query(folder: Path) -> None:
    log = ServingLog.start(folder, LogSettings(queue_requests=1, batch_candidates=4))
    while log.counts.dropped == 0:
        log.offer(ranked())
    counts = log.close()
    rate = duckdb.sql(
        f"SELECT sum(dropped + lost) / sum(offered - unsampled) FROM '{folder}/writers/*.json'"
    ).fetchall()
    assert rate == [(counts.dropped / counts.offered,)]
    assert json.loads(next(folder.glob("writers/*.json")).read_text())["sample"] == 1.0
