"""Served against replayed, request by request: the same values must lie in the same bins. A difference is skew."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, betaincinv

from ranking_service.training.baseline.bins import FeatureBins, Kind
from ranking_service.training.baseline.frozen import EVERYTHING, Frozen
from ranking_service.training.baseline.rows import RowKeys
from skew_checks.distributions.discovery import adjusted
from skew_checks.distributions.judge import REPLAYED, UNITS, binned
from skew_checks.distributions.settings import DriftSettings
from skew_checks.distributions.statistics import psi, shares
from skew_checks.judging.compare import FLOAT32, differ
from skew_checks.result.parts import Status
from skew_checks.result.population import Drift, DriftTest

Matrix = npt.NDArray[np.float32]


@dataclass
class Paired:
    """Adds up over parts, hours and replicas."""

    bins: tuple[FeatureBins, ...]
    requests: int = 0
    moved: dict[int, int] = field(default_factory=dict)
    """By feature: requests in which a value lies in another bin than the replayed one."""
    shift: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)
    """By feature: counts replayed less counts served, int64 [bins], over the rows that drift is counted over."""

    def add(self, served: Matrix, offline: Matrix, keys: RowKeys, counted: npt.NDArray[np.bool_]) -> None:
        """float32 [rows, features] each; `counted` are the rows that drift is counted over."""
        self.requests += len(keys.user)
        for place in _differing(served, offline):
            left, right = served[:, place], offline[:, place]
            rows = np.flatnonzero(differ(left, right, FLOAT32))
            bins = self.bins[place]
            was, would = bins.codes(left[rows]), bins.codes(right[rows])
            apart = was != would
            requests = len(np.unique(keys.request[rows[apart]]))
            if not requests:
                continue
            self.moved[place] = self.moved.get(place, 0) + requests
            shown = np.isin(rows, keys.first) if bins.kind is Kind.USER else counted[rows]
            change = np.bincount(would[shown], minlength=bins.size) - np.bincount(
                was[shown], minlength=bins.size
            )
            self.shift[place] = self.shift.get(place, 0) + change

    def merge(self, other: Paired) -> None:
        self.requests += other.requests
        for place, requests in other.moved.items():
            self.moved[place] = self.moved.get(place, 0) + requests
            self.shift[place] = self.shift.get(place, 0) + other.shift[place]

    def drifts(self, served: Frozen, settings: DriftSettings) -> tuple[Drift, ...]:
        """Every feature; nothing where there was nothing to compare."""
        if not self.requests:
            return ()
        places = range(len(self.bins))
        p_values = [
            float(bdtrc(self.moved.get(place, 0) - 1, self.requests, settings.paired_budget))
            if self.moved.get(place)
            else 1.0
            for place in places
        ]
        q_values = adjusted(p_values)
        return tuple(
            self._drift(place, served, p, float(q), settings)
            for place, p, q in zip(places, p_values, q_values, strict=True)
        )

    def _drift(self, place: int, served: Frozen, p: float, q: float, settings: DriftSettings) -> Drift:
        bins, moved = self.bins[place], self.moved.get(place, 0)
        status = self._status(moved, settings)
        counts = served.slice_counts(EVERYTHING, place)
        here = counts if counts is not None else np.zeros(bins.size, np.int64)
        there = np.maximum(here + self.shift.get(place, 0), 0)
        tests = [DriftTest("moved_share", moved / self.requests, settings.paired_budget, p, q, status)]
        if here.any() and there.any():
            tests.append(DriftTest("psi", float(psi(shares(here), shares(there))), 0.0, None, None, status))
        return Drift(
            feature=bins.feature,
            view=bins.origin,
            against=REPLAYED,
            status=status,
            effective_n=self.requests,
            unit=UNITS[Kind.USER],
            tests=tuple(tests),
            bins=binned(bins, {"served": here, "replayed": there}),
        )

    def _status(self, moved: int, settings: DriftSettings) -> Status:
        """FAIL where the lower bound of the share (Clopper and Pearson) is above the budget; WARN below it."""
        if not moved:
            return Status.OK
        lower = float(betaincinv(moved, self.requests - moved + 1, 1 - settings.paired_confidence))
        return Status.FAIL if lower > settings.paired_budget else Status.WARN


def _differing(served: Matrix, offline: Matrix) -> list[int]:
    """Columns with a value that is not exactly the same; two NaNs are."""
    differs = (served != offline) & ~(np.isnan(served) & np.isnan(offline))
    return np.flatnonzero(differs.any(axis=0)).tolist()
