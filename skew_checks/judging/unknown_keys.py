"""Keys without a row of any view: new users and items, or old ones under another spelling."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ranking_service.contract import ViewPlan
from skew_checks.judging.comparing import Compared
from skew_checks.replay.lag import served_rows

MOST = 20_000
"""Keys that are remembered."""


@dataclass
class UnknownKeys:
    """Fed part by part."""

    key: str
    counts: dict[str, int] = field(default_factory=dict)
    """Requests (of a user's key) or rows, by key."""
    example: dict[str, str] = field(default_factory=dict)
    """A request's id, by key."""
    first: float = np.inf
    """Unix seconds."""
    last: float = -np.inf

    def add(self, compared: Compared) -> None:
        views = [view for view in compared.judge.views if view.join_keys == (self.key,)]
        if not views:
            return
        served = compared.served
        log = served.requests if self.key == "user_id" else served.candidates
        rows = np.flatnonzero(np.logical_and.reduce([_absent(view, log) for view in views]))
        if not len(rows):
            return
        request = rows if self.key == "user_id" else served.request[rows]
        times = served.requests["request_timestamp"].to_numpy()[request]
        self.first, self.last = min(self.first, float(times.min())), max(self.last, float(times.max()))
        keys = np.asarray(log[self.key].take(rows).to_pandas(), object)
        names, place, counts = np.unique(keys.astype(str), return_index=True, return_counts=True)
        for name, at, count in zip(names.tolist(), place.tolist(), counts.tolist(), strict=True):
            if name in self.counts or len(self.counts) < MOST:
                self.counts[name] = self.counts.get(name, 0) + count
                self.example.setdefault(name, str(served.requests["request_id"][int(request[at])].as_py()))


def _absent(view: ViewPlan, log: object) -> npt.NDArray[np.bool_]:
    return np.isnan(served_rows(view, log)[0])
