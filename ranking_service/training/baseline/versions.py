"""Different versions of items, each counted once however often it was shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ranking_service.training.baseline.bins import Codes, Over
from ranking_service.training.baseline.rows import Hashes, Rows, group

MOST = 200_000
"""Versions kept of a view and quarter of a day, by smallest hash: a fair sample of them all, and bounded memory."""


@dataclass(frozen=True)
class Versions:
    """One view's, each once per quarter of a day in which it was seen; by hash and quarter."""

    version: Hashes
    item: Hashes
    row: Hashes
    """Of the values alone, which items may share; of an item without any values its own."""
    cell: Rows
    codes: Codes
    """uint8 [versions, features of the view]."""

    @classmethod
    def none(cls, features: int) -> Versions:
        hashes = np.empty(0, np.uint64)
        return cls(hashes, hashes, hashes, np.empty(0, np.int64), np.empty((0, features), np.uint8))

    def merged(self, other: Versions) -> Versions:
        """Each once, the same whatever the order of merging."""
        version = np.concatenate([self.version, other.version])
        cell = np.concatenate([self.cell, other.cell])
        kept = Versions.once(version, cell)
        return Versions(
            version[kept],
            np.concatenate([self.item, other.item])[kept],
            np.concatenate([self.row, other.row])[kept],
            cell[kept],
            np.concatenate([self.codes, other.codes])[kept],
        )

    @cached_property
    def overall(self) -> Rows:
        """int64: rows of the versions, each once whatever the quarter."""
        return np.unique(self.version, return_index=True)[1].astype(np.int64)

    @cached_property
    def groups(self) -> dict[Over, Rows]:
        """int64: of each of these, by item and by row."""
        return {Over.ITEM: group(self.item[self.overall]), Over.ROW: group(self.row[self.overall])}

    @staticmethod
    def once(version: Hashes, cell: Rows) -> Rows:
        """int64: a row of each (version, quarter), by them; at most MOST."""
        order = np.lexsort((cell, version))
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(version[order]) != 0) | (np.diff(cell[order]) != 0)
        return order[new][:MOST].astype(np.int64)
