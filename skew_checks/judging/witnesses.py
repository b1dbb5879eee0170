"""Rows that are kept to look at: for each subject some of those that differ, drawn from the whole window.

A row is drawn by a hash of its request and position: always the same ones, none because it came first, and the
same rows for subjects that differ together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skew_checks.judging.comparing import Compared
from skew_checks.judging.units import Hashes, mixed, text_hashes

Rows = npt.NDArray[np.int64]
EVERY = -1
"""In place of a subject's number: rows drawn from all, whether they differ or not."""


@dataclass(frozen=True)
class Witnesses:
    """Candidate rows side by side, as served and as joined."""

    hashes: Hashes
    served: pa.Table
    """Request and candidate columns of the log."""
    offline: pa.Table
    """Ids, request fields, and every stored feature as of request time."""
    model_input: npt.NDArray[np.float32]
    """As served, by position."""
    is_of_another: npt.NDArray[np.bool_]
    """Where that is the row of another candidate of the request."""

    def __len__(self) -> int:
        return len(self.hashes)

    def filter(self, kept: npt.NDArray[np.bool_]) -> Witnesses:
        mask = pa.array(kept)
        return Witnesses(
            self.hashes[kept],
            self.served.filter(mask),
            self.offline.filter(mask),
            self.model_input[kept],
            self.is_of_another[kept],
        )

    @classmethod
    def together(cls, parts: Iterable[Witnesses]) -> Witnesses:
        """Of at least one part."""
        found = list(parts)
        return cls(
            np.concatenate([part.hashes for part in found]),
            pa.concat_tables([part.served for part in found], promote_options="default"),
            pa.concat_tables([part.offline for part in found], promote_options="default"),
            np.concatenate([part.model_input for part in found]),
            np.concatenate([part.is_of_another for part in found]),
        )


@dataclass
class Draw:
    """Who is kept of one subject."""

    limit: int
    kept: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    """Ascending."""

    def offer(self, hashes: Hashes) -> None:
        if len(self.kept) == self.limit:
            hashes = hashes[hashes < self.kept[-1]]
        if len(hashes):
            self.kept = np.unique(np.concatenate((self.kept, hashes)))[: self.limit]


@dataclass
class Pool:
    """Fed part by part."""

    limit: int
    """Rows for each subject."""
    of_all: int
    """Rows of EVERY."""
    seed: int = 0
    draws: dict[int, Draw] = field(default_factory=dict)
    _parts: list[Witnesses] = field(default_factory=list)

    def add(self, compared: Compared, wrong: dict[int, Rows]) -> None:
        """`wrong`: candidate rows of the part, by the number of the subject that differs in them."""
        hashes = row_hashes(compared, self.seed)
        for number, rows in {**wrong, EVERY: np.arange(len(hashes))}.items():
            limit = self.of_all if number == EVERY else self.limit
            self.draws.setdefault(number, Draw(limit)).offer(hashes[rows])
        wanted = self._wanted()
        rows = np.flatnonzero(np.isin(hashes, wanted))
        self._parts = [part.filter(np.isin(part.hashes, wanted)) for part in self._parts]
        if len(rows):
            self._parts.append(kept_rows(compared, rows, hashes[rows]))

    def witnesses(self) -> Witnesses | None:
        return Witnesses.together(self._parts) if self._parts else None

    def _wanted(self) -> Hashes:
        return np.unique(np.concatenate([draw.kept for draw in self.draws.values()]))


def row_hashes(compared: Compared, seed: int = 0) -> Hashes:
    """uint64 [candidates]."""
    served = compared.served
    of_request = text_hashes(served.requests["served_id"])[served.request]
    position = served.candidates["position"].to_numpy().astype(np.uint64)
    return mixed(of_request, position + np.uint64(seed * 2**32))


def kept_rows(compared: Compared, rows: Rows, hashes: Hashes) -> Witnesses:
    served, offline = compared.served, compared.offline
    joined = offline.candidates.take(pa.array(rows))
    of_request = offline.requests.take(pa.array(served.request[rows]))
    for name in of_request.column_names:
        if name not in joined.column_names:
            joined = joined.append_column(name, of_request[name])
    log = served.rows(rows).append_column(
        "replica", pa.array(served.replica[served.request[rows]], pa.string())
    )
    return Witnesses(hashes, log, joined, served.model_input[rows], compared.is_of_another[rows])
