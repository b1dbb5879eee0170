"""Packed rows as the columns of Feast's answer, written in protobuf's wire format a whole column at a time.

A Python object per value is what makes Feast's own answer slow: 500 entities x 190 features are 95,000 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from materialization.data_plane.online.batched_fetch import FetchedView, Presence
from materialization.data_plane.rows.layout import LISTS, Column
from materialization.data_plane.rows.reading import Rows, split_blobs
from materialization.data_plane.rows.values import is_encoded, value_field

FeatureVector = GetOnlineFeaturesResponse.FeatureVector
Bytes = npt.NDArray[np.uint8]
VALUES, STATUSES = 0x0A, 0x12
"""Tags of a vector's values and statuses: length-delimited fields 1 and 2."""
NULL = bytes([VALUES, 0])
"""A value that is not there."""
STATUS_OF = {
    Presence.FOUND: FieldStatus.PRESENT,
    Presence.NOT_FOUND: FieldStatus.NOT_FOUND,
    Presence.EXPIRED: FieldStatus.OUTSIDE_MAX_AGE,
}


@dataclass(frozen=True)
class ViewVectors:
    """One view's part of an answer."""

    fetched: FetchedView
    count: int
    """Rows of the answer; a single row that was fetched stands for all of them."""

    def wire(self, feature: str) -> bytes:
        """The serialized FeatureVector of one feature; all null for one the view does not have."""
        wire, nulls = self._column(feature)
        statuses = np.where(nulls, np.maximum(self.statuses, np.uint8(FieldStatus.NULL_VALUE)), self.statuses)
        packed = statuses.astype(np.uint8).tobytes() * self.repeats
        return wire * self.repeats + _delimited(STATUSES, packed) + self.timestamps * self.repeats

    def values(self, feature: str) -> Sequence[Value]:
        """The same without statuses and times, for the rows that were fetched."""
        values: Sequence[Value] = FeatureVector.FromString(self._column(feature)[0]).values
        return values

    @cached_property
    def repeats(self) -> int:
        """How often the fetched rows stand in the answer."""
        return self.count if len(self.fetched.presence) == 1 else 1

    @cached_property
    def statuses(self) -> Bytes:
        """uint8 [rows], of rows; null values are known column by column."""
        known = np.array([STATUS_OF[presence] for presence in Presence], np.uint8)
        return known[self.fetched.presence]

    @cached_property
    def timestamps(self) -> bytes:
        """Event times, also of expired rows; 0 where there is no row."""
        micros = np.where(self.fetched.presence == Presence.NOT_FOUND, 0, self.fetched.event_micros)
        seconds, rest = np.divmod(micros, 1_000_000)
        stamps = [
            Timestamp(seconds=second, nanos=nanos)
            for second, nanos in zip(seconds.tolist(), (rest * 1000).tolist(), strict=True)
        ]
        return bytes(FeatureVector(event_timestamps=stamps).SerializeToString())

    def _column(self, feature: str) -> tuple[bytes, npt.NDArray[np.bool_]]:
        """The values on the wire, and where they are null."""
        rows = self.fetched.rows
        place = rows.layout.places.get(feature)
        if place is None:
            return NULL * len(rows), np.ones(len(rows), np.bool_)
        nulls = rows.nulls[:, place]
        wire = _column_on_wire(rows, rows.layout.columns[place], nulls)
        boxes = self.boxes.get(place)
        if not boxes:
            return wire, nulls
        vector, nulls = FeatureVector.FromString(wire), nulls.copy()
        for row, value in boxes.items():
            vector.values[row].ParseFromString(value)
            nulls[row] = False
        return bytes(vector.SerializeToString()), nulls

    @cached_property
    def boxes(self) -> dict[int, dict[int, bytes]]:
        """Values of other types than declared, by column and row."""
        found: dict[int, dict[int, bytes]] = {}
        for box in self.fetched.rows.boxes():
            found.setdefault(box.column, {})[box.row] = box.value
        return found


def _column_on_wire(rows: Rows, column: Column, nulls: npt.NDArray[np.bool_]) -> bytes:
    if not column.is_fixed:
        return _variable_on_wire(rows, column, nulls)
    descriptor = Value.DESCRIPTOR.fields_by_name[value_field(column)]
    if column.value_type in ("FLOAT", "DOUBLE"):
        if column.value_type == "FLOAT":
            numbers = rows.floats[:, rows.layout.floats.index(column)]
        else:
            numbers = rows.fixed[rows.layout.field(column)]
        width = numbers.dtype.itemsize
        payload = np.ascontiguousarray(numbers).view(np.uint8).reshape(len(rows), width)
        tag = descriptor.number << 3 | (5 if width == 4 else 1)
        return _messages(tag, payload, np.full(len(rows), width), nulls)
    whole = rows.fixed[rows.layout.field(column)].astype(np.int64)
    payload, lengths = varints(whole)
    return _messages(descriptor.number << 3, payload, lengths, nulls)


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


def varints(numbers: npt.NDArray[np.int64]) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Protobuf's varints [n, 10], and how many bytes of each count."""
    groups = (numbers.view(np.uint64)[:, None] >> np.arange(0, 70, 7, dtype=np.uint64)) & np.uint64(0x7F)
    lengths = np.maximum(10 - np.argmax(groups[:, ::-1] != 0, axis=1), 1)
    lengths[~groups.any(axis=1)] = 1
    groups |= np.where(np.arange(10) < lengths[:, None] - 1, np.uint64(0x80), np.uint64(0))
    return groups.astype(np.uint8), lengths


def _variable_on_wire(rows: Rows, column: Column, nulls: npt.NDArray[np.bool_]) -> bytes:
    decode = _decoder(column)
    return b"".join(
        NULL if is_null else _delimited(VALUES, decode(blob))
        for blob, is_null in zip(rows.blobs(column), nulls.tolist(), strict=True)
    )


def _decoder(column: Column) -> Callable[[bytes], bytes]:
    """From a column's bytes to a serialized Value."""
    if not is_encoded(column):
        return lambda blob: blob
    field = value_field(column)
    number = Value.DESCRIPTOR.fields_by_name[field].number
    if column.value_type in ("STRING", "BYTES"):
        return lambda blob: _delimited(number << 3 | 2, blob)
    dtype = LISTS.get(column.value_type)

    def of_list(blob: bytes) -> bytes:
        value = Value()
        items = getattr(value, field)
        items.SetInParent()
        items.val.extend(
            split_blobs_of(column, blob) if dtype is None else np.frombuffer(blob, dtype).tolist()
        )
        return bytes(value.SerializeToString())

    return of_list


def split_blobs_of(column: Column, blob: bytes) -> list[bytes] | list[str]:
    """A list of texts or bytes."""
    contents = split_blobs(blob)
    return [item.decode() for item in contents] if column.value_type == "STRING_LIST" else contents


def _delimited(tag: int, content: bytes) -> bytes:
    """A field of a number below 16, with its length."""
    length, head = len(content), bytearray([tag])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + content
