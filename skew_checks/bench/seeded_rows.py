"""Seeded defects of which row is read: old, late, expired, gone, under another key."""

from __future__ import annotations

from skew_checks.bench import lagging, offline_defects
from skew_checks.bench.defect import Defect, Where
from skew_checks.bench.view_names import USER_VIEWS
from skew_checks.result.cause import Cause

STORE, OFFLINE, SERVER, CLIENT = Where.STORE, Where.OFFLINE, Where.SERVER, Where.CLIENT

OLD_ROWS = (
    Defect(
        "stale-view",
        "items' rows are those of the run before",
        STORE,
        ("item_popularity",),
        (),
        (Cause.MATERIALIZATION_GAP,),
        lagging.stale_view,
    ),
    Defect(
        "half-materialization",
        "a run stopped half way through the users",
        STORE,
        ("user_activity",),
        (),
        (Cause.MATERIALIZATION_GAP,),
        lagging.half_materialization,
    ),
    Defect(
        "late-data",
        "rows became known two hours after the run",
        STORE,
        ("item_author",),
        (),
        (Cause.LATE_DATA,),
        lagging.late_data,
    ),
    Defect(
        "correction",
        "rows were corrected under the same event time",
        OFFLINE,
        ("user_totals",),
        ("user_exposures", "user_long_views", "user_click_rate"),
        (Cause.CORRECTION_NOT_APPLIED,),
        lagging.correction,
    ),
    Defect(
        "ttl-too-loose",
        "the server's plan uses rows past their ttl",
        SERVER,
        ("item_surfaces",),
        (),
        (Cause.TTL,),
        offline_defects.ttl_too_loose,
    ),
    Defect(
        "ttl-too-strict",
        "the server's plan takes good rows for expired",
        SERVER,
        ("item_genre",),
        (),
        (Cause.TTL,),
        offline_defects.ttl_too_strict,
    ),
    Defect(
        "key-padding",
        "callers leave out the zeros of the user's id",
        CLIENT,
        (*USER_VIEWS, "user_item"),
        (),
        (Cause.KEY_MISMATCH,),
        lagging.key_padding,
    ),
    Defect(
        "key-serialization",
        "rows lie under the keys of another version",
        STORE,
        ("user_profile",),
        (),
        (Cause.KEY_MISMATCH, Cause.NEVER_MATERIALIZED),
        lagging.key_serialization,
        why_more="the log says only that there was no row; what else lies in Redis is not in it",
    ),
    Defect(
        "eviction",
        "Redis evicted rows",
        STORE,
        ("item_genre",),
        (),
        (Cause.NEVER_MATERIALIZED,),
        lagging.eviction,
    ),
)
