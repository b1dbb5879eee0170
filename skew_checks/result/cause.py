"""The causes a mismatch can have: one word each, used in reports, JSON, docs and benchmark alike."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """`docs/causes/<value>.md` tells each, `skew_checks.causes.rules` the order in which rules are tried.

    The value is part of the JSON report's schema: a name may be added, none may change its meaning.
    """

    DUPLICATE_LOG_ROWS = "duplicate-log-rows"
    """The log has a request or a candidate more than once; none but the first is judged."""
    ASSEMBLY = "assembly"
    """Stored values agree, the model's column is another one's: order of columns, or another plan."""
    CATEGORY_DICTIONARY = "category-dictionary"
    """Stored texts agree, their codes do not."""
    TRANSFORM_CODE = "transform-code"
    """A request-time transform ran other code, or got other inputs, than replay."""
    DEFAULT_FILL = "default-fill"
    """A default stands where there is a value, or another default than the declared one."""
    KEY_MISMATCH = "key-mismatch"
    """No row under the key asked for, and one under another spelling of it (type, padding, serialization)."""
    NEVER_MATERIALIZED = "never-materialized"
    """No row in Redis although one was due: never written, or evicted."""
    MATERIALIZATION_GAP = "materialization-gap"
    """An older row than was due: a run was skipped, or only half of it was done."""
    LATE_DATA = "late-data"
    """The offline row became known only after serving had read."""
    CORRECTION_NOT_APPLIED = "correction-not-applied"
    """The row served has the event time of the offline row, and an earlier version of its values."""
    TTL = "ttl"
    """One side counted a row as expired that the other used."""
    CLOCK = "clock"
    """Event or request times are off by a constant, such as a time zone or an hour of daylight saving."""
    PRECISION = "precision"
    """Float16, float32 or integer rounding or wrap-around of the right value."""
    UNIT = "unit"
    """A constant factor, a constant difference, or a logarithm, of the right value."""
    CLIPPING = "clipping"
    """The right value, cut off at one end."""
    WINDOW_LENGTH = "window-length"
    """The value of another window's feature, or of the same over more or less time."""
    SWAPPED_COLUMNS = "swapped-columns"
    """Two features have each other's values."""
    OTHER_ROW = "other-row"
    """Another candidate's or another user's row."""
    EMBEDDING_VERSION = "embedding-version"
    """A vector of another version or of another length (norm)."""
    ONE_REPLICA = "one-replica"
    """All mismatches come from one server process, and the others have none."""
    OFFLINE_LEAKAGE = "offline-leakage"
    """The offline value holds what was not known at the request's time."""
    WRONG_MODEL = "wrong-model"
    """The scores logged are not those of the bundle named, on the inputs logged."""
    UNEXPLAINED = "unexplained"
    """No rule fits most of the mismatches."""
