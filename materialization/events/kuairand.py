"""Import KuaiRand-Pure: short videos shown to users of one app, as the data set's files are.

What is decided here, because the source leaves it open:

- The log's `time_ms` is the event time (`date` and `hourmin` disagree with it by up to two hours). Outcomes
  become known when the play ends: created = event time + play time.
- Two kinds of rows are not events of this log and go to quarantine: exact duplicates of an earlier row, and
  rows not later than the end of their user's history (the history already contains them).
- A code of -124 and the class UNKNOWN mean unknown, hence null; so does a duration of 0.
- User and item tables are undated snapshots: known from 24 April 2022, 00:00 UTC, the day before the first
  full day.
- Upload dates are days in Beijing (UTC+8).
- Requests and sessions are not in the source and are derived: what a user sees at one instant is a request,
  and 30 minutes without an exposure end a session. Position, device and country stay null.
- `video_features_statistic` is NEVER read: it averages the whole month, the label period included, so every
  number in it knows the future.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from materialization.events import reading
from materialization.events.kuairand_log import LOG_COLUMNS, exposures, sift
from materialization.events.schemas import CATEGORY_COUNT, HISTORIES, TIMESTAMP
from materialization.events.sieve import Sieve, zero_to_null
from materialization.events.store import EventStore, Source
from materialization.events.writer import EventWriter
from materialization.progress import Report, silent

SNAPSHOT = datetime(2022, 4, 24, tzinfo=UTC)
"""When the undated user and item tables count as known."""
BEIJING_MS = 8 * 3_600_000
DAY_MS = 86_400_000
DATE = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
NOTES = (
    "video_features_statistic is not read: it averages the label period and would leak the future",
    "request_id, session_id and session_position are derived (same instant; gaps of 30 minutes)",
    "user and item tables are one undated snapshot, taken as known on 2022-04-24",
)

HISTORY_COLUMNS: dict[str, reading.Kind] = {
    "user_id": reading.integer,
    "history_len": reading.integer,
    "last_time_ms": reading.integer,
    "watch_seq": reading.integer_list,
    "like_seq": reading.integer_list,
    "long_watch_seq": reading.integer_list,
}
VIDEO_NUMBERS = ("video_duration", "server_width", "server_height", "music_type")
VIDEO_COLUMNS = ("video_id", "author_id", "video_type", "upload_dt", "upload_type", *VIDEO_NUMBERS, "tag")
USER_COUNTS = {
    "follow_user_num": "follow_count",
    "fans_user_num": "fan_count",
    "friend_user_num": "friend_count",
}
USER_FLAGS = {
    "is_lowactive_period": "is_low_active",
    "is_live_streamer": "is_streamer",
    "is_video_author": "is_author",
}
USER_CATEGORIES = {f"onehot_feat{index}": f"category_{index}" for index in range(CATEGORY_COUNT)}
USER_NUMBERS = (*USER_COUNTS, *USER_FLAGS, "register_days", *USER_CATEGORIES)
USER_COLUMNS = ("user_id", "user_active_degree", *USER_NUMBERS)


def import_kuairand(store: EventStore, folder: Path, *, report: Report = silent) -> Source:
    """Replace the store by the data set in `folder`; returns the new source description.

    Raises EventDataError when a file is missing, truncated or not what it claims; the store stays as it was.
    """
    logs = reading.existing(folder, "log_standard_*.parquet")
    history, videos, users = (
        reading.existing(folder, pattern)[-1]
        for pattern in (
            "user_history_until_*.parquet",
            "video_features_basic_pure.csv.gz",
            "user_features_pure.csv.gz",
        )
    )
    source = {
        "kind": "kuairand",
        "label": "long_view",
        "arguments": {"folder": folder.resolve().name},
        "files": reading.digests([*logs, history, videos, users]),
        "notes": list(NOTES),
    }
    with store.rewrite(source) as writer:
        ends = _write_histories(writer, history)
        report("reading KuaiRand", 1, 4)
        _write_items(writer, videos)
        report("reading KuaiRand", 2, 4)
        _write_users(writer, users)
        report("reading KuaiRand", 3, 4)
        _write_exposures(writer, logs, ends)
        report("reading KuaiRand", 4, 4)
    return store.source()


def _write_exposures(writer: EventWriter, logs: list[Path], ends: pa.Table) -> None:
    parts = [
        reading.parquet(log, LOG_COLUMNS).cast(pa.schema([(c, pa.int64()) for c in LOG_COLUMNS]))
        for log in logs
    ]
    original = pa.concat_tables(parts)
    sieve = sift(Sieve(logs[0], original), ends)
    writer.write("exposures", exposures(sieve.accepted()))
    sieve.put_aside(writer, "exposures", original)


def _write_histories(writer: EventWriter, file: Path) -> pa.Table:
    """Write them and return each user's `user_id` and `last_time_ms`."""
    original = reading.parquet(file, HISTORY_COLUMNS)
    sieve = Sieve(file, original)
    sieve.reject_missing(list(HISTORY_COLUMNS))
    sieve.reject_implausible_times("last_time_ms")
    sieve.reject(pc.less(sieve.table["history_len"], 1), "history_len is below 1")
    sieve.reject_repeats("user_id")
    rows = sieve.accepted()
    values = [
        rows["user_id"],
        pc.multiply(rows["last_time_ms"], 1000).cast(TIMESTAMP),
        rows["history_len"],
        *(rows[name] for name in ("watch_seq", "like_seq", "long_watch_seq")),
    ]
    columns = [value.cast(field.type) for value, field in zip(values, HISTORIES, strict=True)]
    writer.write("histories", pa.table(columns, names=HISTORIES.names), day=SNAPSHOT.date())
    sieve.put_aside(writer, "histories", original)
    return rows.select(["user_id", "last_time_ms"])


