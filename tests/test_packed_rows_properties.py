"""The packed-row codec: whatever goes in comes out, by either way of packing, under any two schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.value_type import ValueType
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_rows_values import (
    ABSENT,
    LAYOUTS,
    ODD,
    PYTHON_VALUES,
    feast_values,
    layouts_with_rows,
    same,
)

from feature_repo.errors import FeatureError
from materialization.data_plane.online.batched_fetch import FetchedView
from materialization.data_plane.online.feature_vectors import ViewVectors
from materialization.data_plane.rows.keys import TAGS, ViewKeys, netstring
from materialization.data_plane.rows.layout import BLOB_LISTS, BLOBS, FIXED, LISTS, NO_TIME, Layout
from materialization.data_plane.rows.packing import pack
from materialization.data_plane.rows.reading import read
from materialization.data_plane.rows.value_wire import FIELD_NUMBERS, timestamps_on_wire, varints
from materialization.data_plane.rows.values import pack_row, value_field

FeatureVector = GetOnlineFeaturesResponse.FeatureVector
INT64 = st.integers(-(2**63), 2**63 - 1)


def test_every_type_that_feast_can_make_values_of_is_tried() -> None:
    assert set(PYTHON_VALUES) == {value_type.name for value_type in ValueType} - {"UNKNOWN", "NULL"}


def read_values(
    layout: Layout, rows: Sequence[bytes | None], find: Any = None
) -> list[dict[str, Value] | None]:
    """By way of Feast's answer, as the online store reads them."""
    found = read(layout, rows, find or (lambda _: None))
    presence = (~found.present).astype(np.int8)
    vectors = ViewVectors(FetchedView(found, presence, found.event), len(rows))
    columns = {
        column.name: RepeatedValue.FromString(vectors.values(column.name)).val for column in layout.columns
    }
    return [
        {name: column[row] for name, column in columns.items()} if found.present[row] else None
        for row in range(len(rows))
    ]


def test_the_wire_has_feast_s_own_field_numbers() -> None:
    fields = {value_field(Layout.of([("it", name)]).columns[0]): n for name, n in FIELD_NUMBERS.items()}
    assert fields == {name: Value.DESCRIPTOR.fields_by_name[name].number for name in fields}
    assert set(FIELD_NUMBERS) == {*FIXED, *LISTS, *BLOBS, *BLOB_LISTS}


