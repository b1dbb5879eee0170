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
    """A list column: row i is `values[offsets[rows[i]]:offsets[rows[i] + 1]]`.

    Rows may share a list (a user's, for all candidates of a request), so that repeating it costs no copy.
    """

    offsets: npt.NDArray[np.int64]
    """int64 [lists + 1], ascending."""
    values: Array
    """The lists end to end."""
    rows: npt.NDArray[np.int64]
    """int64 [rows]: the list of each row."""

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[Any] | None], dtype: npt.DTypeLike = object) -> Ragged:
        """One list per row; None counts as the empty list."""
        lengths = [0 if row is None else len(row) for row in lists]
        flat = [value for row in lists if row is not None for value in row]
        values = np.empty(len(flat), dtype)
        values[:] = flat
        return cls(np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))), values, np.arange(len(lists)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [rows]."""
        return np.diff(self.offsets)[self.rows]

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Ragged:
        """The lists of `rows`, in that order; a row may be taken more than once."""
        return Ragged(self.offsets, self.values, self.rows[rows])

    def flat(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The elements row by row: int64 row of each, int64 position of each in `values`."""
        lengths = self.lengths
        row = np.repeat(np.arange(len(self)), lengths)
        first = np.repeat(self.offsets[self.rows] - np.cumsum(lengths) + lengths, lengths)
        return row, first + np.arange(len(row))

    def to_lists(self) -> list[list[Any]]:
        """One Python list per row."""
        return [self.values[self.offsets[row] : self.offsets[row + 1]].tolist() for row in self.rows]


Column: TypeAlias = Array | Ragged
Columns: TypeAlias = Mapping[str, Column]


def take(column: Column, rows: npt.NDArray[np.integer[Any]]) -> Column:
    """The column's `rows`, whatever kind it is."""
    return column.take(rows) if isinstance(column, Ragged) else column[rows]
