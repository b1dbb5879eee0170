"""Every type Feast has comes back from an online store as it went in: as features, and as join keys."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from contract_world import NOW, SIDES, Project, entity, key, source, stamps, view
from feast import types as ft
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values

ANY_ID = "6f1e2f3a-1111-4222-8333-444455556666"
TIME_ID = str(uuid.uuid1(node=1, clock_seq=1))
MOMENTS = [
    dt.datetime(1969, 12, 31, 23, 59, 58, tzinfo=dt.UTC),
    dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
]
SCALARS: dict[str, tuple[Any, list[Any]]] = {
    "Int32": (ft.Int32, [0, -1, 2**31 - 1, -(2**31)]),
    "Int64": (ft.Int64, [0, -1, 2**63 - 1, -(2**63), 2**53 + 1]),
    "Float32": (ft.Float32, [0.0, -0.0, 0.1, 3.4028234663852886e38, 1e-45, np.inf, -np.inf, np.nan]),
    "Float64": (ft.Float64, [0.0, -0.0, 0.1, 1.7976931348623157e308, 5e-324, np.inf, -np.inf, np.nan]),
    "Bool": (ft.Bool, [True, False]),
    "String": (ft.String, ["", "a", "ünï 😀", "nul\x00inside", "x" * 70_000]),
    "Bytes": (ft.Bytes, [b"", b"\x00\xff\xfe", b"x" * 70_000]),
    "UnixTimestamp": (ft.UnixTimestamp, MOMENTS),
    "Uuid": (ft.Uuid, [uuid.UUID(ANY_ID)]),
    "TimeUuid": (ft.TimeUuid, [uuid.UUID(TIME_ID)]),
    "Decimal": (ft.Decimal, [decimal.Decimal("-12345678901234567890.000000001"), decimal.Decimal(0)]),
}
WHOLE: dict[str, tuple[Any, list[Any]]] = {
    "PdfBytes": (ft.PdfBytes, [b"%PDF\x00", b""]),
    "ImageBytes": (ft.ImageBytes, [b"\x89PNG\x00", b""]),
    "Json": (ft.Json, ['{"a": [1, null]}', "[]", '"text"']),
    "Map": (ft.Map, [{"a": "1", "b": ""}, {}, {"n": {"inner": 1}}]),
    "ScalarMap": (ft.ScalarMap, [{1: "x", 2: None}, {True: 1.5}, {uuid.UUID(ANY_ID): b"x"}]),
    "ZonedTimestamp": (ft.ZonedTimestamp, [pd.Timestamp("2026-01-02 03:04:05", tz="Europe/Berlin")]),
    "Struct": (
        ft.Struct({"name": ft.String, "age": ft.Int64}),
        [{"name": "ann", "age": 7}, {"name": "", "age": 0}],
    ),
    "Array(Struct)": (ft.Array(ft.Struct({"name": ft.String})), [[{"name": "a"}, {"name": "b"}], []]),
    "Array(Map)": (ft.Array(ft.Map), [[{"a": "1"}, {}], []]),
    "Array(Json)": (ft.Array(ft.Json), [['{"a": 1}', "[]"], []]),
    "Array(Array)": (ft.Array(ft.Array(ft.Int64)), [[[1, 2], [], [3]], []]),
    "Array(Set)": (ft.Array(ft.Set(ft.Int64)), [[[1, 2], [3]]]),
    "Set(Array)": (ft.Set(ft.Array(ft.Int64)), [[[1, 2], [3]]]),
}
NO_SETS = ("Float32", "Float64")
LISTS = {
    f"Array({name})": (ft.Array(kind), [values, values[:1], []]) for name, (kind, values) in SCALARS.items()
}
SETS = {
    f"Set({name})": (ft.Set(kind), [set(values), set(values[:1])])
    for name, (kind, values) in SCALARS.items()
    if name not in NO_SETS
}
NOT_PLAIN = {"Float32": [Value(float_val=np.nan)], "Float64": [Value(double_val=np.nan)]}
"""Feast takes these for nulls when it converts Python values."""
ALL = SCALARS | WHOLE | LISTS | SETS
KEYS: dict[str, tuple[Any, list[Value]]] = {
    "Int32": (ft.Int32, [Value(int32_val=value) for value in (0, -1, 2**31 - 1, -(2**31))]),
    "Int64": (ft.Int64, [Value(int64_val=value) for value in (0, -1, 2**63 - 1, -(2**63))]),
    "String": (
        ft.String,
        [Value(string_val=value) for value in ("", "a", "a:b|c{d}", "*?[x]", "ünï 😀", "\x00")],
    ),
    "Bytes": (ft.Bytes, [Value(bytes_val=value) for value in (b"", b"\x00\xff", b"a\r\n")]),
    "UnixTimestamp": (
        ft.UnixTimestamp,
        [Value(unix_timestamp_val=value) for value in (0, -5, 1_800_000_000)],
    ),
}


@pytest.fixture(params=SIDES, ids=str)
def project(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Project:
    return Project(request.param, tmp_path / "project", redis_url)


def test_every_value_type_of_feast_is_tried_here() -> None:
    left_out = {"INVALID"}
    tried = {str(kind).split("(")[0] for kind, _ in ALL.values()}
    assert {str(kind) for kind in ft.PrimitiveFeastType if kind.name not in left_out} <= tried


@pytest.mark.parametrize("name", ALL)
def test_a_feature_of_any_type_is_read_as_the_very_message_that_was_written(
    project: Project, name: str
) -> None:
    kind, plain = ALL[name]
    values = [*python_values_to_proto_values(plain, kind.to_value_type()), *NOT_PLAIN.get(name, []), Value()]
    user = entity("user_id")
    shown = view(
        "shown", [user], source("unused.parquet"), {"before": ft.Float32, "value": kind, "behind": ft.String}
    )
    rows = [
        (
            key(user_id=Value(int64_val=number)),
            {"before": Value(float_val=number), "value": value, "behind": Value(string_val=f"row {number}")},
            NOW,
            None,
        )
        for number, value in enumerate(values)
    ]
    online = project.store.provider.online_store
    online.online_write_batch(project.store.config, shown, rows, None)
    read = online.online_read(
        project.store.config, shown, [row[0] for row in rows], ["behind", "value", "before"]
    )
    for (_, written, _, _), (when, found) in zip(rows, read, strict=True):
        assert when == NOW
        assert {one: value.SerializeToString(deterministic=True) for one, value in found.items()} == {
            one: value.SerializeToString(deterministic=True) for one, value in written.items()
        }


@pytest.mark.parametrize("name", ALL)
def test_a_feature_of_any_type_is_answered_alike_by_both(redis_url: str, tmp_path: Path, name: str) -> None:
    kind, plain = ALL[name]
    answers = [_served(Project(side, tmp_path / side.name, redis_url), kind, plain) for side in SIDES]
    assert repr(_ordered(answers[1])) == repr(_ordered(answers[0]))


def _ordered(answer: Any) -> Any:
    """A struct's fields have no order; `repr`, unlike `==`, takes NaN for equal."""
    if isinstance(answer, dict):
        return {name: _ordered(answer[name]) for name in sorted(answer, key=repr)}
    return [_ordered(one) for one in answer] if isinstance(answer, list) else answer


