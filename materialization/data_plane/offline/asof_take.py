"""Values of one column at many rows. Arrow's own `take` gives the same; into fresh memory, numpy's is several times
faster, because numpy asks the system for large pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

WIDTHS = (8, 16, 32, 64)


@dataclass(frozen=True)
class Places:
    """Rows to take, in order; null for none."""

    index: pa.Array

    def take(self, column: pa.ChunkedArray) -> pa.Array:
        """One array as long as the index, null where the index or the value is."""
        if column.num_chunks == 1 and len(column) and _is_plain(column.type):
            return self._gathered(column.chunk(0))
        taken = column.take(self.index)
        return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken

    def _gathered(self, values: pa.Array) -> pa.Array:
        width = values.type.bit_width // 8
        stored = np.frombuffer(values.buffers()[1], f"i{width}")[values.offset : values.offset + len(values)]
        gathered = np.empty(len(self._rows), stored.dtype)
        np.take(stored, self._rows, out=gathered, mode="clip")
        buffers = [self._validity(values), pa.py_buffer(gathered)]
        return pa.Array.from_buffers(values.type, len(gathered), buffers)

    def _validity(self, values: pa.Array) -> pa.Buffer | None:
        if not values.null_count:
            return self._found
        valid = np.take(values.is_valid().to_numpy(zero_copy_only=False), self._rows, mode="clip")
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


def _bitmap(valid: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _is_plain(kind: pa.DataType) -> bool:
    """Numbers, times and the like, of whole bytes."""
    return bool(pa.types.is_primitive(kind)) and kind.bit_width in WIDTHS