def _write_items(writer: EventWriter, file: Path) -> None:
    original, wrong_lines = reading.gzip_csv(file, VIDEO_COLUMNS)
    sieve = Sieve(file, original)
    sieve.numbers(VIDEO_NUMBERS)
    sieve.reject_missing(["video_id"])
    sieve.reject_unless_number("video_id")
    sieve.reject(pc.invert(pc.match_substring_regex(original["upload_dt"], DATE)), "upload_dt is not a date")
    sieve.reject(pc.less(sieve.table["video_duration"], 0), "video_duration is negative")
    sieve.reject_duplicates()
    sieve.reject_repeats("video_id")
    writer.write("items", _items(sieve.accepted()))
    sieve.put_aside(writer, "items", original)
    writer.quarantine("items", wrong_lines, "wrong number of fields")


def _items(rows: pa.Table) -> pa.Table:
    return pa.table(
        {
            "item_id": rows["video_id"],
            "created_timestamp": _constant(SNAPSHOT, len(rows)),
            "author_id": _code(rows["author_id"]),
            "genres": _tags(rows["tag"]),
            "release_timestamp": _beijing_day(rows["upload_dt"]),
            "duration_ms": zero_to_null(rows["video_duration"]),
            "item_type": _code(rows["video_type"]),
            "upload_type": _code(rows["upload_type"]),
            "music_type": rows["music_type"].cast(pa.string()),
            "width": rows["server_width"],
            "height": rows["server_height"],
        }
    )


def _write_users(writer: EventWriter, file: Path) -> None:
    original, wrong_lines = reading.gzip_csv(file, USER_COLUMNS)
    sieve = Sieve(file, original)
    sieve.numbers(USER_NUMBERS)
    sieve.reject_missing(["user_id"])
    sieve.reject_unless_number("user_id")
    for flag in USER_FLAGS:
        sieve.reject_unless_flag(flag)
    sieve.reject(pc.less(sieve.table["register_days"], 0), "register_days is negative")
    sieve.reject(pc.greater(sieve.table["register_days"], 36_500), "register_days is above 36500")
    sieve.reject_duplicates()
    sieve.reject_repeats("user_id")
    writer.write("users", _users(sieve.accepted()))
    sieve.put_aside(writer, "users", original)
    writer.quarantine("users", wrong_lines, "wrong number of fields")


def _users(rows: pa.Table) -> pa.Table:
    snapshot_us = int(SNAPSHOT.timestamp()) * 1_000_000
    registered = pc.subtract(snapshot_us, pc.multiply(rows["register_days"], DAY_MS * 1000))
    return pa.table(
        {
            "user_id": rows["user_id"],
            "created_timestamp": _constant(SNAPSHOT, len(rows)),
            "signup_timestamp": registered.cast(TIMESTAMP),
            "activity_degree": _code(rows["user_active_degree"]),
            **{name: pc.equal(rows[column], 1) for column, name in USER_FLAGS.items()},
            **{name: rows[column] for column, name in (USER_COUNTS | USER_CATEGORIES).items()},
        }
    )


def _constant(time: datetime, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(time, TIMESTAMP), rows)


def _code(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text with the ways to say unknown replaced by null."""
    unknown = pc.is_in(text, pa.array(["UNKNOWN", "-124", "-124.0"]))
    return pc.if_else(unknown, pa.scalar(None, pa.string()), text)


def _tags(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Comma-separated tags as lists; no tag is the empty list."""
    tags = pc.split_pattern(_code(text), ",")
    return pc.coalesce(tags, pa.scalar([], tags.type))


def _beijing_day(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Midnight in Beijing of an ISO date."""
    days = pc.strptime(text, format="%Y-%m-%d", unit="us", error_is_null=True).cast(pa.int64())
    return pc.subtract(days, BEIJING_MS * 1000).cast(TIMESTAMP)
