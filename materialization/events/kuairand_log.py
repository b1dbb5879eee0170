"""KuaiRand's log: which rows count, and what they are as exposures. See `kuairand` for the decisions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from materialization.events import reading
from materialization.events.schemas import TIMESTAMP
from materialization.events.sieve import Sieve, number_repeats, unknown_to_null, zero_to_null

FLAGS = {
    "is_click": "click",
    "long_view": "long_view",
    "is_like": "like",
    "is_follow": "follow",
    "is_comment": "comment",
    "is_forward": "share",
    "is_hate": "hide",
    "is_profile_enter": "profile_visit",
}
"""0/1 columns of the log and the outcomes they are."""
REQUIRED = ("user_id", "video_id", "time_ms", "tab", *FLAGS)
OTHERS = (
    "date",
    "hourmin",
    "play_time_ms",
    "duration_ms",
    "profile_stay_time",
    "comment_stay_time",
    "is_rand",
)
LOG_COLUMNS: dict[str, reading.Kind] = dict.fromkeys((*REQUIRED, *OTHERS), reading.integer)
SESSION_GAP_MS = 30 * 60_000
BEFORE_HISTORY_END = "not later than the user's history"


def sift(sieve: Sieve, ends: pa.Table) -> Sieve:
    """Reject the rows that break the schema, repeat another row, or lie in their user's history.

    `ends` has each user's `user_id` and `last_time_ms`.
    """
    for column in REQUIRED:
        sieve.reject(pc.equal(sieve.table[column], -124), f"{column} is missing")
    sieve.reject_missing(REQUIRED)
    sieve.reject_implausible_times("time_ms")
    for flag in FLAGS:
        sieve.reject_unless_flag(flag)
    for column in ("play_time_ms", "duration_ms"):
        amount = unknown_to_null(sieve.table[column])
        sieve.reject(pc.less(amount, 0), f"{column} is negative")
        sieve.reject(pc.greater(amount, 30 * 86_400_000), f"{column} is above 30 days")
    sieve.reject_duplicates()
    sieve.reject(_in_history(sieve.table, ends), BEFORE_HISTORY_END)
    return sieve


def _in_history(log: pa.Table, ends: pa.Table) -> pa.Array:
    """bool [rows]: not later than the last event of the user's history; null for users without one."""
    place = pc.index_in(log["user_id"], ends["user_id"].cast(pa.int64()).combine_chunks())
    last = ends["last_time_ms"].combine_chunks().take(place.combine_chunks())
    return pc.less_equal(log["time_ms"].combine_chunks(), last)


def exposures(log: pa.Table) -> pa.Table:
    """The accepted rows as canonical exposures, in time order."""
    log = log.sort_by([(name, "ascending") for name in ("time_ms", "user_id", "video_id")])
    text = {name: log[name].cast(pa.string()) for name in ("user_id", "video_id", "time_ms", "tab")}
    play_ms = unknown_to_null(log["play_time_ms"])
    duration_ms = zero_to_null(unknown_to_null(log["duration_ms"]))
    request = pc.binary_join_element_wise(text["user_id"], text["time_ms"], "-")
    session_start, session_position = _sessions(log["user_id"].to_numpy(), log["time_ms"].to_numpy())
    return pa.table(
        {
            "exposure_id": number_repeats(pc.binary_join_element_wise(request, text["video_id"], "-")),
            "request_id": request,
            "user_id": text["user_id"],
            "item_id": text["video_id"],
            "event_timestamp": _time(log["time_ms"]),
            "created_timestamp": _time(pc.add(log["time_ms"], pc.fill_null(play_ms, 0))),
            "surface": pc.binary_join_element_wise("tab", text["tab"], "_"),
            "session_id": pc.binary_join_element_wise(
                text["user_id"], pa.array(session_start).cast(pa.string()), "-"
            ),
            "session_position": pa.array(session_position),
            **{name: pc.equal(log[column], 1) for column, name in FLAGS.items()},
            "completed": pc.fill_null(pc.greater_equal(play_ms, duration_ms), False),
            "play_ms": play_ms,
            "duration_ms": duration_ms,
        }
    )


def _time(milliseconds: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.multiply(milliseconds, 1000).cast(TIMESTAMP)


def _sessions(
    user: npt.NDArray[np.int64], time_ms: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Per row: time of its session's first exposure, and how many of the session came at earlier instants."""
    order = np.lexsort((time_ms, user))
    user, time = user[order], time_ms[order]
    place = np.arange(len(order))
    new_user = np.diff(user, prepend=user[:1] - 1) != 0
    later = np.diff(time, prepend=time[:1]) != 0
    new_session = new_user | (np.diff(time, prepend=time[:1]) > SESSION_GAP_MS)
    first = np.maximum.accumulate(np.where(new_session, place, 0))
    instant = np.maximum.accumulate(np.where(new_session | later, place, 0))
    start, position = np.empty_like(time), np.empty(len(order), np.int32)
    start[order], position[order] = time[first], instant - first
    return start, position
