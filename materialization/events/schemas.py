"""The canonical event tables. Whatever the source, everything downstream reads these schemas.

All times are UTC microseconds. `created_timestamp` is when a row (outcomes included) became known; a feature
computed as of T may use exactly the rows with `created_timestamp < T`.
"""

from __future__ import annotations

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
CATEGORY_COUNT = 18
"""Anonymous categorical attributes a user profile may carry (`category_0` ...)."""


def _field(name: str, kind: pa.DataType, description: str, *, required: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=not required, metadata={"description": description})


EXPOSURES = pa.schema(
    [
        _field("exposure_id", pa.string(), "unique id of this exposure", required=True),
        _field("request_id", pa.string(), "the ranking request that showed it", required=True),
        _field("user_id", pa.string(), "who saw it", required=True),
        _field("item_id", pa.string(), "what was shown", required=True),
        _field("event_timestamp", TIMESTAMP, "when it was shown", required=True),
        _field("created_timestamp", TIMESTAMP, "when its outcomes became known", required=True),
        _field("surface", pa.string(), "page, row or tab it was shown on", required=True),
        _field("device", pa.string(), "tv, phone, tablet, web ..."),
        _field("country", pa.string(), "ISO 3166 code of the request"),
        _field("position", pa.int32(), "0-based position in the slate"),
        _field("session_id", pa.string(), "visit the exposure belongs to"),
        _field("session_position", pa.int32(), "exposures of this session before this one's request"),
        _field("click", pa.bool_(), "clicked, or a valid play", required=True),
        _field("long_view", pa.bool_(), "watched long, by the source's rule", required=True),
        _field("completed", pa.bool_(), "watched to (nearly) the end", required=True),
        _field("like", pa.bool_(), "liked", required=True),
        _field("follow", pa.bool_(), "followed the author", required=True),
        _field("comment", pa.bool_(), "commented", required=True),
        _field("share", pa.bool_(), "shared or forwarded", required=True),
        _field("hide", pa.bool_(), "asked for less of this", required=True),
        _field("profile_visit", pa.bool_(), "opened the author's page", required=True),
        _field("play_ms", pa.int64(), "watched time in ms; may exceed the duration (replays)"),
        _field("duration_ms", pa.int64(), "length in ms; null where unknown (never 0)"),
        _field("rating", pa.float32(), "explicit rating on the source's scale"),
        _field("experiment", pa.string(), "experiment the request was in"),
        _field("variant", pa.string(), "arm of that experiment"),
        _field("propensity", pa.float32(), "probability with which the policy showed it here"),
    ]
)

ITEMS = pa.schema(
    [
        _field("item_id", pa.string(), "id", required=True),
        _field("created_timestamp", TIMESTAMP, "when this version of the row became known", required=True),
        _field("author_id", pa.string(), "author, director or channel"),
        _field("title", pa.string(), "title"),
        _field("genres", pa.list_(pa.string()), "genres or tags; empty where none"),
        _field("language", pa.string(), "original language"),
        _field("countries", pa.list_(pa.string()), "countries of production"),
        _field("cast", pa.list_(pa.string()), "cast, most prominent first"),
        _field("release_timestamp", TIMESTAMP, "release or upload"),
        _field("duration_ms", pa.int64(), "length in ms; null where unknown (never 0)"),
        _field("item_type", pa.string(), "film, series, short, advertisement ..."),
        _field("upload_type", pa.string(), "how it came into the catalogue"),
        _field("music_type", pa.string(), "kind of soundtrack"),
        _field("width", pa.int32(), "pixels"),
        _field("height", pa.int32(), "pixels"),
        _field("maturity", pa.string(), "age rating"),
    ]
)

USERS = pa.schema(
    [
        _field("user_id", pa.string(), "id", required=True),
        _field("created_timestamp", TIMESTAMP, "when this version of the row became known", required=True),
        _field("signup_timestamp", TIMESTAMP, "registration"),
        _field("country", pa.string(), "ISO 3166 code"),
        _field("language", pa.string(), "preferred language"),
        _field("device", pa.string(), "usual device"),
        _field("activity_degree", pa.string(), "the source's activity class"),
        _field("is_low_active", pa.bool_(), "in a low-activity period"),
        _field("is_streamer", pa.bool_(), "streams live; null where unknown"),
        _field("is_author", pa.bool_(), "has uploaded"),
        _field("follow_count", pa.int64(), "accounts followed"),
        _field("fan_count", pa.int64(), "followers"),
        _field("friend_count", pa.int64(), "mutual follows"),
        *(_field(f"category_{index}", pa.int32(), "anonymised category") for index in range(CATEGORY_COUNT)),
    ]
)

HISTORIES = pa.schema(
    [
        _field("user_id", pa.string(), "id", required=True),
        _field("created_timestamp", TIMESTAMP, "time of the last event summarized", required=True),
        _field("history_length", pa.int64(), "exposures summarized", required=True),
        _field("exposed_item_ids", pa.list_(pa.string()), "last <= 50 exposures, oldest first"),
        _field("liked_item_ids", pa.list_(pa.string()), "last <= 50 likes, oldest first"),
        _field("long_viewed_item_ids", pa.list_(pa.string()), "last <= 50 long views, oldest first"),
    ]
)

TRUTH = pa.schema(
    [
        _field("exposure_id", pa.string(), "the exposure", required=True),
        _field("label", pa.string(), "the outcome column this is the probability of", required=True),
        _field(
            "probability", pa.float64(), "true probability of the outcome, given it was shown", required=True
        ),
        _field("appeal", pa.float64(), "the same had it been shown first: what an ideal ranker orders by"),
    ]
)
"""What only a simulator knows. Read by evaluation, never by a feature."""

TABLES: dict[str, pa.Schema] = {
    "exposures": EXPOSURES,
    "items": ITEMS,
    "users": USERS,
    "histories": HISTORIES,
    "truth": TRUTH,
}
DAY_COLUMN = {"exposures": "event_timestamp", "items": "created_timestamp", "users": "created_timestamp"}
"""Column whose UTC day names the partition; the writer of a table without one names the day."""
