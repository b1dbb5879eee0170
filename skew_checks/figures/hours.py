"""Hour by hour: how much was missing, stood at its default, differed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Column, Ragged
from skew_checks.judging.compare import Mask
from skew_checks.judging.comparing import Compared
from skew_checks.judging.subjects import Subject
from skew_checks.result.population import Hourly

Rows = npt.NDArray[np.int64]
MOST_HOURS = 14 * 24


@dataclass
class HourCounts:
    """Of one hour; arrays have one value per subject."""

    requests: int
    rows: int
    null: Rows
    default: Rows
    bad: Rows


@dataclass
class Hours:
    """Fed part by part."""

    subjects: Sequence[Subject]
    defaults: npt.NDArray[np.float32]
    """float32 [model columns]: what stands for a missing value; NaN where it stays missing."""
    counts: dict[int, HourCounts] = field(default_factory=dict)
    """By hours since 1970."""

    def add(self, compared: Compared, wrong: dict[int, Mask]) -> None:
        """`wrong`: by subject's number, at the subject's own length."""
        request = compared.served.request
        at = compared.served.requests["request_timestamp"].to_numpy()
        hours, code = np.unique((at // 3600).astype(np.int64), return_inverse=True)
        requests, rows = (np.bincount(codes, minlength=len(hours)) for codes in (code, code[request]))
        null, default, bad = (np.zeros((len(hours), len(self.subjects)), np.int64) for _ in range(3))
        model = [number for number, subject in enumerate(self.subjects) if subject.is_model_column]
        matrix, of_row = compared.served.model_input, code[request]
        null[:, model] = _by_hour(np.isnan(matrix), of_row, len(hours))
        default[:, model] = _by_hour(matrix == self.defaults, of_row, len(hours))
        for number, subject in enumerate(self.subjects):
            codes = code if subject.is_per_request else of_row
            if not subject.is_model_column:
                absent = missing(compared.logged[subject.feature])
                null[:, number] = np.bincount(codes, weights=absent, minlength=len(hours))
            if number in wrong:
                bad[:, number] = np.bincount(codes, weights=wrong[number], minlength=len(hours))
        for place, hour in enumerate(hours.tolist()):
            self._add(
                hour,
                HourCounts(int(requests[place]), int(rows[place]), null[place], default[place], bad[place]),
            )

    def _add(self, hour: int, found: HourCounts) -> None:
        known = self.counts.get(hour)
        if known is None:
            self.counts[hour] = found
            return
        known.requests += found.requests
        known.rows += found.rows
        known.null += found.null
        known.default += found.default
        known.bad += found.bad

    def hourly(self, number: int) -> Hourly:
        """One subject's hours, the last fortnight of them. Default rates are those of a model's column."""
        subject = self.subjects[number]
        hours = sorted(self.counts)[-MOST_HOURS:]
        counts = [self.counts[hour] for hour in hours]
        totals = [count.requests if subject.is_per_request else count.rows for count in counts]
        pairs = list(zip(counts, totals, strict=True))
        return Hourly(
            subject.feature,
            tuple(datetime.fromtimestamp(hour * 3600, UTC) for hour in hours),
            tuple(count.requests for count in counts),
            tuple(_share(count.null[number], total) for count, total in pairs),
            tuple(
                _share(count.default[number], total) if subject.is_model_column else None
                for count, total in pairs
            ),
            tuple(_share(count.bad[number], total) for count, total in pairs),
        )


def _share(part: int, total: int) -> float | None:
    return float(part) / total if total else None


def _by_hour(cells: Mask, code: Rows, hours: int) -> Rows:
    """int64 [hours, columns]; rows of an hour mostly stand together."""
    starts = np.flatnonzero(np.diff(code, prepend=-1)).tolist()
    total = np.zeros((hours, cells.shape[1]), np.int64)
    for start, end in zip(starts, [*starts[1:], len(code)], strict=True):
        total[code[start]] += np.count_nonzero(cells[start:end], axis=0)
    return total


def missing(column: Column) -> Mask:
    """bool [rows]; an empty list counts as missing."""
    if isinstance(column, Ragged):
        return np.asarray(column.lengths == 0, bool)
    return np.asarray(column == np.array(None) if column.dtype == object else np.isnan(column), bool)
