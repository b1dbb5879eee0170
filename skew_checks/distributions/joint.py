"""Drift of all features at once, and of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from ranking_service.training.baseline.embeddings import MARK
from ranking_service.training.baseline.file import Baseline
from ranking_service.training.baseline.sample import Sample
from skew_checks.distributions.classifier import ToldApart, natural_auc, tell_apart
from skew_checks.distributions.settings import DriftSettings
from skew_checks.result.parts import Status, Unit
from skew_checks.result.population import Drift, DriftTest

ALL_FEATURES = "(all features)"
CHANCE = 0.5
BLIND = 0.95
"""Where the days of the training are told apart so well, another day says nothing."""


def joint_drift(
    served: Sample, baseline: Baseline, drifts: Sequence[Drift], settings: DriftSettings
) -> tuple[Drift, str | None]:
    """Of all columns that are steady over the training's days, by `drifts`, against training.

    The others tell the day by themselves. The sentence says what tells the sides apart, where that is news.
    """
    names = _names(baseline)
    steady = {
        drift.feature
        for drift in drifts
        if drift.against == "training"
        and all(test.tolerance <= settings.tolerances[test.statistic] for test in drift.tests)
    }
    places = [place for place, name in enumerate(names) if name in steady]
    if not places:
        return _drift(ALL_FEATURES, "", Status.INSUFFICIENT, 0, ()), None
    return classified(
        ALL_FEATURES,
        "",
        served.columns(places),
        baseline.sample.columns(places),
        names=[names[place] for place in places],
        settings=settings,
    )


def embedding_drifts(
    served: Sample, baseline: Baseline, drifts: Sequence[Drift], settings: DriftSettings
) -> tuple[Drift, ...]:
    """Each embedding by itself: a classifier over its columns, and the sliced Wasserstein distance.

    That is the mean over fixed projections of each one's scaled Wasserstein distance, as `drifts` have them; it is
    beyond its tolerance where at least one projection's own test is.
    """
    names = _names(baseline)
    found = []
    for feature in baseline.dimensions:
        places = [place for place, name in enumerate(names) if name.startswith(feature + MARK)]
        view = next(bins.origin for bins in baseline.counts.bins if bins.feature == names[places[0]])
        drift, _ = classified(
            feature,
            view,
            served.columns(places),
            baseline.sample.columns(places),
            names=[names[place] for place in places],
            settings=settings,
        )
        sliced = _sliced(feature, drifts, settings)
        found.append(_with_test(drift, sliced) if sliced else drift)
    return tuple(found)


def classified(
    feature: str,
    view: str,
    current: Sample,
    reference: Sample,
    *,
    names: Sequence[str],
    settings: DriftSettings,
) -> tuple[Drift, str | None]:
    """One classifier of domains as a drift against training."""
    rows = min(len(current.matrix), len(reference.matrix))
    if rows < settings.minimum_effective:
        return _drift(feature, view, Status.INSUFFICIENT, rows, ()), None
    told = tell_apart(current, reference, names=names, settings=settings)
    test = _test(told, settings.tolerances["domain_auc"], settings)
    if test.status in (Status.WARN, Status.FAIL):
        usual = natural_auc(reference, names=names, settings=settings)
        test = _test(told, max(test.tolerance, usual), settings)
    status = Status.WARN if test.status is Status.FAIL else test.status
    sentence = f"served rows of {feature} are told from training rows mostly by {', '.join(told.telling)}"
    return _drift(feature, view, status, told.users, (test,)), sentence if status is Status.WARN else None


def _test(told: ToldApart, tolerance: float, settings: DriftSettings) -> DriftTest:
    estimate = told.estimate
    p = estimate.p_value(tolerance)
    if told.users < settings.minimum_effective or tolerance > BLIND:
        status = Status.INSUFFICIENT
    elif p > settings.false_discovery_rate:
        status = Status.OK
    else:
        far = estimate.value - CHANCE >= settings.fail_factor * (tolerance - CHANCE)
        status = Status.FAIL if far else Status.WARN
    return DriftTest("domain_auc", estimate.value, tolerance, p, p, status)


def _sliced(feature: str, drifts: Sequence[Drift], settings: DriftSettings) -> DriftTest | None:
    tests = [
        test
        for drift in drifts
        if drift.against == "training" and drift.feature.startswith(f"{feature}{MARK}projection")
        for test in drift.tests
        if test.statistic == "wasserstein"
    ]
    if not tests:
        return None
    value = sum(test.value for test in tests) / len(tests)
    order = (Status.FAIL, Status.WARN, Status.INSUFFICIENT, Status.OK)
    status = min((test.status for test in tests), key=order.index)
    return DriftTest(
        statistic="sliced_wasserstein",
        value=value,
        tolerance=settings.tolerances["sliced_wasserstein"],
        p_value=min(1.0, len(tests) * min(test.p_value or 0.0 for test in tests)),
        q_value=min(test.q_value or 0.0 for test in tests),
        status=status,
    )


def _with_test(drift: Drift, test: DriftTest) -> Drift:
    warns = test.status in (Status.WARN, Status.FAIL) or drift.status is Status.WARN
    status = Status.WARN if warns else drift.status
    return _drift(drift.feature, drift.view, status, drift.effective_n, (*drift.tests, test))


def _drift(feature: str, view: str, status: Status, users: int, tests: tuple[DriftTest, ...]) -> Drift:
    return Drift(feature, view, "training", status, users, Unit.REQUESTS, tests)


def _names(baseline: Baseline) -> list[str]:
    return [bins.feature for bins in baseline.counts.bins]
