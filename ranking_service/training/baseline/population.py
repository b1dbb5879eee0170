"""Counts over frozen bins, by groups of users and items, by time and by slice. Adding is all that serving does."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ranking_service.training.baseline.bins import DEFAULT, GROUPED, MISSING, Codes, FeatureBins, Kind, Over
from ranking_service.training.baseline.frozen import EVERYTHING, Frozen, Part
from ranking_service.training.baseline.layout import Counts, Layout, Matrix, Parted, RowNumbers, grouped
from ranking_service.training.baseline.rows import GROUPS, Hashes, RowKeys, hash_rows
from ranking_service.training.baseline.sample import Sample
from ranking_service.training.baseline.versions import Versions

CELLS = 56
"""Quarters of days that are kept when counts are frozen: the last two weeks."""
Key = TypeVar("Key", bound=Hashable)


@dataclass
class Population:
    """Counts lie side by side, feature after feature (`Layout`); those of item versions are made when asked for."""

    bins: tuple[FeatureBins, ...]
    by: dict[Over, Counts] = field(default_factory=dict)
    """int64 [GROUPS, all bins] by groups of users, items and pairs; a user's feature by users only."""
    cells: dict[int, Counts] = field(default_factory=dict)
    """int64 [all bins] by quarter of a day; not of items' features."""
    slices: dict[Part, Counts] = field(default_factory=dict)
    """int64 [all bins]; of a user's feature over requests, of others over rows."""
    units: dict[Part, int] = field(default_factory=dict)
    """Requests by slice."""
    versions: dict[str, Versions] = field(default_factory=dict)
    """By view keyed by items."""
    sample: Sample | None = None
    users: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    """Different ones, ascending."""
    requests: int = 0
    rows: int = 0

    def __post_init__(self) -> None:
        self.layout = Layout.of(self.bins)
        for over in Over:
            self.by.setdefault(over, np.zeros((GROUPS, self.layout.width), np.int64))

    def add(self, matrix: Matrix, keys: RowKeys, codes: Codes | None = None) -> None:
        """Count rows: float32 [rows, features], in the order of the bins. A request is whole, and added once.

        `codes`, uint8 of the same shape, are the values' bins where they are known already.
        """
        if not len(matrix):
            return
        numbers = RowNumbers(keys)
        self.requests += len(keys.user)
        self.rows += len(matrix)
        self.users = np.union1d(self.users, keys.user)
        self._add_sample(Sample.of(matrix, keys))
        self._add_units(numbers)
        for place, bins in enumerate(self.bins):
            of_user = bins.kind is Kind.USER
            rows = keys.first if of_user else slice(None)
            found = bins.codes(matrix[rows, place]) if codes is None else codes[rows, place]
            self._count(place, found, numbers, np.arange(len(keys.user)) if of_user else keys.request)
        for view in self.layout.views:
            self._add_versions(view, self._versions_of(view, matrix, numbers))

    def merge(self, other: Population) -> None:
        """Add the counts of other requests over the same bins."""
        self.by = {over: self.by[over] + other.by[over] for over in Over}
        _add_up(self.cells, other.cells)
        _add_up(self.slices, other.slices)
        for part, units in other.units.items():
            self.units[part] = self.units.get(part, 0) + units
        for view, versions in other.versions.items():
            self._add_versions(view, versions)
        if other.sample is not None:
            self._add_sample(other.sample)
        self.users = np.union1d(self.users, other.users)
        self.requests += other.requests
        self.rows += other.rows

    def groups(self, place: int) -> dict[Over, Counts]:
        """int64 [GROUPS, bins] of one feature, by each kind of unit over which it varies."""
        bins, span = self.bins[place], self.layout.span(place)
        if bins.kind is not Kind.ITEM:
            return {over: self.by[over][:, span] for over in GROUPED[bins.kind]}
        versions = self._seen(place)
        codes = versions.codes[versions.overall, self.layout.column_in_view[place]]
        return {over: grouped(codes, numbers, GROUPS, bins.size) for over, numbers in versions.groups.items()}

    def by_cell(self, place: int) -> dict[int, Counts]:
        """int64 [bins] of one feature by quarter of a day."""
        bins, span = self.bins[place], self.layout.span(place)
        if bins.kind is not Kind.ITEM:
            return {cell: counts[span] for cell, counts in self.cells.items()}
        versions = self._seen(place)
        parted = Parted.of(versions.cell)
        codes = versions.codes[:, self.layout.column_in_view[place]]
        counts = grouped(codes, parted.number, len(parted.names), bins.size)
        return {int(str(name)): row for name, row in zip(parted.names, counts, strict=True)}

    def units_of(self, place: int) -> int:
        """What a feature was counted over: requests, or different versions of items."""
        of_items = self.bins[place].kind is Kind.ITEM
        return len(self._seen(place).overall) if of_items else self.requests

    def frozen(self) -> Frozen:
        """The counts alone, item versions counted."""
        by = {over: counts.copy() for over, counts in self.by.items()}
        cells = {cell: counts.copy() for cell, counts in sorted(self.cells.items())[-CELLS:]}
        for place, bins in enumerate(self.bins):
            if bins.kind is Kind.ITEM:
                for over, counts in self.groups(place).items():
                    by[over][:, self.layout.span(place)] = counts
                for cell, counts in self.by_cell(place).items():
                    if cell in cells:
                        cells[cell][self.layout.span(place)] = counts
        units = tuple(self.units_of(place) for place in range(len(self.bins)))
        return Frozen(
            self.bins, by, cells, self.slices, self.units, units, len(self.users), self.requests, self.rows
        )

    def _seen(self, place: int) -> Versions:
        view = self.bins[place].origin
        return self.versions.get(view) or Versions.none(len(self.layout.views[view]))

    def _count(self, place: int, codes: Codes, numbers: RowNumbers, request: Counts) -> None:
        """`codes` of rows that belong to `request`, of everything but item versions."""
        bins, span = self.bins[place], self.layout.span(place)
        if bins.kind is Kind.USER:
            self.by[Over.USER][:, span] += grouped(codes, numbers.user, GROUPS, bins.size)
        elif bins.kind is Kind.PAIR:
            for over, groups in numbers.by_row.items():
                self.by[over][:, span] += grouped(codes, groups, GROUPS, bins.size)
        if bins.kind is not Kind.ITEM:
            for name, counts in _by_part(codes, numbers.cells, request, bins.size):
                self._of(self.cells, int(str(name)))[span] += counts
        self._of(self.slices, EVERYTHING)[span] += np.bincount(codes, minlength=bins.size)
        for dimension, parted in numbers.slices.items():
            for name, counts in _by_part(codes, parted, request, bins.size):
                self._of(self.slices, (dimension, str(name)))[span] += counts

    def _add_units(self, numbers: RowNumbers) -> None:
        self.units[EVERYTHING] = self.units.get(EVERYTHING, 0) + len(numbers.keys.user)
        for dimension, parted in numbers.slices.items():
            for name, requests in zip(parted.names, parted.requests().tolist(), strict=False):
                part = (dimension, str(name))
                self.units[part] = self.units.get(part, 0) + requests

    def _versions_of(self, view: str, matrix: Matrix, numbers: RowNumbers) -> Versions:
        """Each (version, quarter) of these rows."""
        keys, columns = numbers.keys, self.layout.views[view]
        block = matrix[:, columns]
        row = hash_rows(block)
        version, cell = row ^ keys.item, keys.cell[keys.request]
        once = Versions.once(version, cell)
        bins = [self.bins[column] for column in columns.tolist()]
        codes = np.stack([each.codes(block[once, place]) for place, each in enumerate(bins)], axis=1)
        nothing = np.array([[MISSING, MISSING if each.is_text else DEFAULT] for each in bins]).T
        is_empty = ((codes == nothing[0]) | (codes == nothing[1])).all(axis=1)
        item = keys.item[once]
        return Versions(version[once], item, np.where(is_empty, item, row[once]), cell[once], codes)

    def _add_versions(self, view: str, versions: Versions) -> None:
        self.versions[view] = self.versions[view].merged(versions) if view in self.versions else versions

    def _add_sample(self, sample: Sample) -> None:
        self.sample = sample if self.sample is None else self.sample.merged(sample)

    def _of(self, counts: dict[Key, Counts], name: Key) -> Counts:
        if name not in counts:
            counts[name] = np.zeros(self.layout.width, np.int64)
        return counts[name]


def _by_part(codes: Codes, parted: Parted, request: Counts, size: int) -> list[tuple[Hashable, Counts]]:
    counts = grouped(codes, parted.number[request], len(parted.names) + 1, size)
    return list(zip(parted.names, counts, strict=False))


def _add_up(counts: dict[Key, Counts], more: dict[Key, Counts]) -> None:
    for name, other in more.items():
        counts[name] = counts[name] + other if name in counts else other
