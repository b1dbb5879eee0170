"""One sentence for each defect, for somebody just woken up."""

from __future__ import annotations

from collections.abc import Sequence

from skew_checks.result.cause import Cause

SHOWN = 3
SENTENCES = {
    Cause.DUPLICATE_LOG_ROWS: "the log has rows more than once",
    Cause.ASSEMBLY: "the model got other columns' values",
    Cause.CATEGORY_DICTIONARY: "the server's categories have other codes than the model's",
    Cause.TRANSFORM_CODE: "request-time code does not give what it gave in training",
    Cause.DEFAULT_FILL: "a default stands where it does not belong",
    Cause.KEY_MISMATCH: "keys are asked for in another spelling than the rows have",
    Cause.NEVER_MATERIALIZED: "rows that are due are not in Redis",
    Cause.MATERIALIZATION_GAP: "Redis holds older rows than are due",
    Cause.LATE_DATA: "rows that became known late never reached Redis",
    Cause.CORRECTION_NOT_APPLIED: "rows were corrected offline, Redis has them as they were",
    Cause.TTL: "serving lets rows expire at another age than declared",
    Cause.CLOCK: "times are off by hours",
    Cause.PRECISION: "values lost precision on their way to Redis",
    Cause.UNIT: "values are in another unit or scale",
    Cause.CLIPPING: "values are cut off",
    Cause.WINDOW_LENGTH: "values are of another window",
    Cause.SWAPPED_COLUMNS: "columns are exchanged",
    Cause.OTHER_ROW: "rows of other keys are served",
    Cause.EMBEDDING_VERSION: "vectors are of another version or norm",
    Cause.ONE_REPLICA: "one server process serves other values than all the others",
    Cause.OFFLINE_LEAKAGE: "offline rows hold what was not known at their time",
    Cause.WRONG_MODEL: "scores are not those of the bundle that the log names",
    Cause.UNEXPLAINED: "served values differ, and no rule says why",
}


def headline(cause: Cause, view: str, features: Sequence[str]) -> str:
    """Such as "item_popularity: Redis holds older rows than are due (item_clicks_7d and 12 more)"."""
    rest = len(features) - SHOWN
    named = ", ".join(features[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
    return f"{view}: {SENTENCES[cause]} ({named})"
