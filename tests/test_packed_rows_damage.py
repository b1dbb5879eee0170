"""A packed row that was altered is never taken for values: any bit, any bytes, any kind of row, on every way in."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packed_rows_values import LAYOUTS, as_format_1, layouts_with_rows

from materialization.data_plane.online.batched_fetch import BatchedFetch, Presence, ViewRead
from materialization.data_plane.online.link import HashRead, Reply
from materialization.data_plane.rows.checksum import checksum, checksums, weights
from materialization.data_plane.rows.keys import ViewKeys
from materialization.data_plane.rows.layout import FORMAT_VERSION, WITHOUT_CHECKSUM, Layout
from materialization.data_plane.rows.reading import Rows, read
from materialization.data_plane.rows.values import pack_row

World = tuple[Layout, list[dict[str, Value]]]
SEEN = 2**32
"""A difference of the sum so large, either way, changes its upper half whatever else is in the row."""

FLOATS = Layout.of((f"f{place}", "FLOAT") for place in range(9))
PLAIN = pack_row(
    FLOATS, {f"f{place}": Value(float_val=place / 7) for place in range(9)}, event=2**50, created=7
)
MIXED = Layout.of([("a", "DOUBLE"), ("b", "STRING"), ("c", "FLOAT"), ("d", "INT64_LIST"), ("e", "BOOL")])
WITH_TAIL = pack_row(
    MIXED,
    {"a": Value(double_val=0.5), "b": Value(string_val="text"), "d": Value(int64_list_val={"val": [1, 2]})},
    event=2**50,
)
BOXED = pack_row(MIXED, {"a": Value(string_val="odd"), "b": Value(string_val="x")}, event=2**50)
ROWS = {"plain": (FLOATS, PLAIN), "with a tail": (MIXED, WITH_TAIL), "boxed": (MIXED, BOXED)}


def nobody(_: bytes) -> None:
    """Knows no older layout."""


def altered(row: bytes, places: Sequence[int], values: Sequence[int]) -> bytes:
    """Other bytes in some places."""
    changed = bytearray(row)
    for place, value in zip(places, values, strict=True):
        changed[place % len(row)] = value
    return bytes(changed)


def flips(row: bytes) -> list[bytes]:
    """The row with each of its bits flipped, one at a time."""
    return [altered(row, [bit // 8], [row[bit // 8] ^ 1 << bit % 8]) for bit in range(8 * len(row))]


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_with_any_one_bit_flipped_is_not_found_and_its_neighbours_are(kind: str) -> None:
    layout, row = ROWS[kind]
    damaged = flips(row)
    found = read(layout, [row, *damaged, row], nobody)
    assert found.present.tolist() == [True, *[False] * len(damaged), True]
    for one in damaged:
        assert read(layout, [one, row, None], nobody).present.tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ROWS)
def test_the_same_holds_for_a_row_of_an_older_definition(kind: str) -> None:
    layout, row = ROWS[kind]
    newer = Layout((*layout.columns[1:], *Layout.of([("new", "INT64")]).columns))
    damaged = flips(row)
    found = read(newer, [row, *damaged, row], {layout.fingerprint: layout}.get)
    assert found.present.tolist() == [True, *[False] * len(damaged), True]


@settings(max_examples=150, deadline=None)
@given(world=layouts_with_rows(), newer=LAYOUTS, data=st.data())
def test_a_row_altered_at_equal_length_is_read_as_it_was_written_or_not_at_all(
    world: World, newer: Layout, data: st.DataObject
) -> None:
    layout, rows = world
    row = pack_row(layout, rows[0] if rows else {}, event=data.draw(st.integers(-(2**63), 2**63 - 1)))
    places = data.draw(st.lists(st.integers(0, len(row) - 1), min_size=1, max_size=60))
    values = data.draw(st.lists(st.integers(0, 255), min_size=len(places), max_size=len(places)))
    other = altered(row, places, values)
    assume(other != row)
    for into in (layout, newer):
        found = read(into, [row, other, None, row], {layout.fingerprint: layout}.get)
        assert found.present.tolist() == [True, False, False, True]


@settings(max_examples=100, deadline=None)
@given(world=layouts_with_rows(), data=st.data())
def test_parts_of_two_rows_make_no_row(world: World, data: st.DataObject) -> None:
    layout, rows = world
    values = rows[0] if rows else {}
    one, other = pack_row(layout, values, event=1), pack_row(layout, values, event=2**40 + 5)
    cut = data.draw(st.integers(0, len(one)))
    spliced = one[:cut] + other[cut:]
    assert read(layout, [spliced], nobody).present.tolist() == [spliced in (one, other)]


@settings(max_examples=100, deadline=None)
@given(words=st.integers(1, 40), data=st.data())
def test_the_checksum_is_what_its_definition_says(words: int, data: st.DataObject) -> None:
    fixed = [data.draw(st.binary(min_size=4 * words, max_size=4 * words)) for _ in range(3)]
    tails = data.draw(st.lists(st.binary(max_size=9), min_size=3, max_size=3))
    stream = hashlib.shake_128(b"packed row").digest(8 * words)
    factors = struct.unpack(f"<{words}Q", stream)[:-1]
    expected = []
    for row, tail in zip(fixed, tails, strict=True):
        numbers = struct.unpack(f"<{words}I", row)[:-1]
        total = sum(factor * number for factor, number in zip(factors, numbers, strict=True)) % 2**64
        expected.append(total // 2**32 ^ zlib.crc32(tail))
    together = np.frombuffer(b"".join(fixed), f"V{4 * words}")
    assert checksums(together, tails).tolist() == expected
    assert [checksum(row, tail) for row, tail in zip(fixed, tails, strict=True)] == expected


def differences(factors: npt.NDArray[np.uint64], step: int, shifts: range) -> npt.NDArray[np.uint64]:
    """What the sum changes by, mod 2^64, where a word grows by `step` << shift: for each word and shift."""
    changes = np.array([step << shift for shift in shifts], np.uint64)
    return (factors[:, None] * changes).ravel()


def test_a_change_within_one_byte_is_always_seen() -> None:
    factors = weights(16_385)[:-1]
    for step in range(1, 256):
        grown = differences(factors, step, range(0, 32, 8))
        assert min(grown.min(), (np.uint64(0) - grown).min()) >= SEEN


def test_any_two_flipped_bits_of_a_fixed_part_of_up_to_4_kb_are_seen() -> None:
    """A flip changes the sum, or what stands in the checksum, by plus or minus one of these."""
    grown = differences(weights(1_024)[:-1], 1, range(32))
    written = np.array([1 << bit for bit in range(32, 64)], np.uint64)
    either = np.sort(np.concatenate([grown, np.uint64(0) - grown, written, np.uint64(0) - written]))
    apart = np.unique(either)
    assert len(either) - len(apart) == 1, "2^63 is its own negative"
    assert np.diff(apart).min() >= SEEN
    assert min(int(apart[0]), 2**64 - int(apart[-1])) >= SEEN


@settings(max_examples=60, deadline=None)
@given(world=layouts_with_rows())
def test_rows_without_checksum_are_read_by_the_layout_that_redis_has_of_them(world: World) -> None:
    layout, rows = world
    now = [pack_row(layout, row, event=5, created=3) for row in rows]
    before = [as_format_1(layout, row) for row in now]
    older = Layout.from_json(json.loads(json.dumps(Layout(layout.columns, WITHOUT_CHECKSUM).to_json())))
    assert older == Layout(layout.columns, WITHOUT_CHECKSUM)
    assert all(row[0] == WITHOUT_CHECKSUM and row[2:8] == older.fingerprint for row in before)
    found, expected = read(layout, before, {older.fingerprint: older}.get), read(layout, now, nobody)
    assert_same(found, expected)
    assert not read(layout, before, nobody).present.any()


def assert_same(found: Rows, expected: Rows) -> None:
    for name in set(found.layout.dtype.names or ()) - {"nulls", "checksum"}:
        assert found.fixed[name].tobytes() == expected.fixed[name].tobytes()
    assert found.nulls.tolist() == expected.nulls.tolist()
    assert found.present.tolist() == expected.present.tolist()
    assert [*found.tail_bytes] == [*expected.tail_bytes]
    assert [*found.boxes()] == [*expected.boxes()]


def test_the_format_of_a_row_cannot_be_altered_into_the_one_without_checksum() -> None:
    layouts = {layout.fingerprint: layout for layout in (MIXED, Layout(MIXED.columns, WITHOUT_CHECKSUM))}
    for row in (WITH_TAIL, WITH_TAIL[: MIXED.fixed_bytes - 4] + WITH_TAIL[MIXED.fixed_bytes :]):
        assert row[0] == FORMAT_VERSION
        assert not read(MIXED, [altered(row, [0], [WITHOUT_CHECKSUM])], layouts.get).present.any()


@given(junk=st.binary(max_size=20))
def test_a_row_without_checksum_whose_boxed_values_are_garbled_keeps_its_other_values(junk: bytes) -> None:
    layout = Layout.of([("a", "INT64"), ("b", "INT64")])
    good = pack_row(layout, {"a": Value(int64_val=1), "b": Value(string_val="odd")}, event=1)
    assert len(good) > layout.fixed_bytes
    garbled = as_format_1(layout, good[: layout.fixed_bytes] + b"\xff\xff" + junk)
    older = Layout(layout.columns, WITHOUT_CHECKSUM)
    rows = read(layout, [garbled], {older.fingerprint: older}.get)
    assert rows.nulls.tolist() == [[False, True]]
    assert rows.fixed["c0"].tolist() == [1]
    assert not [*rows.boxes()]


@dataclass
class AlteredLayouts:
    """A connection on which rows come whole, and the layouts of older definitions do not."""

    row: bytes
    hashes: dict[bytes, dict[bytes, bytes]]

    def read(self, strings: Sequence[bytes], hashes: Sequence[HashRead]) -> list[Reply]:
        return [self.row] * len(strings) + [None] * len(hashes)

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        return self.hashes[key]


@given(data=st.data())
def test_a_layout_that_was_altered_is_none(data: st.DataObject) -> None:
    name, text = MIXED.fingerprint.hex().encode(), json.dumps(MIXED.to_json()).encode()
    view = ViewRead("v", ViewKeys("p", "v", ("k",)), Layout(MIXED.columns[:3]), ("k",))
    flipped = data.draw(st.integers(0, 8 * len(name + text) - 1))
    both = altered(name + text, [flipped // 8], [(name + text)[flipped // 8] ^ 1 << flipped % 8])
    plan = BatchedFetch((view,))
    for layouts in ({both[: len(name)]: both[len(name) :]}, {name: text}):
        link = AlteredLayouts(WITH_TAIL, {view.keys.schemas: layouts})
        fetched = plan.fetch(link, {"k": [b"sx"]}, at=0.0)["v"]
        known = plan.layouts.get((view.keys.schemas, MIXED.fingerprint), (None, 0.0))[0]
        assert known in (None, MIXED)
        assert fetched.presence.tolist() == [Presence.DAMAGED if known is None else Presence.FOUND]
        plan.layouts.clear()
    assert known == MIXED
