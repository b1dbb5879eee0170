"""What one bundle's judging comes to: defects, features, freshness, figures."""

from __future__ import annotations

from dataclasses import dataclass

from skew_checks.causes.evidence import Evidence
from skew_checks.causes.findings import Found, Wrong, defects_of, features_of, wrong_features
from skew_checks.causes.other_findings import changed_code, other_scores
from skew_checks.figures.freshness import freshness_of
from skew_checks.figures.parity import parity_of
from skew_checks.judging.accumulate import Judging
from skew_checks.judging.key_spelling import key_spellings
from skew_checks.result.cause import Cause
from skew_checks.result.population import Drift, Freshness, Hourly, Parity
from skew_checks.result.report import FeatureResult

MOST_FIGURES = 40
"""Defective features with hours and points of their own; worst first."""


@dataclass(frozen=True)
class Judged:
    """Of one bundle."""

    judging: Judging
    defects: tuple[Found, ...] = ()
    features: tuple[FeatureResult, ...] = ()
    freshness: tuple[Freshness, ...] = ()
    drift: tuple[Drift, ...] = ()
    hourly: tuple[Hourly, ...] = ()
    parity: tuple[Parity, ...] = ()
    notes: tuple[str, ...] = ()


def judged(judging: Judging) -> Judged:
    """Look at what was kept. Raises FeatureError for a damaged partition."""
    witnesses = judging.pool.witnesses()
    if witnesses is None:
        return Judged(judging)
    evidence = Evidence(judging.judge, witnesses)
    wrong = wrong_features(judging, evidence)
    found = [*defects_of(judging, wrong), *other_scores(judging), *key_spellings(judging)]
    named = frozenset(each.defect.view for each in found if each.defect.cause is Cause.TRANSFORM_CODE)
    found += changed_code(judging, named)
    figures = _figures(wrong)
    points = (parity_of(one.case) for one in figures)
    return Judged(
        judging,
        defects=tuple(found),
        features=tuple(features_of(judging)),
        freshness=tuple(freshness_of(judging, evidence)),
        hourly=tuple(judging.hours.hourly(one.number) for one in figures),
        parity=tuple(point for point in points if point is not None),
    )


def _figures(wrong: list[Wrong]) -> list[Wrong]:
    return sorted(wrong, key=lambda one: (-one.rate.lower, -one.rate.share, one.number))[:MOST_FIGURES]
