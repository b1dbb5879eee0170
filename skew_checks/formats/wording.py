"""Numbers, instants and values as a person reads them: the same on page and terminal."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from skew_checks.result.parts import Effect, Outcome, Rate, Status, Window

DAY = timedelta(days=1)
SHOWN_ENTRIES = 6
"""Of a list value."""

OUTCOME_WORDS = {
    Outcome.OK: "OK",
    Outcome.WARN: "WARN",
    Outcome.FAIL: "FAIL",
    Outcome.NOT_ENOUGH: "NOT ENOUGH DATA",
    Outcome.INTERNAL: "CHECK FAILED",
}
OUTCOME_STATUS = {
    Outcome.OK: Status.OK,
    Outcome.WARN: Status.WARN,
    Outcome.FAIL: Status.FAIL,
    Outcome.NOT_ENOUGH: Status.INSUFFICIENT,
    Outcome.INTERNAL: Status.FAIL,
}
BY_SEVERITY = {Status.FAIL: 0, Status.WARN: 1, Status.INSUFFICIENT: 2, Status.OK: 3}


def percent(share: float) -> str:
    """Three digits: 12.3 %, 0.0123 %; a share that is small but not 0 never reads as 0."""
    if not math.isfinite(share):
        return "unknown"
    value = 100 * share
    if value == 0 or abs(value) >= 99.95:
        return f"{value:.0f} %"
    if abs(value) < 1e-6:
        return "under 0.000001 %"
    digits = min(6, max(1, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") + " %"


def count(number: float, one: str, many: str | None = None) -> str:
    """12,345 requests; 1 request."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def instant(at: datetime | None) -> str:
    """To the minute, in UTC."""
    return "unknown" if at is None else f"{in_utc(at):%Y-%m-%d %H:%M} UTC"


def in_utc(at: datetime) -> datetime:
    """An instant without a zone is UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def duration(seconds: float) -> str:
    """In the largest unit that leaves at least 1: 90 s, 12 min, 3.5 h, 2.1 days."""
    if not math.isfinite(seconds):
        return "unknown"
    for size, unit in ((86_400.0, "day"), (3600.0, "h"), (60.0, "min")):
        if seconds == size:
            return f"1 {unit}"
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.3g} {'days' if unit == 'day' else unit}"
    return f"{seconds:.3g} s"


def window_words(window: Window) -> str:
    """Which requests were looked at."""
    if is_day(window):
        assert window.start is not None
        words = f"{in_utc(window.start):%A %d %B %Y} (UTC)"
    elif window.start is None and window.end is None:
        words = "the whole log"
    else:
        start = "the log's beginning" if window.start is None else instant(window.start)
        words = f"{start} to {'its end' if window.end is None else instant(window.end)}"
    return words if window.sample is None else f"{words}, a sample of at most {window.sample:,} requests"


def is_day(window: Window) -> bool:
    """Whether the window is one whole day in UTC."""
    if window.start is None or window.end is None:
        return False
    start = in_utc(window.start)
    return in_utc(window.end) - start == DAY and start == start.replace(
        hour=0, minute=0, second=0, microsecond=0
    )


def number(value: float) -> str:
    """Up to 6 digits, as short as it goes."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e12):
        return f"{int(value):,}"
    return f"{value:.6g}"


def shown(value: Any, most: int = 160) -> str:
    """A served or offline value: missing, a number to 9 digits, a text, the head of a list."""
    if value is None:
        return "missing"
    if isinstance(value, (list, tuple)):
        head = ", ".join(shown(entry, most=40) for entry in value[:SHOWN_ENTRIES])
        return f"[{head}{', …' if len(value) > SHOWN_ENTRIES else ''}] ({len(value)})"
    text = f"{value:.9g}" if isinstance(value, float) else str(value)
    if text == "":
        return "empty text"
    return clipped(text, most)


def clipped(text: str, most: int) -> str:
    """Never longer than that; what is cut off shows."""
    return text if len(text) <= most else text[: most - 1] + "…"


def rate_words(rate: Rate, unit: str) -> str:
    """How much is wrong, how sure that is, and what is allowed."""
    return (
        f"{percent(rate.share)}, {rate.bad:,} of {rate.units:,} {unit}; surely more than {percent(rate.lower)}, "
        f"allowed {percent(rate.budget)}"
    )


def effect_words(effect: Effect | None) -> str:
    """What it did to the ranking, in one sentence."""
    if effect is None:
        return "not measured"
    if effect.changed == 0:
        return f"no top 10 changes ({count(effect.requests, 'request')} scored again)"
    words = (
        f"the top 10 changes in {percent(effect.changed)} of requests; where values differ, "
        f"{10 * effect.overlap_at_10:.1f} of 10 stay, Kendall tau {effect.kendall_tau:.3f}, "
        f"scores move by {effect.score_shift:.3g}"
    )
    if effect.ndcg_at_10 is None:
        return words
    return f"{words}; right values would change NDCG@10 by {effect.ndcg_at_10:+.4f}"


def feature_list(features: tuple[str, ...], most: int) -> str:
    """The first ones, and how many more."""
    rest = len(features) - most
    return ", ".join(features[:most]) + (f" and {rest:,} more" if rest > 0 else "")
