"""Counting what differs, feature by feature, over the parts of a replay; memory does not grow with the rows."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from skew_checks.judging.compare import Mask
from skew_checks.judging.dimensions import added
from skew_checks.judging.rates import rate_of
from skew_checks.judging.subjects import Subject
from skew_checks.judging.units import Marks
from skew_checks.result.parts import Rate, Unit

Rows = npt.NDArray[np.int64]
TOUCHED = 128
"""Requests that are named, of all that a mismatch touches."""


@dataclass(frozen=True)
class Place:
    """Of one part: what every tally needs to know of its rows."""

    request: Rows
    """int64 [candidates]"""
    request_timestamp: npt.NDArray[np.float64]
    """Unix seconds [requests]."""
    served_id: list[str]
    """[requests]"""
    unit: Mapping[str, Rows]
    """By view keyed by items or pairs: int64 [candidates], number of each row's unit."""
    code: Mapping[str, Rows]
    """By dimension: int64 [requests]."""

    @cached_property
    def crc(self) -> npt.NDArray[np.int64]:
        """Of each request's id: by which some are drawn."""
        return np.array([zlib.crc32(one.encode()) for one in self.served_id], np.int64)


@dataclass
class Tally:
    """How often one subject differed."""

    subject: Subject
    compared: int = 0
    """Values: requests for a stored feature of the user, else candidates."""
    mismatches: int = 0
    """Of these."""
    requests: int = 0
    """Requests with a mismatch."""
    first: float = np.inf
    """Request time of the first mismatch, Unix seconds."""
    last: float = -np.inf
    touched: dict[str, int] = field(default_factory=dict)
    """Some of the requests with a mismatch, those whose ids have the smallest hash: `served_id` to hash."""
    bad: dict[str, Rows] = field(default_factory=dict)
    """Mismatches by dimension and number of its text."""
    _units: Marks = field(default_factory=Marks)

    def add(self, wrong: Mask, place: Place) -> None:
        """`wrong` has one value per request for a stored feature of the user, else one per candidate."""
        self.compared += len(wrong)
        if not wrong.any():
            return
        rows = np.flatnonzero(wrong)
        request = rows if self.subject.is_per_request else place.request[rows]
        requests = np.unique(request)
        self.mismatches += len(rows)
        self.requests += len(requests)
        times = place.request_timestamp[requests]
        self.first, self.last = min(self.first, float(times.min())), max(self.last, float(times.max()))
        for name, code in place.code.items():
            self.bad[name] = added(self.bad.get(name, np.zeros(0, np.int64)), np.bincount(code[request]))
        if self.subject.unit is not Unit.REQUESTS:
            self._units.mark(place.unit[self.subject.view][rows])
        self._touch(requests, place)

    def rate(self, units: int) -> Rate:
        """`units`: how many there are in all, of the subject's kind."""
        bad = self.requests if self.subject.unit is Unit.REQUESTS else self._units.count
        return rate_of(bad, units, budget=self.subject.budget)

    def _touch(self, requests: Rows, place: Place) -> None:
        crc = place.crc[requests]
        for row in np.argsort(crc, kind="stable")[:TOUCHED].tolist():
            self.touched[place.served_id[requests[row]]] = int(crc[row])
        smallest = sorted(self.touched.items(), key=lambda one: (one[1], one[0]))[:TOUCHED]
        self.touched = dict(smallest)
