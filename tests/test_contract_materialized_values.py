"""Columns, join keys and event times of any type are materialized alike by the stock engine and by ours."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract_world import NOW, SIDES, STOCK, Project, entity, event_times, times, view
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
)

USER = entity("user_id")


@pytest.fixture(params=SIDES, ids=str)
def project(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Project:
    return Project(request.param, tmp_path / "project", redis_url)


@pytest.fixture
def pair(redis_url: str, tmp_path: Path) -> list[Project]:
    return [Project(side, tmp_path / side.name, redis_url) for side in SIDES]


KINDS: dict[str, tuple[Any, pa.Array]] = {
    "int32": (Int32, pa.array([-(2**31), None, 3], pa.int32())),
    "int64": (Int64, pa.array([2**62 + 1, 2, -3])),
    "narrow ints": (Int64, pa.array([1, None, -3], pa.int16())),
    "float32": (Float32, pa.array([0.1, None, float("inf")], pa.float32())),
    "float64": (Float64, pa.array([0.1, None, float("-inf")])),
    "float64 as 32": (Float32, pa.array([0.1, 0.2, 1e30])),
    "int as float": (Float64, pa.array([1, 2, 3])),
    "bool": (Bool, pa.array([True, None, False])),
    "string": (String, pa.array(["", None, "ünï 😀"])),
    "large string": (String, pa.array(["", None, "b"], pa.large_string())),
    "dictionary": (String, pa.array(["a", None, "b"]).dictionary_encode()),
    "bytes": (Bytes, pa.array([b"", None, b"\x00\xff"])),
    "timestamp": (UnixTimestamp, pa.array([NOW, None, NOW], pa.timestamp("us", "UTC"))),
    "naive timestamp": (UnixTimestamp, pa.array([datetime(2026, 1, 2, 3), None, None], pa.timestamp("ms"))),
    "ints": (Array(Int64), pa.array([[1, 2], [], None])),
    "int32s": (Array(Int32), pa.array([[1, 2], [], None], pa.list_(pa.int32()))),
    "floats": (Array(Float32), pa.array([[0.1, 2.0], [], None], pa.list_(pa.float32()))),
    "strings": (Array(String), pa.array([["a", ""], [], None])),
    "bools": (Array(Bool), pa.array([[True], [], None])),
    "all bytes": (Array(Bytes), pa.array([[b"a", b""], [], None])),
    "stamps": (Array(UnixTimestamp), pa.array([[NOW], [], None], pa.list_(pa.timestamp("us", "UTC")))),
    "map": (Map, pa.array([[("a", "1")], [], None], pa.map_(pa.string(), pa.string()))),
    "map from struct": (Map, pa.array([{"a": "1", "b": None}, {"a": "", "b": "2"}, None])),
    "map from text": (Map, pa.array(['{"a": 1}', "{}", None])),
    "maps": (Array(Map), pa.array([[{"a": "1"}], [], None])),
    "json": (Json, pa.array(['{"a": [1, null]}', "[]", None])),
    "json from struct": (Json, pa.array([{"a": 1}, {"a": None}, None])),
    "uuid": (Uuid, pa.array(["6f1e2f3a-1111-4222-8333-444455556666", None, None])),
    "decimal": (Decimal, pa.array(["1.10", None, "-0.001"])),
    "arrow decimal": (Decimal, pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-0.10")])),
    "sets": (Set(Int64), pa.array([[3, 1, 2], [], None])),
    "lists of lists": (Array(Array(Int64)), pa.array([[[1], [2, 3]], [], None])),
    "structs": (Array(Struct({"n": String})), pa.array([[{"n": "x"}], [], None])),
    "date": (UnixTimestamp, pa.array([NOW.date(), None, None])),
    "int64 as timestamp": (UnixTimestamp, pa.array([1_700_000_000, -1, 0])),
    "float16": (Float32, pa.array(np.array([1.5, 2.5, 3.5], np.float16))),
    "uint64": (Int64, pa.array([1, 2, 3], pa.uint64())),
    "fixed bytes": (Bytes, pa.array([b"ab", None, b"cd"], pa.binary(2))),
    "fixed lists": (Array(Float32), pa.array([[1, 2], [3, 4], None], pa.list_(pa.float32(), 2))),
    "nulls in lists": (Array(String), pa.array([["a", None], [], None])),
    "nulls in floats": (Array(Float64), pa.array([[1.0, None], [], None])),
    "struct": (Struct({"n": String, "m": Int64}), pa.array([{"n": "x", "m": 1}, {"n": "", "m": None}, None])),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_column_of_any_type_is_materialized_alike(pair: list[Project], name: str) -> None:
    kind, values = KINDS[name]

    def ask(project: Project) -> Any:
        rows = {"user_id": [1, 2, 3], "value": values, "event_timestamp": times(3, 3, 3)}
        project.apply(USER, view("typed", [USER], project.write("typed", rows), {"value": kind}))
        try:
            project.materialize()
        except Exception as error:  # noqa: BLE001 a refusal, as long as both refuse
            return f"refused as {type(error).__name__}"
        return project.online(["typed:value"], [{"user_id": one} for one in (1, 2, 3, 4)])

    stock, ours = (ask(project) for project in pair)
    assert isinstance(ours, str) == isinstance(stock, str), (ours, stock)
    assert isinstance(ours, str) or _told(ours) == _told(stock)


def _told(value: Any) -> str:
    """As `repr`, which knows NaN from NaN, without the order of a map: protobuf keeps none."""
    if isinstance(value, dict):
        return repr(sorted((key, _told(one)) for key, one in value.items()))
    return repr([_told(one) for one in value]) if isinstance(value, list) else repr(value)


JOIN_KEYS: dict[str, tuple[Any, pa.Array, list[Any]]] = {
    "int32": (Int32, pa.array([1, -2, 3], pa.int32()), [1, -2, 3]),
    "int32 column of an int64 key": (Int64, pa.array([1, -2, 3], pa.int32()), [1, -2, 3]),
    "string": (String, pa.array(["", "a:b", "1"]), ["", "a:b", "1"]),
    "bytes": (Bytes, pa.array([b"", b"\x00", b"a"]), [b"", b"\x00", b"a"]),
    "timestamp": (UnixTimestamp, times(1, 2, 3), [NOW - timedelta(hours=hours) for hours in (1, 2, 3)]),
    "double": (Float64, pa.array([0.0, -1.5, 1e300]), [0.0, -1.5, 1e300]),
    "float": (Float32, pa.array([0.5, -1.5, 3], pa.float32()), [0.5, -1.5, 3.0]),
}
NOT_IN_STOCK = ("double", "float")
"""Feast 0.67 serializes no such key."""


@pytest.mark.parametrize("name", JOIN_KEYS)
def test_join_keys_of_any_type(project: Project, name: str) -> None:
    if project.side is STOCK and name in NOT_IN_STOCK:
        pytest.xfail("Feast's own serialization of keys does not know the type")
    kind, column, ids = JOIN_KEYS[name]
    rows = {"key": column, "value": pa.array([1, 2, 3], pa.float32()), "event_timestamp": times(5, 5, 5)}
    one = entity("key", kind)
    project.apply(one, view("keyed", [one], project.write("keyed", rows)))
    project.materialize()
    assert project.online(["keyed:value"], [{"key": one} for one in ids])["value"] == [1.0, 2.0, 3.0]


EVENT_TIMES: dict[str, Callable[[pa.Array], pa.Array]] = {
    "ns": lambda column: column.cast(pa.timestamp("ns", "UTC")),
    "ms": lambda column: column.cast(pa.timestamp("ms", "UTC")),
    "naive us": lambda column: column.cast(pa.timestamp("us")),
    "naive ns": lambda column: column.cast(pa.timestamp("ns")),
    "another zone": lambda column: column.cast(pa.timestamp("us", "Asia/Kolkata")),
}


@pytest.mark.parametrize("name", EVENT_TIMES)
def test_event_times_of_any_unit_and_zone(project: Project, name: str) -> None:
    if project.side is STOCK and name == "ns":
        pytest.xfail("the stock store cannot read nanoseconds with a zone on DuckDB 2 (wrong behaviour 11)")
    rows = {"user_id": [1, 1, 2], "value": pa.array([1, 2, 3], pa.float32())}
    rows |= {"event_timestamp": EVENT_TIMES[name](times(5, 4, 3))}
    project.apply(USER, view("v", [USER], project.write("v", rows)))
    project.materialize(start=NOW - timedelta(hours=5), end=NOW - timedelta(hours=3.5))
    response = project.ask(["v:value"], [{"user_id": 1}, {"user_id": 2}])
    assert response.to_dict()["value"] == [2.0, None]
    assert event_times(response, "value")[:1] == [NOW - timedelta(hours=4)]
