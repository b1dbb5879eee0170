"""Columns of a slate as numpy arrays: the one shape features have between the store and the model.

Numbers are float arrays with NaN for missing; strings are object arrays with None for missing; lists are
`Ragged`, empty for missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Ragged:
    """A list column: row i is `values[offsets[i]:offsets[i + 1]]`."""

    offsets: npt.NDArray[np.int64]
    """int64 [rows + 1], ascending."""
    values: Array
    """The lists end to end."""

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[Any] | None], dtype: npt.DTypeLike = object) -> Ragged:
        """None counts as the empty list."""
        lengths = [0 if row is None else len(row) for row in lists]
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        flat = [value for row in lists if row is not None for value in row]
        values = np.empty(len(flat), dtype)
        values[:] = flat
        return cls(offsets, values)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [rows]."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row_numbers(self) -> npt.NDArray[np.int64]:
        """int64 [len(values)]: the row each value belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Ragged:
        """The lists of `rows`, in that order; a row may be taken more than once."""
        lengths = self.lengths[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        starts = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Ragged(offsets, self.values[starts + np.arange(offsets[-1])])


Column: TypeAlias = Array | Ragged
Columns: TypeAlias = Mapping[str, Column]


def take(column: Column, rows: npt.NDArray[np.integer[Any]]) -> Column:
    """The column's `rows`, whatever kind it is."""
    return column.take(rows) if isinstance(column, Ragged) else column[rows]
