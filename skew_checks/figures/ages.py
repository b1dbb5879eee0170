"""How old each view's rows were when they were read: counted in bins, so that parts add up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from skew_checks.judging.comparing import Compared
from skew_checks.replay.lag import served_rows

STEP = 1.02
"""Each bin is 2 % wider than the one before: quantiles are that exact."""
FIRST = 1.0
BINS = 1_000
"""From a second to more than ten years."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
MOST_POINTS = 60


@dataclass
class AgeCounts:
    """Of one view."""

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    oldest: float = 0.0

    def quantiles(self) -> dict[str, float]:
        """Seconds; empty where no row was found."""
        total = self.counts.sum()
        if not total:
            return {}
        reached = np.cumsum(self.counts) / total
        upper = FIRST * STEP ** np.arange(1, BINS + 1)
        found = {name: float(upper[np.searchsorted(reached, share)]) for name, share in QUANTILES.items()}
        return {name: min(age, self.oldest) for name, age in found.items()}

    def curve(self) -> tuple[tuple[float, float], ...]:
        """Share of rows at most so old, at the bins that hold any."""
        total = self.counts.sum()
        held = np.flatnonzero(self.counts)
        if not total:
            return ()
        if len(held) > MOST_POINTS:
            held = held[np.unique(np.linspace(0, len(held) - 1, MOST_POINTS).round().astype(int))]
        reached = np.cumsum(self.counts) / total
        return tuple((float(FIRST * STEP ** (bin + 1)), float(reached[bin])) for bin in held.tolist())


@dataclass
class Ages:
    """Fed part by part; rows that were not there, or had expired, have no age."""

    by_view: dict[str, AgeCounts] = field(default_factory=dict)

    def add(self, compared: Compared) -> None:
        served = compared.served
        at = np.asarray(served.requests["request_timestamp"].to_numpy(), np.float64)
        for view in compared.judge.views:
            is_users = view.join_keys == ("user_id",)
            log = served.requests if is_users else served.candidates
            event, unused = served_rows(view, log)
            age = ((at if is_users else at[served.request]) - event)[~unused]
            counts = self.by_view.setdefault(view.name, AgeCounts())
            if not len(age):
                continue
            bins = np.log(np.maximum(age, FIRST) / FIRST) / np.log(STEP)
            counts.counts += np.bincount(np.minimum(bins.astype(np.int64), BINS - 1), minlength=BINS)
            counts.oldest = max(counts.oldest, float(age.max()))
