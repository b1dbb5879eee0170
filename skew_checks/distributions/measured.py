"""One feature's distances from its reference, with what is needed to judge them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from scipy.special import stdtrit

from ranking_service.training.baseline.bins import FeatureBins
from ranking_service.training.baseline.frozen import Frozen
from skew_checks.distributions.measures import measures
from skew_checks.distributions.natural import Natural
from skew_checks.distributions.resampling import FEWEST_GROUPS, Estimate, Sides
from skew_checks.distributions.settings import DriftSettings

POWER = 0.99


@dataclass(frozen=True)
class Measured:
    """See `measure`."""

    place: int
    bins: FeatureBins
    sides: Sides
    estimates: Mapping[str, Estimate]
    tolerances: Mapping[str, float]
    """The larger of what is set and what is natural."""
    effective: int
    """Sample size, of the side that has less; never more than it has requests or item versions."""
    settings: DriftSettings

    @cached_property
    def p_values(self) -> dict[str, float]:
        """By statistic: of a distance so large if the true one were the tolerance, and of any difference at all."""
        any_difference = self.sides.p_any if self.estimates else 1.0
        return {
            name: max(estimate.p_value(self.tolerances[name]), any_difference)
            for name, estimate in self.estimates.items()
        }

    @cached_property
    def p_value(self) -> float:
        """Of the feature: the least of its statistics' times their number (Bonferroni); 1 for too little data."""
        if not self.is_enough:
            return 1.0
        return min([1.0, *(len(self.p_values) * p for p in self.p_values.values())])

    @property
    def is_enough(self) -> bool:
        """Whether there is enough to say anything at all."""
        enough = self.effective >= self.settings.minimum_effective
        return bool(self.estimates) and enough and self.sides.freedom >= FEWEST_GROUPS - 1

    def could_see(self, name: str) -> bool:
        """Whether a distance of `fail_factor` tolerances would have shown, with 99 % certainty."""
        estimate, tolerance = self.estimates[name], self.tolerances[name]
        room = (self.settings.fail_factor - 1) * tolerance
        return bool(float(stdtrit(estimate.freedom, POWER)) * estimate.error <= room)


def measure(
    current: Frozen,
    reference: Frozen,
    place: int,
    *,
    settings: DriftSettings,
    natural: Natural | None = None,
) -> Measured:
    """Feature `place` of `current` against that of `reference`; no estimates where one side has nothing."""
    bins = current.bins[place]
    sides = Sides(current.groups(place), reference.groups(place))
    if not current.counts(place).any() or not reference.counts(place).any():
        return Measured(place, bins, sides, {}, {}, 0, settings)
    distances = measures(bins, sides.q)
    usual = natural(place, distances) if natural is not None else dict.fromkeys(distances, 0.0)
    tolerances = {name: max(settings.tolerances[name], usual[name]) for name in distances}
    units = (current.feature_units[place], reference.feature_units[place])
    sizes = (min(size, unit) for size, unit in zip(sides.effective, units, strict=True))
    estimates = {name: sides.estimate(distance) for name, distance in distances.items()}
    return Measured(place, bins, sides, estimates, tolerances, int(min(sizes)), settings)
