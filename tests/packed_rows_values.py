"""Feast values of every type, as Feast itself makes them, for property tests of the packed rows."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from feast.protos.feast.types.Value_pb2 import Null, Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from hypothesis import strategies as st

from materialization.data_plane.rows.layout import WITHOUT_CHECKSUM, Layout

TEXT = st.text(max_size=8)
BYTES = st.binary(max_size=8)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=32, allow_nan=False)
DOUBLE = st.floats(allow_nan=False)
MOMENT = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
JSON = st.recursive(
    st.none() | st.booleans() | INT32 | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
UUIDS = st.uuids().map(str)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=3)
MAPS = st.dictionaries(TEXT, INT64 | TEXT | st.lists(INT64, min_size=1, max_size=2) | st.none(), max_size=3)
ZONED = MOMENT.map(lambda moment: moment.astimezone(timezone(timedelta(hours=2))))


def some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=4)


PYTHON_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BYTES": BYTES,
    "STRING": TEXT,
    "INT32": INT32,
    "INT64": INT64,
    "DOUBLE": DOUBLE,
    "FLOAT": FLOAT,
    "BOOL": st.booleans(),
    "UNIX_TIMESTAMP": MOMENT,
    "BYTES_LIST": some(BYTES),
    "STRING_LIST": some(TEXT),
    "INT32_LIST": some(INT32),
    "INT64_LIST": some(INT64),
    "DOUBLE_LIST": some(DOUBLE),
    "FLOAT_LIST": some(FLOAT),
    "BOOL_LIST": some(st.booleans()),
    "UNIX_TIMESTAMP_LIST": some(MOMENT),
    "MAP": MAPS,
    "MAP_LIST": some(MAPS),
    "BYTES_SET": some(BYTES).map(set),
    "STRING_SET": some(TEXT).map(set),
    "INT32_SET": some(INT32).map(set),
    "INT64_SET": some(INT64).map(set),
    "DOUBLE_SET": some(DOUBLE).map(set),
    "FLOAT_SET": some(FLOAT).map(set),
    "BOOL_SET": some(st.booleans()).map(set),
    "UNIX_TIMESTAMP_SET": some(MOMENT).map(set),
    "PDF_BYTES": BYTES,
    "IMAGE_BYTES": BYTES,
    "JSON": JSON.filter(lambda value: value is not None and not isinstance(value, str)),
    "JSON_LIST": some(JSON.filter(lambda value: not isinstance(value, str))),
    "STRUCT": MAPS,
    "STRUCT_LIST": some(MAPS),
    "UUID": UUIDS,
    "TIME_UUID": st.builds(lambda: str(uuid.uuid1())),
    "UUID_LIST": some(UUIDS),
    "TIME_UUID_LIST": some(UUIDS),
    "UUID_SET": some(UUIDS).map(set),
    "TIME_UUID_SET": some(UUIDS).map(set),
    "VALUE_LIST": some(st.lists(INT64, max_size=3)),
    "VALUE_SET": some(st.lists(INT64, max_size=3)),
    "DECIMAL": DECIMALS,
    "DECIMAL_LIST": some(DECIMALS),
    "DECIMAL_SET": some(DECIMALS).map(set),
    "SCALAR_MAP": st.dictionaries(INT64, INT64, max_size=3),
    "ZONED_TIMESTAMP": ZONED,
}
"""Values that Feast's `python_values_to_proto_values` takes, by value type."""

EXTREMES: dict[str, list[Value]] = {
    "DOUBLE": [
        Value(double_val=x) for x in (float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.8e308)
    ],
    "FLOAT": [Value(float_val=x) for x in (float("nan"), float("inf"), float("-inf"), -0.0, 1e-45, 3.4e38)],
    "INT64": [Value(int64_val=x) for x in (-(2**63), 2**63 - 1, 2**53 + 1, 0, -1)],
    "INT32": [Value(int32_val=x) for x in (-(2**31), 2**31 - 1, 0)],
    "UNIX_TIMESTAMP": [Value(unix_timestamp_val=x) for x in (-(2**63), 2**63 - 1, 0)],
}
ODD = st.sampled_from(
    [
        Value(double_val=1.5),
        Value(int64_val=-7),
        Value(string_val="text"),
        Value(bool_val=False),
        Value(bytes_list_val={"val": [b""]}),
    ]
)
"""Values that are not of their column's declared type, mostly."""
ABSENT = st.sampled_from([None, Value(), Value(null_val=Null.NULL)])


def feast_values(value_type: str) -> st.SearchStrategy[Value]:
    """Values as Feast makes them, and the extremes."""
    made = PYTHON_VALUES[value_type].map(lambda value: as_feast(value, value_type))
    return made | st.sampled_from(EXTREMES[value_type]) if value_type in EXTREMES else made


def as_feast(value: Any, value_type: str) -> Value:
    found: Value = python_values_to_proto_values([value], ValueType[value_type])[0]
    return found


def as_format_1(layout: Layout, row: bytes) -> bytes:
    """The row as the format without checksum had it."""
    before = Layout(layout.columns, WITHOUT_CHECKSUM)
    fixed = row[8 : layout.fixed_bytes - 4]
    return bytes([WITHOUT_CHECKSUM, row[1]]) + before.fingerprint + fixed + row[layout.fixed_bytes :]


def same(found: Value, written: Value | None) -> bool:
    """Equal to the bit; all kinds of null are one."""
    kind = written.WhichOneof("val") if written is not None else None
    if written is None or kind in (None, "null_val"):
        return found.WhichOneof("val") is None
    return bool(found.SerializeToString(deterministic=True) == written.SerializeToString(deterministic=True))


LAYOUTS = st.lists(st.sampled_from(sorted(PYTHON_VALUES)), max_size=12).map(
    lambda types: Layout.of((f"c{place}", value_type) for place, value_type in enumerate(types))
)


@st.composite
def layouts_with_rows(draw: st.DrawFn, odd: bool = True) -> tuple[Layout, list[dict[str, Value]]]:
    layout = draw(LAYOUTS)
    row = st.fixed_dictionaries(
        {
            column.name: feast_values(column.value_type) | ABSENT | (ODD if odd else ABSENT)
            for column in layout.columns
        }
    )
    rows = draw(st.lists(row, max_size=4))
    return layout, [{name: value for name, value in row.items() if value is not None} for row in rows]
