"""Where a feature's bins lie among all, and counting codes by number."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Array
from ranking_service.training.baseline.bins import Codes, FeatureBins, Kind, Over
from ranking_service.training.baseline.rows import RowKeys, Rows, group, mix

Counts = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """Of the bins of all features side by side."""

    starts: tuple[int, ...]
    """One more than there are features."""
    column_in_view: tuple[int, ...]
    """Place of a feature among those of its view."""
    views: Mapping[str, Rows]
    """int64: columns of each view keyed by items."""

    @classmethod
    def of(cls, bins: tuple[FeatureBins, ...]) -> Layout:
        views: dict[str, list[int]] = {}
        within = []
        for place, each in enumerate(bins):
            members = views.setdefault(each.origin, [])
            within.append(len(members))
            members.append(place)
        of_items = {each.origin for each in bins if each.kind is Kind.ITEM}
        starts = np.concatenate([[0], np.cumsum([each.size for each in bins])]).astype(int).tolist()
        return cls(tuple(starts), tuple(within), {name: np.array(views[name]) for name in sorted(of_items)})

    @property
    def width(self) -> int:
        return self.starts[-1]

    def span(self, place: int) -> slice:
        return slice(self.starts[place], self.starts[place + 1])


def grouped(codes: Codes, numbers: Rows, groups: int, size: int) -> Counts:
    """int64 [groups, size]: how often each code occurs under each number in [0, groups)."""
    return np.bincount(numbers * size + codes, minlength=groups * size).reshape(groups, size)


@dataclass(frozen=True)
class Parted:
    """Requests in named parts."""

    names: tuple[Hashable, ...]
    number: Rows
    """int64 [requests]: of the part; one past the last for those in none."""

    @classmethod
    def of(cls, values: Array) -> Parted:
        if values.dtype == object:
            known = values != np.array(None)
            names, found = np.unique(values[known].astype(str), return_inverse=True)
            number = np.full(len(values), len(names), np.int64)
            number[known] = found
        else:
            names, number = np.unique(values, return_inverse=True)
        return cls(tuple(names.tolist()), number.astype(np.int64))

    def requests(self) -> Counts:
        return np.bincount(self.number, minlength=len(self.names))


@dataclass(frozen=True)
class RowNumbers:
    """What one batch of rows is counted by, worked out once for all features."""

    keys: RowKeys

    @cached_property
    def user(self) -> Rows:
        """int64 [requests]: group of the user."""
        return group(self.keys.user)

    @cached_property
    def by_row(self) -> dict[Over, Rows]:
        """int64 [rows]: groups."""
        user = self.keys.user[self.keys.request]
        return {
            Over.USER: self.user[self.keys.request],
            Over.ITEM: group(self.keys.item),
            Over.PAIR: group(mix(user, self.keys.item)),
        }

    @cached_property
    def cells(self) -> Parted:
        return Parted.of(self.keys.cell)

    @cached_property
    def slices(self) -> dict[str, Parted]:
        return {name: Parted.of(values) for name, values in self.keys.slices.items()}