def _served(project: Project, kind: Any, plain: list[Any]) -> Any:
    """What a frame written through Feast is answered with; the error's type where Feast refuses the frame."""
    user = entity("user_id")
    project.apply(user, view("shown", [user], source("unused.parquet"), {"value": kind}))
    count = len(plain) + 1
    columns = {"user_id": range(count), "value": pd.Series([*plain, None], dtype=object)}
    try:
        project.write_online("shown", columns | {"event_timestamp": stamps(*[1] * count)})
    except Exception as error:  # noqa: BLE001 any refusal, as long as it is the same one
        return type(error), str(error)
    response = project.ask(["shown:value"], [{"user_id": number} for number in range(count)])
    return response.to_dict(include_event_timestamps=True)


@pytest.mark.parametrize("name", KEYS)
def test_a_join_key_of_any_type_that_feast_permits_finds_its_own_row(project: Project, name: str) -> None:
    kind, values = KEYS[name]
    one = entity("key", kind)
    project.apply(one, shown := view("shown", [one], source("unused.parquet"), {"place": ft.Int64}))
    rows = [
        (key(key=value), {"place": Value(int64_val=place)}, NOW, None) for place, value in enumerate(values)
    ]
    project.store.provider.online_store.online_write_batch(project.store.config, shown, rows, None)
    answer = project.online(["shown:place"], {"key": _plain(values)})
    assert answer["place"] == list(range(len(values)))


@pytest.mark.parametrize("first", KEYS)
@pytest.mark.parametrize("second", ["String", "Int64"])
def test_pairs_of_join_keys_of_any_type_find_their_own_rows(
    project: Project, first: str, second: str
) -> None:
    (left, lefts), (right, rights) = KEYS[first], KEYS[second]
    one, two = entity("zone", left), entity("area", right)
    project.apply(one, two, shown := view("shown", [one, two], source("unused.parquet"), {"place": ft.Int64}))
    pairs = [(a, b) for a in lefts for b in rights]
    rows = [
        (key(zone=a, area=b), {"place": Value(int64_val=place)}, NOW, None)
        for place, (a, b) in enumerate(pairs)
    ]
    project.store.provider.online_store.online_write_batch(project.store.config, shown, rows, None)
    asked = {"area": _plain([b for _, b in pairs]), "zone": _plain([a for a, _ in pairs])}
    assert project.online(["shown:place"], asked)["place"] == list(range(len(pairs)))


def _plain(values: list[Value]) -> list[Any]:
    return [getattr(value, value.WhichOneof("val")) for value in values]


def test_a_key_without_value_is_an_error_and_not_a_row(project: Project) -> None:
    shown = view("shown", [entity("key")], source("unused.parquet"), {"place": ft.Int64})
    nobody = (key(key=Value()), {"place": Value(int64_val=1)}, NOW, None)
    with pytest.raises(Exception, match=r"(?i)key|value type|entit"):
        project.store.provider.online_store.online_write_batch(project.store.config, shown, [nobody], None)
