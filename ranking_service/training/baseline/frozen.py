"""Counts that no longer grow: of a training, or of a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ranking_service.training.baseline.bins import GROUPED, FeatureBins, Over
from ranking_service.training.baseline.layout import Counts, Layout

EVERYTHING = ("", "")
"""The slice that holds every row."""
Part = tuple[str, str]
"""Dimension and name of a slice's part."""


@dataclass(frozen=True)
class Frozen:
    """As `Population`, whose fields it shares; a feature of items was counted over their versions."""

    bins: tuple[FeatureBins, ...]
    by: Mapping[Over, Counts]
    """int64 [GROUPS, all bins]."""
    cells: Mapping[int, Counts]
    """int64 [all bins]."""
    slices: Mapping[Part, Counts]
    units: Mapping[Part, int]
    """Requests by slice."""
    feature_units: tuple[int, ...]
    """By feature: what it was counted over, requests or item versions."""
    users: int
    requests: int
    rows: int

    @cached_property
    def layout(self) -> Layout:
        return Layout.of(self.bins)

    def groups(self, place: int) -> dict[Over, Counts]:
        """int64 [GROUPS, bins] of one feature, by each kind of unit over which it varies."""
        return {over: self.by[over][:, self.layout.span(place)] for over in GROUPED[self.bins[place].kind]}

    def counts(self, place: int) -> Counts:
        """int64 [bins] of one feature over all."""
        total: Counts = next(iter(self.groups(place).values())).sum(axis=0)
        return total

    def by_cell(self, place: int) -> dict[int, Counts]:
        """int64 [bins] of one feature by quarter of a day."""
        span = self.layout.span(place)
        return {cell: counts[span] for cell, counts in self.cells.items()}

    def slice_counts(self, part: Part, place: int) -> Counts | None:
        """int64 [bins] of one feature, None where nothing was counted."""
        counts = self.slices.get(part)
        return None if counts is None else counts[self.layout.span(place)]
