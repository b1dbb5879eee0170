"""Many rows at once, from bytes to numpy columns; no Python object per number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from materialization.data_plane.rows.checksum import checksums
from materialization.data_plane.rows.layout import (
    BLOB_LISTS,
    BOX_HEAD,
    BOXED,
    FORMATS,
    LISTS,
    Box,
    Column,
    Layout,
)

UNFLAGGED = np.uint64(~0xFF00 & (2**64 - 1))
"""Masks the flags out of a header."""
FindLayout = Callable[[bytes], Layout | None]
"""The layout of a fingerprint, where it is known."""


@dataclass(frozen=True)
class Lists:
    """A column of n lists."""

    offsets: npt.NDArray[np.int64]
    """int64 [n + 1]: list i is `values[offsets[i]:offsets[i + 1]]`; a missing list is empty."""
    values: npt.NDArray[Any]
    """The lists one after the other; text and bytes as objects."""


@dataclass(frozen=True)
class Rows:
    """n rows of one view, in the order asked for; what was not found is null in every column."""

    layout: Layout
    fixed: npt.NDArray[np.void]
    """[n] of `layout.dtype`; an absent row has no meaning here."""
    present: npt.NDArray[np.bool_]
    """bool [n]."""
    tail_bytes: Sequence[bytes]
    """[n], what follows the fixed part; empty where no column has a variable length."""

    def __len__(self) -> int:
        return len(self.present)

    @property
    def event(self) -> npt.NDArray[np.int64]:
        """int64 [n], microseconds since 1970 UTC."""
        return self.fixed["event"]

    @property
    def created(self) -> npt.NDArray[np.int64]:
        """int64 [n], microseconds since 1970 UTC; `NO_TIME` where there is none."""
        return self.fixed["created"]

    @property
    def floats(self) -> npt.NDArray[np.float32]:
        """float32 [n, k]: the FLOAT columns in the layout's order; NaN where null, or where there is no row."""
        return self.fixed["floats"]

    @cached_property
    def nulls(self) -> npt.NDArray[np.bool_]:
        """bool [n, columns], in the order of the schema."""
        bits = np.unpackbits(self.fixed["nulls"], axis=1, bitorder="little").astype(np.bool_)
        bits[~self.present] = True
        return bits[:, : len(self.layout.columns)]

    @property
    def boxed(self) -> npt.NDArray[np.bool_]:
        """bool [n]: rows in which a column holds a value of another type than declared; it reads as null here."""
        return _is_boxed(self.fixed)

    def boxes(self) -> Iterator[Box]:
        """The values of other types than declared; what is garbled is left out."""
        for row in np.flatnonzero(self.boxed).tolist():
            rest = self.tail_bytes[row][int(self.fixed["ends"][row, -1]) if self.layout.tails else 0 :]
            while len(rest) >= BOX_HEAD.size:
                column, length = BOX_HEAD.unpack_from(rest)
                if column >= len(self.layout.columns) or length > len(rest) - BOX_HEAD.size:
                    break
                yield Box(row, column, rest[BOX_HEAD.size : BOX_HEAD.size + length])
                rest = rest[BOX_HEAD.size + length :]

    def without(self, rows: npt.NDArray[np.bool_]) -> Rows:
        """The same with some rows, bool [n], as if they had not been found."""
        fixed = np.where(rows, np.frombuffer(self.layout.blank, self.layout.dtype), self.fixed)
        tails = [b"" if gone else tail for tail, gone in zip(self.tail_bytes, rows.tolist(), strict=False)]
        return Rows(self.layout, fixed, self.present & ~rows, tails)

    def numbers(self, column: Column) -> npt.NDArray[np.float64]:
        """float64 [n] of a fixed-width column; NaN where null."""
        if column.value_type == "FLOAT":
            return self.floats[:, self.layout.floats.index(column)].astype(np.float64)
        numbers = self.fixed[self.layout.field(column)].astype(np.float64)
        numbers[self.nulls[:, self.layout.places[column.name]]] = np.nan
        return numbers

    def blobs(self, column: Column) -> list[bytes]:
        """[n], what a variable-length column holds; empty where null."""
        place = self.layout.tails.index(column)
        ends = self.fixed["ends"][:, place].tolist()
        starts = self.fixed["ends"][:, place - 1].tolist() if place else [0] * len(self)
        return [tail[start:end] for tail, start, end in zip(self.tail_bytes, starts, ends, strict=True)]

    def texts(self, column: Column) -> npt.NDArray[np.object_]:
        """object [n] of str; None where null."""
        texts = np.empty(len(self), object)
        texts[:] = [blob.decode() for blob in self.blobs(column)]
        texts[self.nulls[:, self.layout.places[column.name]]] = None
        return texts

    def lists(self, column: Column) -> Lists:
        """A column of lists of numbers, texts or bytes."""
        blobs = self.blobs(column)
        if column.value_type in BLOB_LISTS:
            found = [split_blobs(blob) if blob else [] for blob in blobs]
            items = [item for one in found for item in one]
            values = np.empty(len(items), object)
            values[:] = [item.decode() for item in items] if column.value_type == "STRING_LIST" else items
            return Lists(_offsets([len(one) for one in found]), values)
        dtype = np.dtype(LISTS[column.value_type])
        sizes = [len(blob) // dtype.itemsize for blob in blobs]
        return Lists(_offsets(sizes), np.frombuffer(b"".join(blobs), dtype))


def read(layout: Layout, raw: Sequence[bytes | None], find_layout: FindLayout) -> Rows:
    """Rows in the order given; None stands for a row that was not found.

    A row of an older definition is read by the columns both definitions have with the same type; the others are
    null. A row whose layout is unknown, or that is not as it was written, is absent.
    """
    if not layout.tails:
        rows = _plain(layout, raw)
        if rows is not None:
            return rows
    rows = _fitted(layout, raw)
    strange = np.flatnonzero(rows.fixed["header"] & UNFLAGGED != np.uint64(layout.header)).tolist()
    strange = [place for place in strange if raw[place] is not None]
    if not strange:
        return rows
    return _fitted(layout, _translated(layout, raw, strange, find_layout))


def split_blobs(blob: bytes) -> list[bytes]:
    """The contents of a list of texts or bytes."""
    width, count = blob[0], int.from_bytes(blob[1:5], "little")
    start = 5 + width * count
    lengths = blob[5:start] if width == 1 else np.frombuffer(blob, f"<u{width}", count, 5).tolist()
    found = []
    for length in lengths:
        found.append(blob[start : start + length])
        start += length
    return found


def _plain(layout: Layout, raw: Sequence[bytes | None]) -> Rows | None:
    """The rows where all that were found are of this layout, else None.

    The lengths need no look of their own: a row of another length would shift the headers behind it.
    """
    absent = raw.count(None)
    joined = b"".join([layout.blank if row is None else row for row in raw]) if absent else b"".join(raw)  # type: ignore[arg-type]
    if len(joined) != len(raw) * layout.fixed_bytes:
        return None
    fixed = np.frombuffer(joined, layout.dtype)
    present = fixed["header"] == layout.header
    if layout.is_checked:
        present &= fixed["checksum"] == checksums(fixed)
    return Rows(layout, fixed, present, ()) if np.count_nonzero(present) == len(raw) - absent else None


def _fitted(layout: Layout, raw: Sequence[bytes | None]) -> Rows:
    """The rows that are of this layout; the others are absent."""
    size, blank = layout.fixed_bytes, layout.blank
    rows = [blank if row is None else row for row in raw]
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    if (lengths == size).all():
        fixed = np.frombuffer(b"".join(rows), layout.dtype)
        tails: Sequence[bytes] = [b""] * len(rows) if layout.tails else ()
    else:
        fixed = np.frombuffer(b"".join([row[:size].ljust(size, b"\0") for row in rows]), layout.dtype)
        tails = [row[size:] for row in rows]
    present = _is_whole(layout, fixed, lengths)
    if layout.is_checked:
        present &= fixed["checksum"] == checksums(fixed, tails)
    if not present.all():
        fixed = np.where(present, fixed, np.frombuffer(blank, layout.dtype))
        tails = [tail if kept else b"" for tail, kept in zip(tails, present.tolist(), strict=False)]
    return Rows(layout, fixed, present, tails)


def _is_whole(
    layout: Layout, fixed: npt.NDArray[np.void], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether a row is of the layout and exactly as long as its tail says; one with boxed values is longer."""
    ours = fixed["header"] & UNFLAGGED == np.uint64(layout.header)
    expected = np.full(len(fixed), layout.fixed_bytes, np.int64)
    ordered: npt.NDArray[np.bool_] = np.ones(len(fixed), np.bool_)
    if layout.tails:
        ends = fixed["ends"].astype(np.int64)
        expected += ends[:, -1]
        ordered &= (np.diff(ends, axis=1, prepend=0) >= 0).all(axis=1)
    whole: npt.NDArray[np.bool_] = (
        ours & ordered & np.where(_is_boxed(fixed), lengths > expected, lengths == expected)
    )
    return whole


def _is_boxed(fixed: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    boxed: npt.NDArray[np.bool_] = (fixed["header"] >> np.uint64(8)) & np.uint64(BOXED) != 0
    return boxed


def _translated(
    layout: Layout, raw: Sequence[bytes | None], strange: Sequence[int], find_layout: FindLayout
) -> list[bytes | None]:
    """All rows, those of other known layouts in this one."""
    rows = list(raw)
    by_fingerprint: dict[bytes, list[int]] = {}
    for place in strange:
        row = raw[place] or b""
        fingerprint = row[2:8] if row and row[0] in FORMATS else b""
        by_fingerprint.setdefault(fingerprint, []).append(place)
        rows[place] = None
    for fingerprint, places in by_fingerprint.items():
        is_other = len(fingerprint) == 6 and fingerprint != layout.fingerprint
        other = find_layout(fingerprint) if is_other else None
        if other is not None:
            found = _in_layout(layout, _fitted(other, [raw[place] for place in places]))
            for place, translated in zip(places, found, strict=True):
                rows[place] = translated
    return rows


def _in_layout(layout: Layout, rows: Rows) -> list[bytes | None]:
    """Rows written again in another layout."""
    shared = [column for column in layout.columns if column in rows.layout.columns]
    fixed = np.full(len(rows), np.frombuffer(layout.blank, layout.dtype)[0])
    fixed["header"] = layout.header
    fixed["event"], fixed["created"] = rows.event, rows.created
    nulls = np.ones((len(rows), layout.null_bytes * 8), np.bool_)
    for column in shared:
        nulls[:, layout.places[column.name]] = rows.nulls[:, rows.layout.places[column.name]]
        if column.value_type == "FLOAT":
            fixed["floats"][:, layout.floats.index(column)] = rows.floats[:, rows.layout.floats.index(column)]
        elif column.is_fixed:
            fixed[layout.field(column)] = rows.fixed[rows.layout.field(column)]
    fixed["nulls"] = np.packbits(nulls, axis=1, bitorder="little")
    empty = [b""] * len(rows)
    tails = [rows.blobs(column) if column in shared else empty for column in layout.tails]
    if tails:
        fixed["ends"] = np.cumsum([list(map(len, tail)) for tail in tails], axis=0).T
    joined = [b"".join(parts) for parts in zip(*tails, strict=True)] if tails else [*empty]
    for box in rows.boxes():
        column = rows.layout.columns[box.column]
        if column in shared:
            joined[box.row] += box.to_bytes(layout.places[column.name])
            fixed["header"][box.row] |= np.uint64(BOXED << 8)
    fixed["checksum"] = checksums(fixed, joined)
    return [
        one.tobytes() + tail if there else None
        for one, tail, there in zip(fixed, joined, rows.present.tolist(), strict=True)
    ]


def _offsets(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
