"""Many rows at once, from Arrow columns to bytes; no Python object per value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from materialization.data_plane.rows.checksum import checksums
from materialization.data_plane.rows.layout import (
    BLOB_LISTS,
    BLOBS,
    FIXED,
    LISTS,
    NO_TIME,
    Column,
    Layout,
    blob_list_head,
)

Arrays: TypeAlias = Mapping[str, pa.Array]
Micros: TypeAlias = npt.NDArray[np.int64]


def pack(
    layout: Layout, arrays: Arrays, *, event: Micros, created: Micros | None = None
) -> pa.LargeBinaryArray:
    """Rows of a layout: one binary value per row, in order.

    `arrays` has one Arrow array per column (chunked ones combined); a column that is not there is null. Columns of
    types without an encoding of their own (maps, sets, structs ...) come as binary: serialized Feast Values.
    `event` and `created` are microseconds since 1970 UTC; `NO_TIME` in `created` where there is none.
    Raises ValueError for a value its column's type cannot hold exactly, pyarrow.ArrowInvalid likewise.
    """
    rows = np.zeros(len(event), layout.dtype)
    rows["header"] = layout.header
    rows["event"] = event
    rows["created"] = NO_TIME if created is None else created
    rows["nulls"] = _null_bitmap(layout, arrays, len(event))
    for place, column in enumerate(layout.floats):
        rows["floats"][:, place] = _numbers(arrays, column, len(event))
    for column in layout.columns:
        if column.is_fixed and column.value_type != "FLOAT":
            rows[layout.field(column)] = _numbers(arrays, column, len(event))
    tails = [_tail(arrays, column, len(event)) for column in layout.tails]
    if tails:
        ends = np.cumsum([_lengths(tail) for tail in tails], axis=0).T
        if ends.max(initial=0) >= 2**32:
            raise ValueError("a row is longer than 4 GB")
        rows["ends"] = ends
    return _joined(rows, tails)


def _joined(rows: npt.NDArray[np.void], tails: list[pa.LargeBinaryArray]) -> pa.LargeBinaryArray:
    """Fixed parts, whose checksums are set here, and tails."""
    nothing = pa.scalar(b"", pa.large_binary())
    tail = pc.binary_join_element_wise(*tails, nothing) if tails else None
    rows["checksum"] = checksums(rows, () if tail is None else tail.to_pylist())
    width = rows.dtype.itemsize
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * width
    fixed = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)]
    )
    return fixed if tail is None else pc.binary_join_element_wise(fixed, tail, nothing)


def _null_bitmap(layout: Layout, arrays: Arrays, count: int) -> npt.NDArray[np.uint8]:
    nulls = np.zeros((count, layout.null_bytes * 8), np.bool_)
    for place, column in enumerate(layout.columns):
        array = arrays.get(column.name)
        if array is None:
            nulls[:, place] = True
        elif array.null_count:
            nulls[:, place] = array.is_null().to_numpy(zero_copy_only=False)
    return np.packbits(nulls, axis=1, bitorder="little")


def _numbers(arrays: Arrays, column: Column, count: int) -> npt.NDArray[np.generic]:
    """A fixed-width column; NaN, or 0 where there is no NaN, where it is null."""
    dtype = np.dtype(FIXED[column.value_type])
    blank = np.nan if dtype.kind == "f" else 0
    array = arrays.get(column.name)
    if array is None:
        return np.full(count, blank, dtype)
    cast = _cast(array, column)
    if cast.null_count:
        cast = cast.fill_null(pa.scalar(blank, cast.type))
    return np.asarray(cast.to_numpy(zero_copy_only=False)).astype(dtype, copy=False)


def _cast(array: pa.Array, column: Column) -> pa.Array:
    """To the stored type; between whole numbers only where no value changes.

    Numbers become FLOAT or DOUBLE by rounding to the nearest, as Feast does.
    """
    kind = column.value_type
    if kind == "BOOL":
        if not pa.types.is_boolean(array.type):
            raise ValueError(f"column {column.name} is BOOL, found {array.type}")
        return array.cast(pa.uint8())
    if kind == "UNIX_TIMESTAMP":
        return seconds(array)
    if pa.types.is_boolean(array.type):
        raise ValueError(f"column {column.name} is {kind}, found {array.type}")
    target = pa.from_numpy_dtype(np.dtype(FIXED[kind]))
    return array.cast(target, safe=not pa.types.is_floating(target))


def seconds(array: pa.Array) -> pa.Array:
    """Instants as whole seconds, rounded down as Feast does."""
    if pa.types.is_timestamp(array.type):
        return pc.floor_temporal(array, unit="second").cast(pa.timestamp("s", array.type.tz)).cast(pa.int64())
    if pa.types.is_date(array.type):
        return array.cast(pa.timestamp("s")).cast(pa.int64())
    return array.cast(pa.int64())


def _tail(arrays: Arrays, column: Column, count: int) -> pa.LargeBinaryArray:
    """A variable-length column as binary; empty where it is null."""
    array = arrays.get(column.name)
    if array is None:
        return pa.array([b""] * count, pa.large_binary())
    if column.value_type in LISTS:
        return _list_tail(array, column)
    if column.value_type in BLOB_LISTS:
        return _blob_list_tail(array)
    if column.value_type in BLOBS and pa.types.is_boolean(array.type):
        raise ValueError(f"column {column.name} is {column.value_type}, found {array.type}")
    return _blobs(array)


def _blobs(array: pa.Array) -> pa.LargeBinaryArray:
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        array = array.cast(pa.large_string())
    return array.cast(pa.large_binary()).fill_null(b"")


def _list_tail(array: pa.Array, column: Column) -> pa.LargeBinaryArray:
    """Lists of numbers: their child array is the tail already."""
    lists = _plain_lists(array)
    dtype = np.dtype(LISTS[column.value_type])
    if lists.values.null_count:
        raise ValueError(f"column {column.name}: a {column.value_type} cannot hold nulls")
    of_one = Column(column.name, column.value_type.removesuffix("_LIST"))
    child = np.ascontiguousarray(_cast(lists.values, of_one).to_numpy(zero_copy_only=False), dtype)
    ends = np.asarray(lists.offsets.to_numpy(), np.int64) * dtype.itemsize
    return _binary(ends, child)


def _blob_list_tail(array: pa.Array) -> pa.LargeBinaryArray:
    """Lists of texts or bytes: lengths first, then the contents."""
    lists = _plain_lists(array)
    if lists.values.null_count:
        raise ValueError("a list of texts or bytes cannot hold nulls")
    child = _blobs(lists.values)
    starts = np.asarray(lists.offsets.to_numpy(), np.int64)
    contents = np.concatenate([[0], np.cumsum(_lengths(child))])[starts]
    heads = _heads(starts, _lengths(child))
    nothing = pa.scalar(b"", pa.large_binary())
    tail = pc.binary_join_element_wise(heads, _binary(contents, _contents(child)), nothing)
    return pc.if_else(array.is_valid(), tail, nothing) if array.null_count else tail


def _heads(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> pa.LargeBinaryArray:
    """`blob_list_head` of each list: vectorized where lengths fit in a byte, as they nearly always do."""
    sizes = np.diff(starts)
    head = np.zeros(5 * len(sizes) + len(lengths), np.uint8)
    first = starts[:-1] + 5 * np.arange(len(sizes))
    is_length = np.ones(len(head), np.bool_)
    for offset in range(5):
        is_length[first + offset] = False
        head[first + offset] = sizes >> 8 * (offset - 1) & 0xFF if offset else 1
    head[is_length] = lengths & 0xFF
    heads = _binary(starts + 5 * np.arange(len(starts)), head)
    longer = np.concatenate([[0], np.cumsum(lengths > 0xFF)])[starts]
    wide = np.flatnonzero(np.diff(longer)).tolist()
    if not wide:
        return heads
    written = heads.to_pylist()
    for row in wide:
        written[row] = blob_list_head(lengths[starts[row] : starts[row + 1]].tolist())
    return pa.array(written, pa.large_binary())


def _plain_lists(array: pa.Array) -> pa.LargeListArray:
    """Starting at 0, null lists empty, nothing between them."""
    lists = array.cast(pa.large_list(array.type.value_type))
    sizes = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), lists.flatten())


def _binary(ends: npt.NDArray[np.int64], contents: npt.NDArray[np.generic]) -> pa.LargeBinaryArray:
    """`ends` has one number more than there are values, and begins with 0."""
    offsets = pa.py_buffer(np.ascontiguousarray(ends, np.int64))
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(ends) - 1, [None, offsets, pa.py_buffer(contents)]
    )


def _contents(blobs: pa.LargeBinaryArray) -> npt.NDArray[np.uint8]:
    """The bytes of all values, one after the other."""
    offsets = np.frombuffer(blobs.buffers()[1], np.int64)[blobs.offset : blobs.offset + len(blobs) + 1]
    data = blobs.buffers()[2]
    everything = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return everything[offsets[0] : offsets[-1]]


def _lengths(blobs: pa.LargeBinaryArray) -> npt.NDArray[np.int64]:
    return np.asarray(pc.binary_length(blobs).to_numpy(zero_copy_only=False), np.int64)