@given(st.lists(INT64, max_size=5))
def test_event_times_on_the_wire_are_protobuf_s(micros: list[int]) -> None:
    made = FeatureVector.FromString(timestamps_on_wire(0x1A, micros)).event_timestamps
    assert [(one.seconds, one.nanos) for one in made] == [
        (moment // 1_000_000, moment % 1_000_000 * 1000) for moment in micros
    ]


@pytest.mark.parametrize("value_type", sorted(PYTHON_VALUES))
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_value_of_any_type_comes_back_to_the_bit(value_type: str, data: st.DataObject) -> None:
    layout = Layout.of([("before", "BOOL"), ("it", value_type), ("after", "STRING")])
    written = data.draw(feast_values(value_type) | ABSENT | ODD)
    values = {"it": written, "after": Value(string_val="x")} if written is not None else {}
    (row,) = read_values(layout, [pack_row(layout, values, event=1)])
    assert row is not None
    assert same(row["it"], written)
    assert same(row["before"], None)


@settings(max_examples=60, deadline=None)
@given(world=layouts_with_rows(), events=st.lists(INT64, min_size=4, max_size=4))
def test_rows_of_any_schema_come_back(
    world: tuple[Layout, list[dict[str, Value]]], events: list[int]
) -> None:
    layout, rows = world
    packed = [pack_row(layout, row, event=event) for row, event in zip(rows, events, strict=False)]
    found = read_values(layout, [None, *packed])
    assert found[0] is None
    for values, written in zip(found[1:], rows, strict=True):
        assert values is not None
        assert all(same(values[column.name], written.get(column.name)) for column in layout.columns)
    assert read(layout, packed, lambda _: None).event.tolist() == events[: len(rows)]


@settings(max_examples=60, deadline=None)
@given(world=layouts_with_rows(odd=False), events=st.lists(INT64, min_size=8, max_size=8))
def test_packing_columns_and_packing_values_give_the_same_bytes(
    world: tuple[Layout, list[dict[str, Value]]], events: list[int]
) -> None:
    layout, rows = world
    event, created = np.array(events[: len(rows)]), np.array(events[4 : 4 + len(rows)])
    by_value = [
        pack_row(layout, row, event=int(one), created=int(other))
        for row, one, other in zip(rows, event, created, strict=True)
    ]
    assert pack(layout, arrow_columns(layout, rows), event=event, created=created).to_pylist() == by_value


def arrow_columns(layout: Layout, rows: Sequence[Mapping[str, Value]]) -> dict[str, pa.Array]:
    """The arrays that `pack` asks for."""
    arrays = {}
    for column in layout.columns:
        field, kind = value_field(column), column.value_type
        values = [row.get(column.name) for row in rows]
        present = [
            v if v is not None and v.WhichOneof("val") not in (None, "null_val") else None for v in values
        ]
        if not column.is_encoded:
            raw = [None if v is None else v.SerializeToString(deterministic=True) for v in present]
            arrays[column.name] = pa.array(raw, pa.large_binary())
        elif kind in LISTS or kind in BLOB_LISTS:
            items = [None if v is None else list(getattr(v, field).val) for v in present]
            arrays[column.name] = pa.array(items, pa.list_(scalar(kind.removesuffix("_LIST"))))
        else:
            plain = [None if v is None else getattr(v, field) for v in present]
            arrays[column.name] = pa.array(plain, scalar(kind))
    return arrays


def scalar(kind: str) -> pa.DataType:
    if kind == "BOOL":
        return pa.bool_()
    if kind in BLOBS:
        return pa.string() if kind == "STRING" else pa.binary()
    return pa.from_numpy_dtype(np.dtype(FIXED[kind]))


@settings(max_examples=60, deadline=None)
@given(world=layouts_with_rows(), other=LAYOUTS, data=st.data())
def test_rows_of_an_older_schema_are_read_by_the_columns_both_have(
    world: tuple[Layout, list[dict[str, Value]]], other: Layout, data: st.DataObject
) -> None:
    old, rows = world
    new = Layout(tuple(data.draw(st.permutations(sorted({*old.columns[::2], *other.columns}, key=str)))))
    new = Layout(tuple({column.name: column for column in new.columns}.values()))
    packed = [pack_row(old, row, event=5, created=3) for row in rows]
    found = read_values(new, packed, {old.fingerprint: old}.get)
    for values, written in zip(found, rows, strict=True):
        assert values is not None
        for column in new.columns:
            assert same(values[column.name], written.get(column.name) if column in old.columns else None)
    if new.fingerprint != old.fingerprint:
        assert read_values(new, packed) == [None] * len(rows)


@settings(max_examples=80, deadline=None)
@given(world=layouts_with_rows(), data=st.data())
def test_a_row_cut_short_or_made_of_nonsense_is_not_found_and_its_neighbours_are(
    world: tuple[Layout, list[dict[str, Value]]], data: st.DataObject
) -> None:
    layout, rows = world
    good = pack_row(layout, rows[0] if rows else {}, event=1)
    cut = good[: data.draw(st.integers(0, layout.fixed_bytes - 1))]
    nonsense = data.draw(st.binary(max_size=80))
    found = read(layout, [good, cut, nonsense, good], lambda _: None)
    assert found.present.tolist() == [True, False, False, True]


def test_a_value_for_a_feature_the_view_does_not_have_is_refused_not_lost() -> None:
    layout = Layout.of([("a", "INT64")])
    with pytest.raises(FeatureError, match="no feature named b; its features are a"):
        pack_row(layout, {"a": Value(int64_val=1), "b": Value(int64_val=2)}, event=1)


@given(numbers=st.lists(INT64, min_size=1))
def test_varints_are_those_of_protobuf(numbers: list[int]) -> None:
    payload, lengths = varints(np.array(numbers, np.int64))
    for number, row, length in zip(numbers, payload, lengths, strict=True):
        expected = Value(int64_val=number).SerializeToString()[1:]
        assert row[:length].tobytes() == expected


NAMES = st.text(min_size=1, max_size=4) | st.text("1:|@{}v_", min_size=1, max_size=5)
PLACES = st.builds(
    lambda project, view, version, keyed: (
        ViewKeys(project, view, tuple(name for name, _ in keyed), version),
        keyed,
    ),
    NAMES,
    NAMES,
    st.none() | st.integers(1, 12),
    st.lists(st.tuples(NAMES, st.binary(max_size=5)), min_size=1, max_size=3, unique_by=lambda one: one[0]),
)


@settings(max_examples=500)
@given(one=PLACES, other=PLACES)
def test_no_two_rows_of_any_projects_views_versions_keys_or_entities_share_a_place(
    one: Any, other: Any
) -> None:
    def place(named: Any) -> tuple[bytes, bytes]:
        keys, keyed = named
        entities = [b"b" + entity for _, entity in keyed]
        return keys.key(entities), keys.field(entities) if keys.is_hash else b""

    assert (place(one) == place(other)) == (one == other)
    assert (one[0].schemas == other[0].schemas) == (one[0].name == other[0].name)


def test_entities_of_different_types_never_share_a_key() -> None:
    assert len(set(TAGS.values())) == len(TAGS)
    assert netstring(b"1:2") != netstring(b"1") + netstring(b"2")
    assert NO_TIME == -(2**63)
