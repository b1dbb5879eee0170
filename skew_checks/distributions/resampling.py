"""How sure a distance is: a jackknife over groups of users and of items, never over candidate rows.

Users (items) fall into 32 groups by a hash of their id, the same groups on both sides of a comparison. Leaving out one
group after the other on both sides at once gives 32 distances; their variance is that of the distance, whatever the
dependence of rows within a user, and whatever users or items both sides share (delete-a-group jackknife: Kott 2001,
"The delete-a-group jackknife"). A feature of pairs varies with users and with items: its variance is that of users plus
that of items less that of pairs (Cameron, Gelbach and Miller 2011, "Robust inference with multiway clustering"), never
less than the larger of the two. A feature of items varies with items, and with the different rows that they share, such
as their genre's: its variance is the larger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import fdtrc, stdtr

from ranking_service.training.baseline.bins import Over
from ranking_service.training.baseline.layout import Counts
from skew_checks.distributions.statistics import Floats, shares

FEWEST_GROUPS = 10
"""With fewer groups that are not empty no variance is believed."""
Distance = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Estimate:
    """A distance, how far it exceeds the truth on average, and its standard error."""

    value: float
    bias: float
    error: float
    freedom: int

    @property
    def corrected(self) -> float:
        return self.value - self.bias

    def p_value(self, tolerance: float) -> float:
        """Of a distance so large or larger, were the true one `tolerance`: Student's t, one-sided."""
        if not np.isfinite(self.error) or self.freedom < FEWEST_GROUPS - 1:
            return 1.0
        if self.error == 0:
            return 0.0 if self.corrected > tolerance else 1.0
        return float(stdtr(self.freedom, -(self.corrected - tolerance) / self.error))


@dataclass(frozen=True)
class Sides:
    """One feature's counts on both sides, int64 [groups, bins], by what they vary over."""

    current: Mapping[Over, Counts]
    reference: Mapping[Over, Counts]

    @cached_property
    def p(self) -> Floats:
        return shares(next(iter(self.current.values())).sum(axis=0))

    @cached_property
    def q(self) -> Floats:
        return shares(next(iter(self.reference.values())).sum(axis=0))

    @cached_property
    def freedom(self) -> int:
        """Groups that are not empty on the side that has fewer, less one."""
        sides = (self.current, self.reference)
        return min(int((counts.sum(axis=1) > 0).sum()) for side in sides for counts in side.values()) - 1

    @cached_property
    def without(self) -> dict[Over, tuple[Floats, Floats]]:
        """Shares float64 [groups, bins] of both sides with one group left out."""
        return {
            over: (_without_each(self.current[over]), _without_each(self.reference[over]))
            for over in self.current
        }

    def estimate(self, distance: Distance) -> Estimate:
        """Of `distance(p, q)`, which takes leading axes."""
        value = float(distance(self.p, self.q))
        biases, variances = {}, {}
        for over, (p, q) in self.without.items():
            replicates = distance(p, q)
            biases[over] = (len(replicates) - 1) * float(replicates.mean() - value)
            variances[over] = float(_covariance(replicates[:, None])[0, 0])
        return Estimate(value, _crossed(biases), float(np.sqrt(max(_crossed(variances), 0.0))), self.freedom)

    @cached_property
    def p_any(self) -> float:
        """p-value of any difference at all: Pearson's statistic with Rao and Scott's second-order correction.

        X2 = sum((p - q)^2 / m) with m = (p + q) / 2; D = M^-1/2 V M^-1/2 from the jackknife's covariance V of p - q;
        F = X2 / tr(D) on nu and nu * freedom degrees, nu = tr(D)^2 / tr(D^2), tr(D^2) freed of what the estimate of V
        adds to it (Rao and Scott 1984; Thomas and Rao 1987).
        """
        if self.freedom < FEWEST_GROUPS - 1:
            return 1.0
        middle = (self.p + self.q) / 2
        seen = middle > 0
        weight = 1 / np.sqrt(middle[seen])
        covariances = {over: _covariance((p - q)[:, seen] * weight) for over, (p, q) in self.without.items()}
        widest = _widest(covariances)
        trace, squares = float(np.trace(widest)), float((widest**2).sum())
        if trace <= 0:
            return 0.0 if np.any(self.p != self.q) else 1.0
        noise = 1 / self.freedom
        true_squares = max((squares - noise * trace**2) / (1 + noise), trace**2 / max(seen.sum() - 1, 1))
        nu = trace**2 / true_squares
        statistic = float((((self.p - self.q)[seen] * weight) ** 2).sum()) / trace
        return float(fdtrc(nu, nu * self.freedom, statistic))

    @cached_property
    def effective(self) -> tuple[float, float]:
        """Effective sample sizes of the two sides; infinite where the counts leave no doubt."""
        return _effective(
            self.p, [pair[0] for pair in self.without.values()], list(self.without)
        ), _effective(self.q, [pair[1] for pair in self.without.values()], list(self.without))


def _effective(share: Floats, without: list[Floats], groupings: list[Over]) -> float:
    """Independent draws that would be as sure: sum of p (1 - p) over the sum of the shares' variances."""
    variances = {
        over: float(np.trace(_covariance(each))) for over, each in zip(groupings, without, strict=True)
    }
    total = _crossed(variances)
    return float((share * (1 - share)).sum() / total) if total > 0 else np.inf


def _without_each(counts: Counts) -> Floats:
    return shares(counts.sum(axis=0) - counts)


def _covariance(replicates: Floats) -> Floats:
    """float64 [k, k] of replicates [groups, k]."""
    apart = replicates - replicates.mean(axis=0)
    return np.asarray(apart.T @ apart) * (len(replicates) - 1) / len(replicates)


def _crossed(parts: Mapping[Over, float]) -> float:
    """Users' + items' - pairs', at least the larger; of an item's rows the larger; of one kind that."""
    if Over.PAIR not in parts:
        return max(parts.values())
    user, item, pair = parts[Over.USER], parts[Over.ITEM], parts[Over.PAIR]
    return max(user + item - pair, user, item)


def _widest(parts: Mapping[Over, Floats]) -> Floats:
    """As `_crossed`, of covariances: by their traces."""
    found = list(parts.values())
    if Over.PAIR in parts:
        user, item, pair = parts[Over.USER], parts[Over.ITEM], parts[Over.PAIR]
        found = [user + item - pair, user, item]
    return max(found, key=lambda each: float(np.trace(each)))
