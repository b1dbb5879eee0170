"""The bytes of one row: which column lies where. Pure arithmetic; docs/packed-rows.md is the same in prose.

    offset  bytes
    0       1      format version (2)
    1       1      flags; bit 0: boxed values follow the tail
    2       6      schema fingerprint
    8       8      event time, int64 microseconds since 1970 UTC
    16      8      created time, the same; INT64_MIN where there is none
    24      8 x    DOUBLE, INT64, UNIX_TIMESTAMP columns
            4 x    FLOAT columns, contiguous: the block a ranker reads as a matrix; NaN where null
            4 x    INT32 columns
            4 x    end of each variable-length column, uint32, counted from the start of the tail
            1 x    BOOL columns
            n      null bitmap: bit i (least significant first) is set where column i is null; as many bytes as
                   make the fixed part a multiple of 4
            4      checksum of all else (`checksum`); rows of format 1 have none
            ...    tail: the variable-length columns one after the other
            ...    boxed values: uint16 column, uint32 length, a serialized feast.types.Value; rare

All numbers are little-endian. Within each group columns keep the order of the schema.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

FORMAT_VERSION = 2
WITHOUT_CHECKSUM = 1
"""The format before; its rows are read, and written no more."""
FORMATS = (FORMAT_VERSION, WITHOUT_CHECKSUM)
HEADER_BYTES = 24
BOXED = 1
"""Flag of a row that holds values of another type than its schema declares."""
BOX_HEAD = struct.Struct("<HI")
"""Column and length of a boxed value."""
NO_TIME = -(2**63)
"""Created time of a row that has none: older than every other."""

FIXED = {
    "DOUBLE": "<f8",
    "INT64": "<i8",
    "UNIX_TIMESTAMP": "<i8",
    "FLOAT": "<f4",
    "INT32": "<i4",
    "BOOL": "|u1",
}
"""Fixed-width value types and how they are stored; UNIX_TIMESTAMP counts seconds, as in Feast."""
LISTS = {
    "FLOAT_LIST": "<f4",
    "DOUBLE_LIST": "<f8",
    "INT32_LIST": "<i4",
    "INT64_LIST": "<i8",
    "UNIX_TIMESTAMP_LIST": "<i8",
    "BOOL_LIST": "|u1",
}
"""Lists stored as their numbers, one after the other."""
BLOBS = frozenset({"STRING", "BYTES"})
"""Stored as they are, text in UTF-8."""
BLOB_LISTS = frozenset({"STRING_LIST", "BYTES_LIST"})
"""Stored as uint8 width w, uint32 count, the length of each in w bytes, then the contents; w is the least of 1, 2
and 4 that holds all lengths."""


def blob_list_head(lengths: Sequence[int]) -> bytes:
    """What stands before the contents of a list of texts or bytes."""
    longest = max(lengths, default=0)
    width = 1 if longest < 1 << 8 else 2 if longest < 1 << 16 else 4
    return struct.pack("<BI", width, len(lengths)) + np.array(lengths, f"<u{width}").tobytes()


@dataclass(frozen=True)
class Column:
    """One column of a view. Types that none of the tables above name are stored as a serialized Feast Value."""

    name: str
    value_type: str
    """Feast's value type: FLOAT, INT64, STRING_LIST, MAP ..."""

    @property
    def is_fixed(self) -> bool:
        """Whether its values have a fixed width."""
        return self.value_type in FIXED

    @property
    def is_encoded(self) -> bool:
        """Whether the type has an encoding of its own; the others are serialized Values, of whatever type."""
        return self.is_fixed or self.value_type in {*LISTS, *BLOBS, *BLOB_LISTS}


