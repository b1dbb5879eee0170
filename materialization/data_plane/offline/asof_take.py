"""Values of one column at many rows. Arrow's own `take` gives the same; into fresh memory, numpy's is several times
faster, because numpy asks the system for large pages."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

WIDTHS = (8, 16, 32, 64)
SCRATCH = threading.local()
"""Memory that is touched already costs no page faults."""


@dataclass(frozen=True)
class Places:
    """Rows to take, in order; null for none."""

    index: pa.Array

    def take(self, column: pa.ChunkedArray) -> pa.Array:
        """One array as long as the index, null where the index or the value is."""
        if len(column) and _is_plain(column.type):
            return self._gathered(column)
        taken = column.take(self.index)
        return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken

    def _gathered(self, values: pa.ChunkedArray) -> pa.Array:
        stored = _contiguous(values)
        gathered = np.empty(len(self._rows), stored.dtype)
        np.take(stored, self._rows, out=gathered, mode="clip")
        buffers = [self._validity(values), pa.py_buffer(gathered)]
        return pa.Array.from_buffers(values.type, len(gathered), buffers)

    def _validity(self, values: pa.ChunkedArray) -> pa.Buffer | None:
        if not values.null_count:
            return self._found
        valid = np.take(values.is_valid().to_numpy(), self._rows, mode="clip")
        return _bitmap(valid & self.index.is_valid().to_numpy(zero_copy_only=False))

    @cached_property
    def _rows(self) -> npt.NDArray[np.intp]:
        rows: npt.NDArray[np.intp] = pc.fill_null(self.index, 0).to_numpy().astype(np.intp)
        return rows

    @cached_property
    def _found(self) -> pa.Buffer | None:
        """The validity that all columns without nulls share."""
        if not self.index.null_count:
            return None
        return _bitmap(self.index.is_valid().to_numpy(zero_copy_only=False))


def _contiguous(values: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    """The values in one piece; several chunks are copied into this thread's scratch memory, until the next call."""
    dtype = np.dtype(f"i{values.type.bit_width // 8}")
    pieces = [
        np.frombuffer(chunk.buffers()[1], dtype)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in values.chunks
        if len(chunk)
    ]
    if len(pieces) == 1:
        return pieces[0]
    size = len(values) * dtype.itemsize
    scratch: npt.NDArray[np.uint8] | None = getattr(SCRATCH, "memory", None)
    if scratch is None or len(scratch) < size:
        scratch = SCRATCH.memory = np.empty(size, np.uint8)
    return np.concatenate(pieces, out=scratch[:size].view(dtype))


def _bitmap(valid: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _is_plain(kind: pa.DataType) -> bool:
    """Numbers, times and the like, of whole bytes."""
    return bool(pa.types.is_primitive(kind)) and kind.bit_width in WIDTHS
