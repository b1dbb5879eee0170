"""Which rows are needed, and where each request row finds its own among those that were read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from materialization.data_plane.offline.duck_sources import FILE_SHIFT

ROOM = 8
"""A table of all rows up to the last is worth it where it is at most so many times as long as the request."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Numbering:
    """Positions as numbers from 0: the rows of one file after those of the other."""

    starts: npt.NDArray[np.int64]
    """Number of each file's first row, and one past the last."""

    @classmethod
    def of(cls, positions: Positions) -> Numbering:
        """With room for these positions."""
        files = positions >> FILE_SHIFT
        lengths = np.zeros(int(files.max(initial=-1)) + 1, np.int64)
        np.maximum.at(lengths, files, _rows(positions) + 1)
        return cls(np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def numbers(self, positions: Positions) -> npt.NDArray[np.int64]:
        """Of positions there is room for."""
        numbers: npt.NDArray[np.int64] = self.starts[positions >> FILE_SHIFT] + _rows(positions)
        return numbers


def needed(positions: pa.Array) -> pa.Array:
    """Each position once, without the nulls."""
    wanted = _present(positions)
    numbering = Numbering.of(wanted)
    if len(numbering) > ROOM * len(positions):
        return pc.unique(positions).drop_null()
    marked = np.full(len(numbering), -1, np.int64)
    marked[numbering.numbers(wanted)] = wanted
    return pa.array(marked[marked >= 0])


def found_at(positions: pa.Array, read: pa.ChunkedArray) -> pa.Array:
    """Row of `read`, a column of positions, for every position; null where that is null."""
    numbering = Numbering.of(_present(positions))
    if len(numbering) > ROOM * len(positions):
        return pc.index_in(positions, value_set=read.combine_chunks())
    rows = np.zeros(len(numbering), np.int64)
    rows[numbering.numbers(read.to_numpy())] = np.arange(len(read))
    if not positions.null_count:
        return pa.array(rows[numbering.numbers(positions.to_numpy())])
    missing = positions.is_null().to_numpy(zero_copy_only=False)
    first = _present(positions)[:1]
    filled = positions.fill_null(int(first[0]) if len(first) else 0).to_numpy()
    return pa.array(
        rows[numbering.numbers(filled)] if len(first) else np.zeros(len(missing), np.int64), mask=missing
    )


def _present(positions: pa.Array) -> Positions:
    return np.asarray(positions.drop_null().to_numpy(), np.int64)


def _rows(positions: Positions) -> npt.NDArray[np.int64]:
    return positions & ((1 << FILE_SHIFT) - 1)
