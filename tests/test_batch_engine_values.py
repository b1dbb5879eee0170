"""Source columns become the values Feast's own conversion gives, or a clear error."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.value_type import ValueType
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import FeatureError
from materialization.data_plane.batch.newest_rows import EVENT
from materialization.data_plane.rows.column_values import packable
from materialization.data_plane.rows.keys import ViewKeys
from materialization.data_plane.rows.layout import BLOB_LISTS, BLOBS, FIXED, LISTS, Column, Layout
from materialization.data_plane.rows.packing import pack
from materialization.data_plane.rows.reading import read
from materialization.data_plane.rows.row_making import RowMaker

NOON = dt.datetime(2024, 3, 1, 12, 0, 0, 999_999)
AGREEING: list[tuple[str, pa.Array]] = [
    ("FLOAT", pa.array([1.5, None, math.nan, math.inf], pa.float32())),
    ("FLOAT", pa.array([1, None, -(2**40)], pa.int64())),
    ("FLOAT", pa.array([True, False])),
    ("DOUBLE", pa.array([0.1, -0.0, math.nan], pa.float64())),
    ("DOUBLE", pa.array([Decimal("1.25"), None], pa.decimal128(9, 2))),
    ("INT32", pa.array([2**31 - 1, -(2**31), None], pa.int64())),
    ("INT64", pa.array([1.0, None, 3.0], pa.float64())),
    ("INT64", pa.array([NOON], pa.timestamp("ns", "UTC"))),
    ("INT64", pa.array(["12", None])),
    ("STRING", pa.array(["", "né", None])),
    ("STRING", pa.array([7, -7], pa.int64())),
    ("STRING", pa.array([True, None])),
    ("STRING", pa.array([1.5, 1e20])),
    ("STRING", pa.array(["a", "b", "a"]).dictionary_encode()),
    ("BYTES", pa.array([b"\x00\xff", b"", None])),
    ("BOOL", pa.array([True, False, None])),
    ("BOOL", pa.array([0, 1, 2])),
    ("UNIX_TIMESTAMP", pa.array([NOON], pa.timestamp("us"))),
    ("UNIX_TIMESTAMP", pa.array([NOON], pa.timestamp("ns", "Europe/Amsterdam"))),
    ("FLOAT_LIST", pa.array([[1.0, None], [], None], pa.list_(pa.float32()))),
    ("DOUBLE_LIST", pa.array([[0.1, 2], [3]], pa.list_(pa.float64()))),
    ("INT64_LIST", pa.array([[1, 2], []], pa.list_(pa.int32()))),
    ("INT32_LIST", pa.array([[1], [2]], pa.list_(pa.int32(), 1))),
    ("STRING_LIST", pa.array([["a", ""], []])),
    ("STRING_LIST", pa.array([["a", None]])),
    ("BYTES_LIST", pa.array([[b"a"], [b""]])),
    ("BOOL_LIST", pa.array([[True, False], []])),
    ("UNIX_TIMESTAMP_LIST", pa.array([[NOON], []], pa.list_(pa.timestamp("us")))),
    ("FLOAT_LIST", pa.array([b"[1.0, 2.5]"])),
    ("MAP", pa.array(['{"a": 1}', None])),
    ("JSON", pa.array(['{"a": [1, 2]}', None])),
    ("STRUCT", pa.array([{"a": 1, "b": "x"}])),
    ("STRING_SET", pa.array([["a", "b"]])),
    ("UUID", pa.array(["6b3d1d8e-52a3-4b6c-9b7d-3f1f4a9a1a11", None])),
    ("DECIMAL", pa.array([Decimal("1.10"), None], pa.decimal128(9, 2))),
]


def own(declared: str, array: pa.Array) -> list[Any]:
    """Packed, read back, as plain Python values."""
    column = Column("c", declared)
    layout = Layout((column,))
    rows = read(
        layout,
        pack(layout, {"c": packable(column, array)}, event=np.zeros(len(array), np.int64)).to_pylist(),
        lambda _: None,
    )
    assert rows.present.all()
    if declared in FIXED:
        field = rows.floats[:, 0] if declared == "FLOAT" else rows.fixed[layout.field(column)]
        values = field.tolist()
        values = [bool(value) for value in values] if declared == "BOOL" else values
    elif declared in LISTS or declared in BLOB_LISTS:
        lists = rows.lists(column)
        values = [
            lists.values[start:end].tolist()
            for start, end in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)
        ]
        if declared == "BOOL_LIST":
            values = [[bool(one) for one in value] for value in values]
    elif declared in BLOBS:
        values = [blob.decode() if declared == "STRING" else blob for blob in rows.blobs(column)]
    else:
        values = [plain(Value.FromString(blob)) for blob in rows.blobs(column)]
    return [None if null else value for value, null in zip(values, rows.nulls[:, 0], strict=True)]


def told(values: list[Any]) -> str:
    """Tells NaN from null and -0.0 from 0; maps have no order."""
    return repr([sorted(value.items()) if isinstance(value, dict) else value for value in values])


def plain(value: Value) -> Any:
    field = value.WhichOneof("val")
    if field in ("unix_timestamp_val", "unix_timestamp_list_val", "bool_list_val"):
        found = getattr(value, field)
        return found if field == "unix_timestamp_val" else list(found.val)
    if field is not None and field.endswith("_list_val") and hasattr(getattr(value, field), "val"):
        return list(getattr(value, field).val)
    return feast_value_type_to_python_type(value)


@pytest.mark.parametrize(("declared", "array"), AGREEING, ids=lambda part: str(getattr(part, "type", part)))
def test_a_column_becomes_what_feast_makes_of_it(declared: str, array: pa.Array) -> None:
    stock = python_values_to_proto_values(array.to_numpy(zero_copy_only=False), ValueType[declared])
    expected = [bool(v) if declared == "BOOL" and v is not None else v for v in map(plain, stock)]
    assert told(own(declared, array)) == told(expected)


@given(st.lists(st.none() | st.floats(width=32), max_size=20))
def test_floats_with_nulls_and_nan_agree_with_feast(values: list[float | None]) -> None:
    test_a_column_becomes_what_feast_makes_of_it("FLOAT", pa.array(values, pa.float32()))


@given(st.lists(st.none() | st.lists(st.text(), max_size=3), min_size=1, max_size=9))
def test_lists_of_text_hold_what_the_source_holds(values: list[list[str] | None]) -> None:
    assert own("STRING_LIST", pa.array(values, pa.list_(pa.string()))) == values


@pytest.mark.parametrize(
    ("declared", "array"),
    [
        ("INT32", pa.array([2**31])),
        ("INT64", pa.array([1.5])),
        ("INT64", pa.array(["twelve"])),
        ("BOOL", pa.array(["yes"])),
        ("BYTES", pa.array([1])),
        ("FLOAT", pa.array([[1.0]])),
        ("JSON", pa.array(["{"])),
    ],
    ids=lambda part: str(getattr(part, "type", part)),
)
def test_a_value_that_does_not_fit_is_an_error_that_names_the_column(declared: str, array: pa.Array) -> None:
    maker = RowMaker(Layout((Column("c", declared),)), ViewKeys("p", "v", ("k",)), (Column("k", "INT64"),))
    times = pa.array([NOON] * len(array), pa.timestamp("us"))
    batch = pa.RecordBatch.from_arrays([pa.array(range(len(array))), array, times], names=["k", "c", EVENT])
    with pytest.raises(FeatureError, match="column c is declared"):
        maker(batch)