@dataclass(frozen=True)
class Layout:
    """Where each column of a view lies in its rows."""

    columns: tuple[Column, ...]
    """In the order of the schema; a column's place is its number and its null bit."""
    format: int = FORMAT_VERSION

    @classmethod
    def of(cls, columns: Iterable[tuple[str, str]]) -> Layout:
        """From names and value types."""
        return cls(tuple(Column(name, value_type) for name, value_type in columns))

    @cached_property
    def fingerprint(self) -> bytes:
        """Six bytes that differ between schemas: names, types, order and the row format count."""
        schema = json.dumps([[column.name, column.value_type] for column in self.columns])
        return hashlib.blake2b(f"{self.format}{schema}".encode(), digest_size=6).digest()

    @cached_property
    def header(self) -> int:
        """The first eight bytes of a row without boxed values, as a little-endian number."""
        return int.from_bytes(bytes([self.format, 0]) + self.fingerprint, "little")

    @cached_property
    def places(self) -> dict[str, int]:
        """Column numbers by name."""
        return {column.name: place for place, column in enumerate(self.columns)}

    @cached_property
    def floats(self) -> tuple[Column, ...]:
        """The columns of the float32 block, in its order."""
        return self._typed("FLOAT")

    @cached_property
    def float_places(self) -> dict[str, int]:
        """Where in the float32 block each FLOAT column is, by name."""
        return {column.name: place for place, column in enumerate(self.floats)}

    @cached_property
    def tails(self) -> tuple[Column, ...]:
        """The variable-length columns, in the order of the tail."""
        return tuple(column for column in self.columns if not column.is_fixed)

    @property
    def is_checked(self) -> bool:
        """Whether rows have a checksum."""
        return self.format != WITHOUT_CHECKSUM

    @cached_property
    def null_bytes(self) -> int:
        """Width of the null bitmap."""
        least = -(-len(self.columns) // 8)
        before = HEADER_BYTES + 4 * len(self.tails)
        before += sum(
            np.dtype(FIXED[column.value_type]).itemsize for column in self.columns if column.is_fixed
        )
        return least + -(before + least) % 4

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """The fixed part of a row: header, `floats` [k], `ends` [tails], `nulls` [null_bytes], `checksum`, and each
        other fixed-width column under the name `c<place>`."""
        fields: list[Any] = [
            ("header", "<u8"),
            ("event", "<i8"),
            ("created", "<i8"),
            *self._numbered("DOUBLE", "INT64", "UNIX_TIMESTAMP"),
            ("floats", "<f4", (len(self.floats),)),
            *self._numbered("INT32"),
            ("ends", "<u4", (len(self.tails),)),
            *self._numbered("BOOL"),
            ("nulls", "|u1", (self.null_bytes,)),
            *([("checksum", "<u4")] if self.is_checked else []),
        ]
        return np.dtype(fields)

    @cached_property
    def blank(self) -> bytes:
        """The fixed part that stands for a row that is not there: no header, all null, NaN in the float block."""
        blank = np.zeros((), self.dtype)
        blank["nulls"] = 0xFF
        blank["floats"] = np.nan
        return blank.tobytes()

    @cached_property
    def fixed_bytes(self) -> int:
        """Length of a row's fixed part, and of the whole row where no column has a variable length."""
        return self.dtype.itemsize

    def offset(self, column: Column) -> int:
        """Where a fixed-width column, or the end of a variable-length one, lies in the row."""
        spans = self.dtype.fields
        assert spans is not None
        if column.value_type == "FLOAT":
            return int(spans["floats"][1]) + 4 * self.floats.index(column)
        if not column.is_fixed:
            return int(spans["ends"][1]) + 4 * self.tails.index(column)
        return int(spans[self.field(column)][1])

    def field(self, column: Column) -> str:
        """The name in `dtype` of a fixed-width column that is not FLOAT."""
        return f"c{self.places[column.name]}"

    def to_json(self) -> dict[str, Any]:
        """Enough to read rows without this module."""
        spans = self.dtype.fields
        assert spans is not None
        return {
            "format": self.format,
            "fingerprint": self.fingerprint.hex(),
            "null_bitmap": [int(spans["nulls"][1]), self.null_bytes],
            "tail": self.fixed_bytes,
            "columns": [
                {"name": column.name, "type": column.value_type, "offset": self.offset(column)}
                for column in self.columns
            ],
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Layout:
        """Raises ValueError for a format that is not known."""
        if raw.get("format") not in FORMATS:
            raise ValueError(f"row format {raw.get('format')!r}, expected one of {FORMATS}")
        columns = tuple(Column(column["name"], column["type"]) for column in raw["columns"])
        return cls(columns, raw["format"])

    def _typed(self, *value_types: str) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.value_type in value_types)

    def _numbered(self, *value_types: str) -> Sequence[tuple[str, str]]:
        return [(self.field(column), FIXED[column.value_type]) for column in self._typed(*value_types)]


@dataclass(frozen=True)
class Box:
    """A value of another type than its column declares."""

    row: int
    column: int
    """Its number in the layout."""
    value: bytes
    """A serialized `feast.types.Value`."""

    def to_bytes(self, column: int) -> bytes:
        """As it lies in a row, under a number of its column."""
        return BOX_HEAD.pack(column, len(self.value)) + self.value
