"""What a defect is cut by: surface, device, country, user age, replica, hour of day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Array, Columns, Ragged
from skew_checks.result.parts import Share, Slice

Rows = npt.NDArray[np.int64]
COUNTRY, SIGNED_UP = "user_country", "user_signed_up_at"
"""Stored features of users, where the service has them."""
DAY = 86_400.0
AGES = (
    (1, "under 1 day"),
    (7, "1-6 days"),
    (30, "7-29 days"),
    (365, "30-364 days"),
    (np.inf, "a year or more"),
)
UNKNOWN = "unknown"
WRITER_HOURS = "replica and hour"
"""Kept for the rules of cause, not shown."""
MOST_PARTS = 24


def dimensions_of(requests: Columns, replica: Array) -> dict[str, Array]:
    """Text [requests] by dimension; `requests` has request fields and what was served of the user."""
    at = np.asarray(requests["request_timestamp"])
    hours = np.array([f"{hour:02d}" for hour in range(24)], object)[(at // 3600 % 24).astype(np.int64)]
    found: dict[str, Array] = {
        name: column
        for name in ("surface", "device", COUNTRY)
        if name in requests and not isinstance(column := requests[name], Ragged)
    }
    if COUNTRY in found:
        found["country"] = found.pop(COUNTRY)
    if SIGNED_UP in requests:
        found["user age"] = _ages((at - np.asarray(requests[SIGNED_UP])) / DAY)
    found |= {"replica": replica, "hour": hours}
    found[WRITER_HOURS] = replica + np.array([f"|{hour:.0f}" for hour in at // 3600], object)
    return {name: np.where(column == np.array(None), UNKNOWN, column) for name, column in found.items()}


def _ages(days: Array) -> Array:
    bounds = np.array([bound for bound, _ in AGES[:-1]], np.float64)
    names = np.array([name for _, name in AGES], object)
    named = names[np.searchsorted(bounds, days, side="right")]
    return np.where(np.isnan(days), UNKNOWN, named)


@dataclass
class Codes:
    """A number for each text of one dimension, and how many requests and rows bear it."""

    numbers: dict[str, int] = field(default_factory=dict)
    requests: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, texts: Array, request: Rows) -> Rows:
        """int64 [requests]: their numbers; counts them and their candidates."""
        found, place = np.unique(texts.astype(str), return_inverse=True)
        numbers = np.array([self.numbers.setdefault(text, len(self.numbers)) for text in found.tolist()])
        codes: Rows = numbers.astype(np.int64)[place]
        self.requests = added(self.requests, np.bincount(codes, minlength=len(self.numbers)))
        self.rows = added(self.rows, np.bincount(codes[request], minlength=len(self.numbers)))
        return codes


def added(total: Rows, counts: Rows) -> Rows:
    """`total` and `counts` together, whichever is longer."""
    if len(total) < len(counts):
        total, counts = counts.astype(np.int64), total
    else:
        total = total.copy()
    total[: len(counts)] += counts
    return total


def slices_of(
    dimensions: Mapping[str, Codes], bad: Mapping[str, Rows], *, per_request: bool
) -> tuple[Slice, ...]:
    """A defect within each dimension that is shown, largest share first; at most MOST_PARTS parts each."""
    found = []
    for name, codes in dimensions.items():
        if name == WRITER_HOURS or name not in bad:
            continue
        totals = codes.requests if per_request else codes.rows
        counts = added(np.zeros(len(totals), np.int64), bad[name])
        parts = [
            Share(text, int(counts[number]), int(totals[number])) for text, number in codes.numbers.items()
        ]
        parts.sort(key=lambda part: part.name if name == "hour" else (-part.share, part.name))
        found.append(Slice(name, tuple(parts[:MOST_PARTS])))
    return tuple(found)
