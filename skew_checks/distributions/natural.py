"""How far apart the days of the training lie: what differs no more than they do is no news."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ranking_service.training.baseline.frozen import Frozen
from ranking_service.training.baseline.layout import Counts
from skew_checks.distributions.resampling import Distance
from skew_checks.distributions.statistics import Floats, shares

QUARTERS = 4
FEWEST_PER_BIN = 5
"""A day with fewer values, per bin, is too small to be measured by."""
FEWEST_DAYS = 4
"""With fewer days nothing is said of a trend."""
TREND = 1.5
"""Days at the ends of the training lie so many times as far from it as those in its middle where there is a trend."""
SQUARED = frozenset({"psi", "jensen_shannon"})
"""Statistics that grow with the square of a shift."""


def days(counts: Frozen) -> int:
    return len({cell // QUARTERS for cell in counts.cells})


@dataclass(frozen=True)
class Natural:
    """What is usual from day to day in `training`, for counts of `served`."""

    training: Frozen
    served: Frozen
    successive: bool = False
    """Days against the day before, in place of against all."""

    @cached_property
    def quarters(self) -> frozenset[int]:
        """Of the day (0 to 3), in which requests were served."""
        return frozenset(cell % QUARTERS for cell in self.served.cells)

    def __call__(self, place: int, distances: Mapping[str, Distance]) -> dict[str, float]:
        """By statistic the greatest distance of one training day from all of the training, or from the day before.

        Of each day only the quarters in which there were requests count: a feature of the hour or of the weekday
        differs from the whole training on every day, and that is no drift. Where the distance grows towards the ends
        of the training, it is drawn out to the day that was served. 0 where there are too few days.
        """
        by_day = _by_day(self.training.by_cell(place), self.quarters)
        if len(by_day) < 2:
            return dict.fromkeys(distances, 0.0)
        known = np.array(sorted(by_day), np.float64)
        daily = shares(np.stack([by_day[int(day)] for day in known]))
        if self.successive:
            return {name: float(np.max(each(daily[1:], daily[:-1]))) for name, each in distances.items()}
        whole = shares(self.training.counts(place))
        found = {name: distance(daily, whole) for name, distance in distances.items()}
        return {name: float(each.max()) * self._drawn_out(name, each, known) for name, each in found.items()}

    def _drawn_out(self, name: str, apart: Floats, known: Floats) -> float:
        """How much farther the served day is from the middle of the training than its ends are, if there is a trend."""
        offset = np.abs(known - known.mean())
        outer = offset > offset.max() / 2
        if len(known) < FEWEST_DAYS or apart[outer].mean() <= TREND * apart[~outer].mean():
            return 1.0
        served = np.mean([cell // QUARTERS for cell in self.served.cells])
        ratio = max(1.0, abs(float(served) - float(known.mean())) / float(offset.max()))
        return ratio**2 if name in SQUARED else ratio


def _by_day(cells: Mapping[int, Counts], quarters: frozenset[int]) -> dict[int, npt.NDArray[np.int64]]:
    result: dict[int, Counts] = {}
    for cell, counts in cells.items():
        if cell % QUARTERS in quarters:
            day = cell // QUARTERS
            result[day] = result[day] + counts if day in result else counts
    return {day: counts for day, counts in result.items() if counts.sum() >= FEWEST_PER_BIN * len(counts)}
