"""Which changes are news: beyond the tolerance by more than chance, with few false ones over all features."""

from __future__ import annotations

from dataclasses import dataclass, field

from ranking_service.training.baseline.bins import FeatureBins, Kind
from ranking_service.training.baseline.frozen import Frozen
from ranking_service.training.baseline.layout import Counts
from skew_checks.distributions.discovery import adjusted
from skew_checks.distributions.measured import Measured, measure
from skew_checks.distributions.natural import Natural
from skew_checks.distributions.nights import EarlierNights
from skew_checks.distributions.settings import DriftSettings
from skew_checks.distributions.slices import slices_of
from skew_checks.result.parts import Status, Unit
from skew_checks.result.population import Binned, Drift, DriftTest

TRAINING, PREVIOUS_DAY, REPLAYED = "training", "previous day", "replayed"
UNITS = {Kind.USER: Unit.REQUESTS, Kind.ITEM: Unit.ITEM_ROWS, Kind.PAIR: Unit.REQUESTS}


@dataclass(frozen=True)
class Judge:
    """Judges counts against other counts over the same bins."""

    settings: DriftSettings = field(default_factory=DriftSettings)
    earlier: EarlierNights = field(default_factory=EarlierNights)

    def __call__(
        self, current: Frozen, reference: Frozen, *, against: str, training: Frozen | None
    ) -> tuple[Drift, ...]:
        """Every feature; `training` gives the range that is natural from day to day."""
        natural = None
        if training is not None:
            natural = Natural(training, current, successive=against == PREVIOUS_DAY)
        measured = [
            measure(current, reference, place, settings=self.settings, natural=natural)
            for place in range(len(current.bins))
        ]
        q_values = adjusted(
            [each.p_value for each in measured], arbitrary_dependence=self.settings.arbitrary_dependence
        )
        return tuple(
            self._drift(each, float(q), current, reference, against)
            for each, q in zip(measured, q_values, strict=True)
        )

    def _drift(self, measured: Measured, q: float, current: Frozen, reference: Frozen, against: str) -> Drift:
        bins = measured.bins
        tests = tuple(self._test(measured, name, q, against) for name in measured.estimates)
        status = overall(tests) if measured.is_enough else Status.INSUFFICIENT
        selected = status is Status.WARN
        side = "served before" if against == PREVIOUS_DAY else TRAINING
        place = measured.place
        return Drift(
            feature=bins.feature,
            view=bins.origin,
            against=against,
            status=status,
            effective_n=measured.effective,
            unit=UNITS[bins.kind],
            tests=tests,
            bins=binned(bins, {side: reference.counts(place), "served": current.counts(place)}),
            slices=slices_of(current, reference, place, settings=self.settings) if selected else (),
        )

    def _test(self, measured: Measured, name: str, q_feature: float, against: str) -> DriftTest:
        estimate, tolerance = measured.estimates[name], measured.tolerances[name]
        p = measured.p_values[name]
        q = min(1.0, max(q_feature, len(measured.p_values) * p))
        if not measured.is_enough:
            status = Status.INSUFFICIENT
        elif q <= self.settings.false_discovery_rate:
            nights = 1 + self.earlier.beyond(measured.bins.feature, against=against, statistic=name)
            at_once = estimate.corrected >= self.settings.fail_factor * tolerance
            status = Status.FAIL if at_once or nights >= self.settings.nights_to_fail else Status.WARN
        else:
            status = Status.OK if measured.could_see(name) else Status.INSUFFICIENT
        return DriftTest(name, estimate.value, tolerance, p, q, status)


def overall(tests: tuple[DriftTest, ...]) -> Status:
    """Of a drift: WARN at most, since it is news and no defect; not OK while one of its tests could not tell."""
    found = {test.status for test in tests}
    if found & {Status.WARN, Status.FAIL}:
        return Status.WARN
    return Status.INSUFFICIENT if Status.INSUFFICIENT in found or not found else Status.OK


def binned(bins: FeatureBins, counts: dict[str, Counts]) -> Binned:
    """Counts by side, for plots."""
    return Binned(
        bins.labels, bins.special, {side: tuple(each.astype(float)) for side, each in counts.items()}
    )
