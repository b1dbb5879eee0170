"""Whether the scores logged are what the bundle that the log names gives on the inputs logged."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ranking_service.bundle import Bundle
from skew_checks.judging.dimensions import added
from skew_checks.judging.tally import Place
from skew_checks.replay.served import Served

Rows = npt.NDArray[np.int64]
ROWS_EACH = 8_192
"""Candidate rows of a part that are scored again, at least one request."""
RELATIVE, ABSOLUTE = 1e-5, 1e-7
"""The same library on another processor may sum in another order."""
KEPT = 3


@dataclass(frozen=True)
class OtherScore:
    """One score that is another."""

    request_id: str
    user_id: str
    item_id: str
    request_timestamp: float
    logged: float
    expected: float


@dataclass
class Scores:
    """Fed part by part."""

    bundle: Bundle
    requests: int = 0
    """Scored again."""
    bad: int = 0
    """Of these, with another score anywhere."""
    first: float = np.inf
    last: float = -np.inf
    examples: list[OtherScore] = field(default_factory=list)
    by_dimension: dict[str, Rows] = field(default_factory=dict)
    touched: dict[str, int] = field(default_factory=dict)

    def add(self, served: Served, place: Place) -> None:
        order = np.argsort(place.crc, kind="stable")
        ends = np.cumsum(np.bincount(served.request, minlength=len(order))[order])
        chosen = order[: max(1, int(np.searchsorted(ends, ROWS_EACH, side="right")))]
        rows = np.flatnonzero(np.isin(served.request, chosen))
        logged = served.candidates["score"].to_numpy()[rows].astype(np.float64)
        expected = self.bundle.booster.inplace_predict(served.model_input[rows]).astype(np.float64)
        other = ~(np.abs(logged - expected) <= ABSOLUTE + RELATIVE * np.abs(expected))
        self.requests += len(chosen)
        requests = np.unique(served.request[rows[other]])
        if not len(requests):
            return
        self.bad += len(requests)
        times = place.request_timestamp[requests]
        self.first, self.last = min(self.first, float(times.min())), max(self.last, float(times.max()))
        for name, code in place.code.items():
            counts = np.bincount(code[requests])
            self.by_dimension[name] = added(self.by_dimension.get(name, np.zeros(0, np.int64)), counts)
        self.touched |= {place.served_id[request]: int(place.crc[request]) for request in requests.tolist()}
        self._keep(served, rows[other], logged[other], expected[other])

    def _keep(
        self, served: Served, rows: Rows, logged: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]
    ) -> None:
        for place, row in enumerate(rows[: KEPT - len(self.examples)].tolist()):
            head = served.requests.slice(int(served.request[row]), 1)
            request, user = (head[name][0].as_py() for name in ("request_id", "user_id"))
            item = served.candidates["item_id"][row].as_py()
            at = head["request_timestamp"][0].as_py()
            self.examples.append(
                OtherScore(request, user, item, at, float(logged[place]), float(expected[place]))
            )
