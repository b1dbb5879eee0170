"""A/A: one population split by users at random, again and again. Nothing differs, so every alarm is a false one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranking_service.training.baseline.bins import Codes, FeatureBins, Kind
from ranking_service.training.baseline.frozen import Frozen
from ranking_service.training.baseline.population import Population
from ranking_service.training.baseline.rows import RowKeys
from skew_checks.distributions.judge import TRAINING, Judge
from skew_checks.distributions.resampling import Sides
from skew_checks.distributions.settings import DriftSettings
from skew_checks.result.parts import Status

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5)
"""Nominal rates at which p-values are looked at."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """What is split."""

    bins: tuple[FeatureBins, ...]
    matrix: npt.NDArray[np.float32]
    """float32 [rows, features]."""
    keys: RowKeys

    def codes(self) -> Codes:
        """uint8 [rows, features], a feature's lying together."""
        result = np.empty(self.matrix.shape, np.uint8, order="F")
        for place, bins in enumerate(self.bins):
            result[:, place] = bins.codes(self.matrix[:, place])
        return result


@dataclass(frozen=True)
class Calibration:
    """What so many splits gave."""

    splits: int
    features: int
    users: int
    requests: int
    rows: int
    p_any: Mapping[Kind, Floats]
    """By kind of feature, float64 [splits, features of the kind]: of any difference; should be uniform."""
    warned: tuple[int, ...]
    """By split: features that were news."""
    failed: tuple[int, ...]
    """By split: of them those past three tolerances."""
    insufficient: tuple[int, ...]
    """By split: features of which nothing could be said."""
    seed: int

    @property
    def false_nights(self) -> float:
        """Share of splits in which any feature was news."""
        return float(np.mean([count > 0 for count in self.warned]))

    @property
    def failed_nights(self) -> float:
        """Share of splits in which any feature was past three tolerances."""
        return float(np.mean([count > 0 for count in self.failed]))

    @property
    def judged(self) -> float:
        """Share of features that could be judged."""
        return 1 - sum(self.insufficient) / (self.splits * self.features)

    def rates(self) -> dict[Kind, tuple[float, ...]]:
        """By kind: share of p-values at most each of LEVELS."""
        return {
            kind: tuple(float((values <= level).mean()) for level in LEVELS)
            for kind, values in self.p_any.items()
        }


def calibrate(
    rows: Rows,
    *,
    splits: int,
    seed: int,
    settings: DriftSettings,
    step: Callable[[int], None] = lambda _done: None,
) -> Calibration:
    """Split users in halves `splits` times and judge one half against the other, as a night against training."""
    rng = np.random.default_rng(seed)
    codes = rows.codes()
    users, user_of_request = np.unique(rows.keys.user, return_inverse=True)
    p_values: list[list[float]] = []
    found: list[list[tuple[Status, bool]]] = []
    for number in range(splits):
        left = (rng.permutation(len(users)) < len(users) // 2)[user_of_request][rows.keys.request]
        one, other = (_counted(rows, codes, np.flatnonzero(half)) for half in (left, ~left))
        p_values.append([_p_any(one, other, place) for place in range(len(rows.bins))])
        found.append(_judged(one, other, settings))
        step(number + 1)
    return Calibration(
        splits=splits,
        features=len(rows.bins),
        users=len(users),
        requests=len(rows.keys.user),
        rows=len(rows.matrix),
        p_any=_by_kind(rows.bins, np.array(p_values)),
        warned=tuple(sum(status is Status.WARN for status, _ in night) for night in found),
        failed=tuple(sum(is_far for _, is_far in night) for night in found),
        insufficient=tuple(sum(status is Status.INSUFFICIENT for status, _ in night) for night in found),
        seed=seed,
    )


def _counted(rows: Rows, codes: Codes, chosen: npt.NDArray[np.int64]) -> Frozen:
    population = Population(rows.bins)
    population.add(rows.matrix[chosen], rows.keys.take(chosen), codes[chosen])
    return population.frozen()


def _p_any(current: Frozen, reference: Frozen, place: int) -> float:
    """NaN for a feature that is the same everywhere, of which no test can be made."""
    sides = Sides(current.groups(place), reference.groups(place))
    return sides.p_any if (sides.p + sides.q).max() < 2 else np.nan


def _judged(one: Frozen, other: Frozen, settings: DriftSettings) -> list[tuple[Status, bool]]:
    drifts = Judge(settings)(one, other, against=TRAINING, training=None)
    return [(drift.status, any(test.status is Status.FAIL for test in drift.tests)) for drift in drifts]


def _by_kind(bins: tuple[FeatureBins, ...], p_values: Floats) -> dict[Kind, Floats]:
    result = {}
    for kind in Kind:
        values = p_values[:, [place for place, each in enumerate(bins) if each.kind is kind]]
        values = values[np.isfinite(values)]
        if len(values):
            result[kind] = values
    return result
