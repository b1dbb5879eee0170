"""Columns of packed rows as Feast's Values in protobuf's wire format, a whole column at a time. Imports no Feast.

What stands here for a column is a run of `repeated feast.types.Value` with field number 1, which is how a
FeatureVector and a RepeatedValue hold their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from materialization.data_plane.rows.layout import BLOB_LISTS, BLOBS, LISTS, Column
from materialization.data_plane.rows.reading import Rows, split_blobs

Bytes = npt.NDArray[np.uint8]
VALUES = 0x0A
"""Tag of a value: length-delimited field 1."""
NULL = bytes([VALUES, 0])
"""A value that is not there."""
FIELD_NUMBERS = {
    "BYTES": 1,
    "STRING": 2,
    "INT32": 3,
    "INT64": 4,
    "DOUBLE": 5,
    "FLOAT": 6,
    "BOOL": 7,
    "UNIX_TIMESTAMP": 8,
    "BYTES_LIST": 11,
    "STRING_LIST": 12,
    "INT32_LIST": 13,
    "INT64_LIST": 14,
    "DOUBLE_LIST": 15,
    "FLOAT_LIST": 16,
    "BOOL_LIST": 17,
    "UNIX_TIMESTAMP_LIST": 18,
}
"""Of `Value`'s fields, for the types with an encoding of their own."""
VARINT, EIGHT_BYTES, DELIMITED, FOUR_BYTES = 0, 1, 2, 5
"""Protobuf's wire types."""


def column_on_wire(rows: Rows, column: Column, nulls: npt.NDArray[np.bool_]) -> bytes:
    """One Value for each row, an empty one where `nulls`, bool [n], says so."""
    if not column.is_fixed:
        decode = _decoder(column)
        return b"".join(
            NULL if is_null else delimited(VALUES, decode(blob))
            for blob, is_null in zip(rows.blobs(column), nulls.tolist(), strict=True)
        )
    if column.value_type == "FLOAT":
        return numbers_on_wire("FLOAT", rows.floats[:, rows.layout.float_places[column.name]], nulls)
    return numbers_on_wire(column.value_type, rows.fixed[rows.layout.field(column)], nulls)


def numbers_on_wire(value_type: str, numbers: npt.NDArray[np.generic], nulls: npt.NDArray[np.bool_]) -> bytes:
    """The same for numbers [n] of a fixed-width type; FLOAT and DOUBLE must come in their width."""
    if value_type in ("FLOAT", "DOUBLE"):
        width = numbers.dtype.itemsize
        payload = np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), width)
        wire_type = FOUR_BYTES if width == 4 else EIGHT_BYTES
        return _messages(_tag(value_type, wire_type), payload, np.full(len(numbers), width), nulls)
    payload, lengths = varints(numbers.astype(np.int64))
    return _messages(_tag(value_type, VARINT), payload, lengths, nulls)


def texts_on_wire(texts: Iterable[str]) -> bytes:
    """STRING Values."""
    tag = _tag("STRING", DELIMITED)
    return b"".join(delimited(VALUES, delimited(tag, text.encode())) for text in texts)


def timestamps_on_wire(tag: int, micros: Sequence[int]) -> bytes:
    """`google.protobuf.Timestamp`s, one for each number of microseconds since 1970 UTC, under a tag of one byte."""
    found: dict[int, bytes] = {}
    for moment in micros:
        if moment not in found:
            seconds, rest = divmod(moment, 1_000_000)
            content = b"\x08" + _varint(seconds % (1 << 64)) if seconds else b""
            content += b"\x10" + _varint(rest * 1000) if rest else b""
            found[moment] = delimited(tag, content)
    return b"".join([found[moment] for moment in micros])


def with_values(wire: bytes, values: Mapping[int, bytes]) -> bytes:
    """A column with other serialized Values in some rows."""
    parts, row, start = [], 0, 0
    while start < len(wire):
        length, begin = _read_varint(wire, start + 1)
        parts.append(delimited(VALUES, values[row]) if row in values else wire[start : begin + length])
        row, start = row + 1, begin + length
    return b"".join(parts)


def varints(numbers: npt.NDArray[np.int64]) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Protobuf's varints [n, 10], and how many bytes of each count."""
    groups = (numbers.view(np.uint64)[:, None] >> np.arange(0, 70, 7, dtype=np.uint64)) & np.uint64(0x7F)
    lengths = np.maximum(10 - np.argmax(groups[:, ::-1] != 0, axis=1), 1)
    lengths[~groups.any(axis=1)] = 1
    groups |= np.where(np.arange(10) < lengths[:, None] - 1, np.uint64(0x80), np.uint64(0))
    return groups.astype(np.uint8), lengths


def delimited(tag: int, content: bytes) -> bytes:
    """A field with its length."""
    return _varint(tag) + _varint(len(content)) + content


def _tag(value_type: str, wire_type: int) -> int:
    return FIELD_NUMBERS[value_type] << 3 | wire_type


def _messages(
    tag: int, payload: Bytes, lengths: npt.NDArray[np.int64], nulls: npt.NDArray[np.bool_]
) -> bytes:
    """Values of a tag of one byte and `lengths` [n] bytes of `payload` [n, width]."""
    count, width = payload.shape
    messages = np.empty((count, 3 + width), np.uint8)
    messages[:, 0] = VALUES
    messages[:, 1] = np.where(nulls, 0, lengths + 1)
    messages[:, 2] = tag
    messages[:, 3:] = payload
    if not nulls.any() and (lengths == width).all():
        return messages.tobytes()
    ends = np.where(nulls, 2, 3 + lengths)
    return messages[np.arange(messages.shape[1]) < ends[:, None]].tobytes()


def _decoder(column: Column) -> Callable[[bytes], bytes]:
    """From a column's bytes to a serialized Value."""
    if not column.is_encoded:
        return lambda blob: blob
    tag = _tag(column.value_type, DELIMITED)
    if column.value_type in BLOBS:
        return lambda blob: delimited(tag, blob)
    if column.value_type in BLOB_LISTS:
        return lambda blob: delimited(tag, b"".join(delimited(VALUES, item) for item in split_blobs(blob)))
    return lambda blob: delimited(tag, _packed(column, blob))


def _packed(column: Column, blob: bytes) -> bytes:
    """A list of numbers as a packed field 1; floats lie in a row as they do on the wire."""
    if column.value_type in ("FLOAT_LIST", "DOUBLE_LIST", "BOOL_LIST"):
        content = blob
    else:
        payload, lengths = varints(np.frombuffer(blob, LISTS[column.value_type]).astype(np.int64))
        content = payload[np.arange(payload.shape[1]) < lengths[:, None]].tobytes()
    return delimited(VALUES, content) if content else b""


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _read_varint(wire: bytes, start: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number, shift = 0, 0
    while True:
        byte = wire[start]
        number |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return number, start
