"""How far apart the days of the training lie: what differs no more than they do is no news."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from ranking_service.training.baseline.frozen import Frozen
from ranking_service.training.baseline.layout import Counts
from skew_checks.distributions.resampling import Distance
from skew_checks.distributions.statistics import shares

QUARTERS = 4
FEWEST_PER_BIN = 5
"""A day with fewer values, per bin, is too small to be measured by."""


def days(counts: Frozen) -> int:
    return len({cell // QUARTERS for cell in counts.cells})


def natural_range(
    training: Frozen,
    place: int,
    *,
    quarters: Collection[int],
    distances: Mapping[str, Distance],
    successive: bool = False,
) -> dict[str, float]:
    """By statistic the greatest distance of one training day from all of the training, or from the day before.

    Of each day only those `quarters` (0 to 3) that what is judged was served in: a feature of the hour or of the
    weekday differs from the whole training on every day, and that is no drift. 0 where there are too few days.
    """
    by_day = _by_day(training.by_cell(place), quarters)
    if len(by_day) < 2:
        return dict.fromkeys(distances, 0.0)
    daily = shares(np.stack([by_day[day] for day in sorted(by_day)]))
    whole = shares(training.counts(place))
    left, right = (daily[1:], daily[:-1]) if successive else (daily, whole)
    return {name: float(np.max(distance(left, right))) for name, distance in distances.items()}


def _by_day(cells: Mapping[int, Counts], quarters: Collection[int]) -> dict[int, Counts]:
    result: dict[int, Counts] = {}
    for cell, counts in cells.items():
        if cell % QUARTERS in quarters:
            day = cell // QUARTERS
            result[day] = result[day] + counts if day in result else counts
    return {day: counts for day, counts in result.items() if counts.sum() >= FEWEST_PER_BIN * len(counts)}
