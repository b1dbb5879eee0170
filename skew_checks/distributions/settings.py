"""The thresholds of the distribution checks, with their defaults; `docs/skew-statistics.md` says why these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def _tolerances() -> dict[str, float]:
    return {
        "psi": 0.1,
        "jensen_shannon": 0.02,
        "kolmogorov_smirnov": 0.1,
        "wasserstein": 0.15,
        "l_infinity": 0.1,
        "null_rate": 0.03,
        "default_rate": 0.05,
        "inf_rate": 0.001,
        "unseen_mass": 0.02,
        "sliced_wasserstein": 0.15,
        "domain_auc": 0.65,
    }


@dataclass(frozen=True)
class DriftSettings:
    """What counts as changed, and how sure one must be."""

    tolerances: Mapping[str, float] = field(default_factory=_tolerances)
    """By statistic: largest value that is no news. That of `domain_auc` counts from 0.5, which is chance."""
    fail_factor: float = 3.0
    """So many tolerances fail at once; less needs `nights_to_fail` of three nights."""
    nights_to_fail: int = 2
    false_discovery_rate: float = 0.01
    """Of the features named as drifted, over all features of one comparison (Benjamini-Hochberg)."""
    arbitrary_dependence: bool = False
    """Benjamini-Yekutieli in place of Benjamini-Hochberg: holds whatever the features' dependence, finds less."""
    minimum_effective: int = 100
    """Fewer independent requests, users or item rows on either side are not enough to say anything."""
    paired_budget: float = 0.001
    """Largest share of requests whose served value may lie in another bin than the replayed one."""
    paired_confidence: float = 0.999
    """Of the bound (Clopper and Pearson) that has to be above the budget."""
    slice_minimum: int = 30
    """Requests in a part of a slice; smaller parts are left out."""
    classifier_rows: int = 4_000
    """Of each side, for the classifiers of domains."""
    classifier_folds: int = 4
    seed: int = 0
