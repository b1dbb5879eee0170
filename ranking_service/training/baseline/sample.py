"""Some rows with all their values, for the classifier that tells two populations apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ranking_service.training.baseline.rows import Hashes, RowKeys, Rows, mix

MOST = 4_000
"""Rows kept, one of a request, by the smallest hash of user and time: the same rows however the counts are merged."""


@dataclass(frozen=True)
class Sample:
    """Ascending by `order`."""

    order: Hashes
    user: Hashes
    item: Hashes
    cell: Rows
    matrix: npt.NDArray[np.float32]

    @classmethod
    def of(cls, matrix: npt.NDArray[np.float32], keys: RowKeys) -> Sample:
        """The row of a request is the one whose item has the smallest hash with the request's."""
        order = mix(keys.user, keys.seconds.view(np.uint64))
        kept = np.argsort(order, kind="stable")[:MOST]
        chosen = np.zeros(len(order), bool)
        chosen[kept] = True
        rows = np.flatnonzero(chosen[keys.request])
        request = keys.request[rows]
        lots = mix(keys.item[rows], order[request])
        by_request = np.lexsort((lots, request))
        first = by_request[np.unique(request[by_request], return_index=True)[1]]
        picked = rows[first]
        requests = keys.request[picked]
        sorting = np.argsort(order[requests], kind="stable")
        picked, requests = picked[sorting], requests[sorting]
        return cls(
            order[requests], keys.user[requests], keys.item[picked], keys.cell[requests], matrix[picked]
        )

    def merged(self, other: Sample) -> Sample:
        order = np.concatenate([self.order, other.order])
        kept = np.argsort(order, kind="stable")[:MOST]
        return Sample(
            order[kept],
            np.concatenate([self.user, other.user])[kept],
            np.concatenate([self.item, other.item])[kept],
            np.concatenate([self.cell, other.cell])[kept],
            np.concatenate([self.matrix, other.matrix])[kept],
        )

    def rows(self, chosen: Rows | npt.NDArray[np.bool_]) -> Sample:
        """Some of them."""
        return Sample(
            self.order[chosen], self.user[chosen], self.item[chosen], self.cell[chosen], self.matrix[chosen]
        )

    def columns(self, places: Sequence[int]) -> Sample:
        """Some of the features."""
        return replace(self, matrix=self.matrix[:, list(places)])
