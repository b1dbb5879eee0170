"""Feast's values and one packed row: every value comes back as it was, also one of another type than declared."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.errors import FeatureError
from materialization.data_plane.rows.checksum import checksum
from materialization.data_plane.rows.layout import (
    BLOB_LISTS,
    BOXED,
    FIXED,
    FORMAT_VERSION,
    LISTS,
    NO_TIME,
    Box,
    Column,
    Layout,
    blob_list_head,
)

OTHER_FIELDS = {
    "PDF_BYTES": "bytes_val",
    "IMAGE_BYTES": "bytes_val",
    "VALUE_LIST": "list_val",
    "VALUE_SET": "set_val",
}
"""Value types whose field in `Value` is not their own name."""
GROUPS = ({"DOUBLE", "INT64", "UNIX_TIMESTAMP"}, {"FLOAT"}, {"INT32"}, {"BOOL"})
"""Fixed-width types as they lie in a row; within a group columns keep the schema's order, and the ends of the tail
come before the last."""
LETTERS = {"DOUBLE": "d", "INT64": "q", "UNIX_TIMESTAMP": "q", "FLOAT": "f", "INT32": "i", "BOOL": "B"}


def value_field(column: Column) -> str:
    """The field of `Value` that holds values of the declared type."""
    return OTHER_FIELDS.get(column.value_type, f"{column.value_type.lower()}_val")


def pack_row(layout: Layout, values: Mapping[str, Value], *, event: int, created: int = NO_TIME) -> bytes:
    """One row; a column without a value, or with an empty one, is null. Times are microseconds since 1970 UTC.

    Raises FeatureError for values that belong to no column.
    """
    return _packer(layout)(values, event, created)


@dataclass(frozen=True)
class _Packer:
    layout: Layout

    @cached_property
    def fixed(self) -> tuple[tuple[int, Column, str], ...]:
        """Fixed-width columns in the order of the row, with their null bit and field."""
        columns = [
            (place, column)
            for group in GROUPS
            for place, column in enumerate(self.layout.columns)
            if column.value_type in group
        ]
        return tuple((place, column, value_field(column)) for place, column in columns)

    @cached_property
    def tails(self) -> tuple[tuple[int, Column, str], ...]:
        return tuple(
            (self.layout.places[column.name], column, value_field(column)) for column in self.layout.tails
        )

    @cached_property
    def blanks(self) -> tuple[float, ...]:
        """What stands where a fixed-width column is null."""
        return tuple(np.nan if np.dtype(FIXED[c.value_type]).kind == "f" else 0 for _, c, _ in self.fixed)

    @cached_property
    def bools(self) -> int:
        return sum(column.value_type == "BOOL" for _, column, _ in self.fixed)

    @cached_property
    def format(self) -> struct.Struct:
        letters = "".join(LETTERS[column.value_type] for _, column, _ in self.fixed)
        before = letters[: len(letters) - self.bools]
        return struct.Struct(f"<BB6sqq{before}{len(self.tails)}I{'B' * self.bools}{self.layout.null_bytes}sI")

    def __call__(self, values: Mapping[str, Value], event: int, created: int) -> bytes:
        self._refuse_unknown(values)
        nulls, boxes = (1 << len(self.layout.columns)) - 1, []
        numbers: list[Any] = list(self.blanks)
        tail, end, ends = [], 0, []
        for index, (place, column, field) in enumerate(self.fixed):
            value = values.get(column.name)
            kind = None if value is None else value.WhichOneof("val")
            if kind == field:
                numbers[index] = getattr(value, field)
                nulls ^= 1 << place
            elif value is not None and kind not in (None, "null_val"):
                boxes.append(Box(0, place, value.SerializeToString()).to_bytes(place))
        for place, column, field in self.tails:
            value = values.get(column.name)
            kind = None if value is None else value.WhichOneof("val")
            if value is not None and kind not in (None, "null_val"):
                if kind == field or not column.is_encoded:
                    tail.append(_blob(column, value, field))
                    end += len(tail[-1])
                    nulls ^= 1 << place
                else:
                    boxes.append(Box(0, place, value.SerializeToString()).to_bytes(place))
            ends.append(end)
        head = (FORMAT_VERSION, BOXED if boxes else 0, self.layout.fingerprint, event, created)
        bitmap = nulls.to_bytes(self.layout.null_bytes, "little")
        split = len(numbers) - self.bools
        return self._checked(
            (*head, *numbers[:split], *ends, *numbers[split:], bitmap), b"".join([*tail, *boxes])
        )

    def _checked(self, numbers: tuple[Any, ...], tail: bytes) -> bytes:
        """The row of a fixed part that lacks its checksum, and what follows it."""
        fixed = self.format.pack(*numbers, 0)
        return fixed[:-4] + checksum(fixed, tail).to_bytes(4, "little") + tail

    def _refuse_unknown(self, values: Mapping[str, Value]) -> None:
        if not values.keys() <= self.layout.places.keys():
            unknown = ", ".join(sorted(values.keys() - self.layout.places.keys()))
            raise FeatureError(
                f"the view has no feature named {unknown}; its features are "
                f"{', '.join(self.layout.places) or 'none'}; add the feature to the view's schema and run "
                "`feast apply`, or leave it out"
            )


@lru_cache(maxsize=256)
def _packer(layout: Layout) -> _Packer:
    return _Packer(layout)


def _blob(column: Column, value: Value, field: str) -> bytes:
    """The value of a variable-length column as it lies in the tail."""
    if column.value_type == "STRING":
        return str(value.string_val).encode()
    if column.value_type == "BYTES":
        return bytes(value.bytes_val)
    if column.value_type in LISTS:
        return np.array(getattr(value, field).val, LISTS[column.value_type]).tobytes()
    if column.value_type in BLOB_LISTS:
        contents = getattr(value, field).val
        return _joined([item.encode() if isinstance(item, str) else item for item in contents])
    return bytes(value.SerializeToString(deterministic=True))


def _joined(blobs: Sequence[bytes]) -> bytes:
    return blob_list_head([*map(len, blobs)]) + b"".join(blobs)
