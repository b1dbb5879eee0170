"""A straight line through measured points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """value = intercept + slope x count, by least squares."""

    slope: float
    intercept: float
    r_squared: float
    """Share of the values' variance that the line explains; 1 where they do not vary."""
    departure: float
    """The farthest that a value lies from the line, as a share of the value."""

    @classmethod
    def through(cls, counts: Sequence[float], values: Sequence[float]) -> Line:
        """At least two different counts. Raises ValueError for fewer."""
        if len(set(counts)) < 2:
            raise ValueError(f"a line needs two different counts, found {sorted(set(counts))}")
        slope, intercept = np.polyfit(counts, values, 1)
        actual = np.asarray(values, np.float64)
        errors = actual - (intercept + slope * np.asarray(counts, np.float64))
        spread = float(((actual - actual.mean()) ** 2).sum())
        r_squared = 1 - float((errors**2).sum()) / spread if spread > 0 else 1.0
        return cls(float(slope), float(intercept), r_squared, float(np.abs(errors / actual).max()))
