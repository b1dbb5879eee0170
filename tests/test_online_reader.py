"""Both readers, of packed rows and of Feast's stock ones, give what Feast itself would give."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import redis
from feast import Entity, FeatureService, FeatureStore, FeatureView, FileSource, RepoConfig
from feast import Field as FeastField
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.columns import Ragged
from feature_repo.errors import BundleError, OnlineStoreError
from materialization.data_plane.online.batched_fetch import Presence
from materialization.data_plane.online.link import RedisLink
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.feast_value import decode_timestamp, decode_value
from ranking_service.online.feature_reader import FeatureReader, RedisPlace
from ranking_service.online.fetched import DegradedView, Fetched, Origin
from ranking_service.online.start_up import doubts
from ranking_service.online.stock_redis_reader import StockRedisReader
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import RedisSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = NOW.timestamp()
DAY = 86_400.0
TYPES = {
    "float": Float32,
    "double": Float64,
    "int64": Int64,
    "int32": Int32,
    "bool": Bool,
    "time": UnixTimestamp,
    "text": String,
    "texts": Array(String),
    "floats": Array(Float32),
    "doubles": Array(Float64),
    "integers": Array(Int64),
}
CONTRACT_TYPES = {
    "float": "FLOAT",
    "double": "DOUBLE",
    "int64": "INT64",
    "int32": "INT32",
    "bool": "BOOL",
    "time": "UNIX_TIMESTAMP",
    "text": "STRING",
    "texts": "STRING_LIST",
    "floats": "FLOAT_LIST",
    "doubles": "DOUBLE_LIST",
    "integers": "INT64_LIST",
}
VIEW_KEYS = {
    "user_all": ("user_id",),
    "item_all": ("item_id",),
    "item_more": ("item_id",),
    "pair_all": ("user_id", "item_id"),
}
STORES = {
    "packed": "materialization.data_plane.online_store.PackedRedisOnlineStore",
    "stock": "redis",
}
TTL = {"user_all": 0.0, "item_all": 7 * DAY, "item_more": 0.0, "pair_all": DAY}
VIEWS = frozenset(VIEW_KEYS)
T = TypeVar("T")
PREFIX = {"user_all": "u", "item_all": "i", "item_more": "m", "pair_all": "p"}


def view_fields(view: str) -> tuple[Field, ...]:
    """Each kind of value, and a second FLOAT so that rows have more than one."""
    kinds = {**CONTRACT_TYPES, "float2": "FLOAT"}
    return tuple(
        Field(f"{PREFIX[view]}_{kind}", value_type, float("nan")) for kind, value_type in kinds.items()
    )


CONTRACT = Contract(
    project="rank",
    service="ranker",
    views=tuple(ViewPlan(view, keys, view_fields(view), TTL[view], "") for view, keys in VIEW_KEYS.items()),
    request_fields=(),
    transforms=(),
    features=(),
)


def place(url: str, rows: str = "packed") -> RedisPlace:
    return RedisPlace(url, ServiceSettings(redis=RedisSettings(connect_seconds=1.0, rows=rows)))


class World:
    """A Feast project with one view per kind of key, and ways to store rows in it."""

    def __init__(self, folder: Path, url: str, rows: str) -> None:
        port = url.split(":")[2].split("/")[0]
        self.store = FeatureStore(
            config=RepoConfig(
                project="rank",
                provider="local",
                registry=str(folder / "registry.db"),
                online_store={"type": STORES[rows], "connection_string": f"127.0.0.1:{port}"},
                entity_key_serialization_version=3,
            )
        )
        entities = {
            key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING)
            for key in ("user_id", "item_id")
        }
        source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp")
        self.views = {
            name: FeatureView(
                name=name,
                entities=[entities[key] for key in keys],
                schema=[
                    *(FeastField(name=key, dtype=String) for key in keys),
                    *(
                        FeastField(
                            name=field.name,
                            dtype=TYPES[field.name[2:].replace("float2", "float")],
                        )
                        for field in view_fields(name)
                    ),
                ],
                source=source,
                ttl=timedelta(seconds=TTL[name]),
            )
            for name, keys in VIEW_KEYS.items()
        }
        service = FeatureService(name="ranker", features=list(self.views.values()))
        self.store.apply([*entities.values(), *self.views.values(), service])
        self.url, self.rows = url, rows
        self.client: Any = redis.Redis.from_url(url)
        self.loop = asyncio.new_event_loop()
        self.reader = self.open()
        self.store._get_provider().online_store.clock = lambda: AT

    def open(self, contract: Contract = CONTRACT) -> FeatureReader:
        """A reader with connections of its own."""
        return place(self.url, self.rows).reader(contract)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def fetch(self, user_id: str, item_ids: list[str], at: float = AT) -> Fetched:
        return self.do(self.reader.fetch(user_id, item_ids, at=at, seconds=2.0))

    def begin_anew(self) -> None:
        """No connection, and no memory, of an earlier test's."""
        self.do(self.reader.close())
        self.reader = self.open()

    def write(self, view: str, ids: dict[str, str], values: dict[str, Value], age: float = 0.0) -> None:
        """`values` by field name without the view's prefix; the row is `age` seconds old."""
        key = EntityKey(
            join_keys=list(ids), entity_values=[Value(string_val=value) for value in ids.values()]
        )
        named = {f"{PREFIX[view]}_{name}": value for name, value in values.items()}
        row = (key, named, NOW - timedelta(seconds=age), None)
        provider = self.store._get_provider()
        provider.online_write_batch(self.store.config, self.store.get_feature_view(view), [row], None)

    def feast_columns(self, user_id: str, item_ids: list[str]) -> dict[str, list[Any]]:
        answer = self.store.get_online_features(
            features=[f"{view}:{field.name}" for view in VIEW_KEYS for field in view_fields(view)],
            entity_rows=[{"user_id": user_id, "item_id": item_id} for item_id in item_ids],
        )
        return dict(answer.to_dict())


@pytest.fixture(scope="module")
def worlds(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    return {rows: World(tmp_path_factory.mktemp(rows), redis_server, rows) for rows in STORES}


def anew(world: World) -> World:
    world.begin_anew()
    return world


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, worlds: dict[str, World], redis_url: str) -> World:
    """The same project over an empty Redis."""
    assert redis_url
    return anew(worlds[request.param])


@pytest.fixture
def packed(worlds: dict[str, World], redis_url: str) -> World:
    assert redis_url
    return anew(worlds["packed"])


@pytest.fixture
def stock(worlds: dict[str, World], redis_url: str) -> World:
    assert redis_url
    return anew(worlds["stock"])


def plain(value: Any) -> Any:
    """A value of Feast's or ours, comparable: None for missing, lists as tuples."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(plain(entry) for entry in value)
    if isinstance(value, datetime):
        return value.timestamp()
    if value is None or isinstance(value, str):
        return value
    return None if np.isnan(value) else float(value)


def reader_columns(world: World, user_id: str, item_ids: list[str]) -> dict[str, list[Any]]:
    fetched = world.fetch(user_id, item_ids)
    assert not fetched.degraded, fetched.reason
    slate = fetched.slate({})
    return {
        name: [plain(value) for value in (column.to_lists() if isinstance(column, Ragged) else column)]
        for name, column in slate.items()
    }


def assert_equals_feast(world: World, user_id: str, item_ids: list[str]) -> None:
    ours, theirs = reader_columns(world, user_id, item_ids), world.feast_columns(user_id, item_ids)
    for view in CONTRACT.views:
        for field in view.fields:
            expected = [plain(value) for value in theirs[field.name]]
            if field.is_list:
                expected = [() if value is None else value for value in expected]
            assert ours[field.name] == expected, field.name


def listed(kind: str, values: list[Any]) -> Value:
    message = Value()
    target = getattr(message, kind)
    target.SetInParent()
    target.val.extend(values)
    return message


WORDS = listed("string_list_val", ["y"])

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=32, allow_nan=False)
DOUBLE = st.floats(allow_nan=False)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
MOMENT = st.integers(0, 4_000_000_000)


def maybe(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value | None]:
    """A value, the null Feast writes, or no field at all."""
    return st.one_of(values, st.just(Value()), st.none())


VALUES = {
    "float": maybe(st.builds(lambda x: Value(float_val=x), FLOAT)),
    "float2": maybe(st.builds(lambda x: Value(float_val=x), FLOAT)),
    "double": maybe(st.builds(lambda x: Value(double_val=x), DOUBLE)),
    "int64": maybe(st.builds(lambda x: Value(int64_val=x), INT64)),
    "int32": maybe(st.builds(lambda x: Value(int32_val=x), st.integers(-(2**31), 2**31 - 1))),
    "bool": maybe(st.builds(lambda x: Value(bool_val=x), st.booleans())),
    "time": maybe(st.builds(lambda x: Value(unix_timestamp_val=x), MOMENT)),
    "text": maybe(st.builds(lambda x: Value(string_val=x), TEXT)),
    "texts": maybe(st.builds(lambda x: listed("string_list_val", x), st.lists(TEXT, max_size=4))),
    "floats": maybe(st.builds(lambda x: listed("float_list_val", x), st.lists(FLOAT, max_size=4))),
    "doubles": maybe(st.builds(lambda x: listed("double_list_val", x), st.lists(DOUBLE, max_size=4))),
    "integers": maybe(st.builds(lambda x: listed("int64_list_val", x), st.lists(INT64, max_size=4))),
}
ROW = st.fixed_dictionaries(VALUES).map(
    lambda row: {name: value for name, value in row.items() if value is not None}
)
ID = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)


@given(
    user=ID,
    items=st.lists(ID, min_size=1, max_size=4, unique=True),
    rows=st.lists(ROW, min_size=4, max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stored_rows_read_as_feast_reads_them(
    world: World, user: str, items: list[str], rows: list[dict[str, Value]]
) -> None:
    world.client.flushall()
    world.write("user_all", {"user_id": user}, rows[0])
    for index, item in enumerate(items):
        world.write("item_all", {"item_id": item}, rows[index % 4])
        if index % 2:
            world.write("item_more", {"item_id": item}, rows[(index + 1) % 4])
            world.write("pair_all", {"item_id": item, "user_id": user}, rows[(index + 2) % 4])
    assert_equals_feast(world, user, items)


@given(user=ID, item=ID)
def test_keys_are_feasts_own(user: str, item: str) -> None:
    reader = StockRedisReader.compile(
        CONTRACT, RedisLink.connect("redis://unused", timeout_seconds=1, connect_seconds=1)
    )
    commands = reader.groups[("item_id", "user_id")].commands([_part(item) + _part(user)])
    pair = EntityKey(
        join_keys=["user_id", "item_id"], entity_values=[Value(string_val=user), Value(string_val=item)]
    )
    key = _redis_key("rank", pair, entity_key_serialization_version=3)
    assert commands.split(b"HMGET\r\n")[1].startswith(b"$%d\r\n%b\r\n" % (len(key), key))
    assert _mmh3("pair_all:p_text") in commands


def _part(text: str) -> bytes:
    from ranking_service.online.stock_redis_reader import _text_bytes

    return _text_bytes(text)


def assert_nothing_was_read(fetched: Fetched) -> None:
    """Every view says so, and every value is missing."""
    assert {view.view: view.level for view in fetched.degraded} == dict.fromkeys(VIEWS, 2)
    for rows in (fetched.user, fetched.item, fetched.pair):
        for name, view in rows.views.items():
            assert set(view.presence.tolist()) == {Origin.UNREAD}, name
    for name, column in fetched.slate({}).items():
        values = column.to_lists() if isinstance(column, Ragged) else column
        assert not any(map(plain, values)), name
    assert fetched.missing()[1] == fetched.candidate_count


def test_nothing_stored_is_all_missing_and_not_found(world: World) -> None:
    fetched = world.fetch("nobody", ["a", "b"])
    slate = fetched.slate({})
    assert np.isnan(slate["i_float"]).all()
    assert np.isnan(slate["u_int64"]).all()
    assert slate["p_text"].tolist() == [None, None]
    assert slate["i_texts"].lengths.tolist() == [0, 0]
    assert {len(column) for column in slate.values()} == {2}
    assert fetched.item.views["item_all"].presence.tolist() == [Presence.NOT_FOUND] * 2
    assert np.isnan(fetched.item.views["item_all"].event_timestamps).all()
    assert fetched.missing() == ({"user_all": 2, "item_all": 2, "item_more": 2, "pair_all": 2}, 2)


def test_a_row_counts_up_to_its_ttl_and_not_after(world: World) -> None:
    values = {
        "float": Value(float_val=1),
        "text": Value(string_val="x"),
        "texts": listed("string_list_val", ["y"]),
    }
    for item, age in (("young", 0.0), ("at the limit", 7 * DAY), ("too old", 7 * DAY + 1)):
        world.write("item_all", {"item_id": item}, values, age)
        world.write("item_more", {"item_id": item}, values, 70 * DAY)
    fetched = world.fetch("u", ["young", "at the limit", "too old"])
    item = fetched.item
    assert item.views["item_all"].presence.tolist() == [Presence.FOUND, Presence.FOUND, Presence.EXPIRED]
    assert item.views["item_all"].event_timestamps.tolist() == [AT, AT - 7 * DAY, AT - 7 * DAY - 1]
    assert [plain(value) for value in item.columns["i_float"]] == [1, 1, None]
    assert item.columns["i_text"].tolist() == ["x", "x", None]
    assert item.columns["i_texts"].lengths.tolist() == [1, 1, 0]
    assert item.columns["m_float"].tolist() == [1, 1, 1], "ttl 0 means no limit"


def test_ttl_counts_from_the_requests_time(world: World) -> None:
    world.write("item_all", {"item_id": "i"}, {"float": Value(float_val=1)})
    later = world.fetch("u", ["i"], at=AT + 8 * DAY)
    assert later.item.views["item_all"].presence.tolist() == [Presence.EXPIRED]


@pytest.mark.parametrize(("rows", "commands"), [("packed", 2 + 1), ("stock", 1 + 500 + 500)])
def test_a_fetch_is_one_round_trip(
    worlds: dict[str, World], redis_url: str, rows: str, commands: int
) -> None:
    assert redis_url
    world = anew(worlds[rows])
    world.fetch("u", ["i"])
    before = world.client.info("stats")
    world.fetch("u", [f"item {index}" for index in range(500)])
    after = world.client.info("stats")
    assert after["total_commands_processed"] - before["total_commands_processed"] == commands + 1
    assert after["total_connections_received"] == before["total_connections_received"]


@pytest.mark.parametrize("rows", STORES)
def test_a_value_of_another_type_is_not_used_and_the_reason_names_the_feature(
    worlds: dict[str, World], redis_url: str, rows: str
) -> None:
    assert redis_url
    world = anew(worlds[rows])
    world.write("item_all", {"item_id": "i"}, {"float": Value(string_val="text")})
    fetched = world.fetch("u", ["i"])
    assert "item_all:i_float is FLOAT" in fetched.reason
    assert_nothing_was_read(fetched)


def test_a_number_stored_as_double_where_float_is_declared_is_read(stock: World) -> None:
    world = stock
    values = {"float": Value(double_val=1.5), "float2": Value(null_val=0)}
    world.write("item_all", {"item_id": "i"}, values)
    column = world.fetch("u", ["i"]).item.columns["i_float"]
    assert column.tolist() == [1.5]
    assert column.dtype == np.float64


def test_an_explicit_null_is_missing_where_feast_would_read_zero(world: World) -> None:
    world.write("item_all", {"item_id": "i"}, {kind: Value(null_val=0) for kind in CONTRACT_TYPES})
    for name, column in world.fetch("u", ["i"]).item.columns.items():
        assert not plain(column.to_lists()[0] if isinstance(column, Ragged) else column[0]), name


def flip_a_bit(client: Any, key: bytes) -> None:
    """In the middle of what Redis holds."""
    row = client.get(key)
    client.setrange(key, len(row) // 2, bytes([row[len(row) // 2] ^ 1]))


@pytest.mark.parametrize("harm", [flip_a_bit, lambda client, key: client.set(key, client.get(key)[:-3])])
def test_a_damaged_row_is_unread_and_said_to_be_and_the_others_are_fine(
    packed: World, harm: Callable[[Any, bytes], object]
) -> None:
    values = {"float": Value(float_val=1), "text": Value(string_val="x")}
    for item in ("harmed", "whole"):
        packed.write("item_all", {"item_id": item}, values)
    harm(packed.client, next(key for key in packed.client.keys(b"*item_all*") if key.endswith(b"harmed")))
    for _ in range(2):
        fetched = packed.fetch("u", ["harmed", "whole", "none"])
        view = fetched.item.views["item_all"]
        assert view.presence.tolist() == [Origin.UNREAD, Origin.FOUND, Origin.NOT_FOUND]
        assert [plain(value) for value in view.event_timestamps] == [None, AT, None]
        assert [plain(value) for value in fetched.item.columns["i_float"]] == [None, 1, None]
        assert fetched.item.columns["i_text"].tolist() == [None, "x", None]
        assert fetched.degraded == (DegradedView("item_all", 2, 0, 0.0),)
        assert fetched.reason == "rows of item_all in Redis are damaged"
    packed.write("item_all", {"item_id": "harmed"}, values)
    fetched = packed.fetch("u", ["harmed", "whole"])
    assert (fetched.degraded, fetched.reason) == ((), "")
    assert [plain(value) for value in fetched.item.columns["i_float"]] == [1, 1]


def test_a_damaged_row_is_not_remembered_for_when_redis_is_gone(packed: World) -> None:
    """Of the user's read last, the one before counts."""
    packed.write("user_all", {"user_id": "u"}, {"float": Value(float_val=3)})
    packed.write("pair_all", {"user_id": "u", "item_id": "i"}, {"text": Value(string_val="seen")})
    packed.fetch("u", ["i", "none"])
    flip_a_bit(packed.client, next(iter(packed.client.keys(b"mq:r|*user_all*"))))
    assert packed.fetch("u", ["i", "none"]).user.views["user_all"].presence.tolist() == [Origin.UNREAD]
    without = packed.do(packed.reader.fetch("u", ["i", "none"], at=AT, seconds=0.0))
    assert without.user.views["user_all"].presence.tolist() == [Origin.LAST_KNOWN]
    assert without.user.columns["u_float"].tolist() == [3]
    assert without.pair.columns["p_text"].tolist() == ["seen", None]


def test_rows_of_an_older_definition_are_read_by_the_columns_both_have(packed: World) -> None:
    packed.write("item_all", {"item_id": "i"}, {"float": Value(float_val=1), "text": Value(string_val="x")})
    grown = (Field("i_new", "FLOAT", 0.0), *view_fields("item_all"))
    views = tuple(
        ViewPlan(view.name, view.join_keys, grown if view.name == "item_all" else view.fields, 0.0, "")
        for view in CONTRACT.views
    )
    contract = Contract("rank", "ranker", views, (), (), ())
    reader = packed.open(contract)
    columns = packed.do(reader.fetch("u", ["i"], at=AT, seconds=2.0)).item.columns
    packed.do(reader.close())
    assert [plain(columns[name][0]) for name in ("i_new", "i_float", "i_text")] == [None, 1, "x"]
    (doubt,) = doubts(contract, place(packed.url))
    assert "rows of item_all under another definition" in doubt
    assert list(doubts(CONTRACT, place(packed.url))) == []


def test_requests_that_meet_a_new_definition_at_once_all_wait_for_it(packed: World) -> None:
    packed.write("item_all", {"item_id": "i"}, {"float": Value(float_val=1)})
    grown = (Field("i_new", "FLOAT", 0.0), *view_fields("item_all"))
    views = tuple(replace(view, fields=grown) if view.name == "item_all" else view for view in CONTRACT.views)
    reader = packed.open(Contract("rank", "ranker", views, (), (), ()))

    async def at_once() -> list[Fetched]:
        return await asyncio.gather(*(reader.fetch("u", ["i"], at=AT, seconds=2.0) for _ in range(5)))

    found = packed.do(at_once())
    packed.do(reader.close())
    assert [(one.reason, one.item.columns["i_float"].tolist()) for one in found] == [("", [1.0])] * 5


def test_a_key_that_is_no_hash_is_the_reason_and_the_next_request_is_fine(stock: World) -> None:
    world = stock
    key = EntityKey(join_keys=["item_id"], entity_values=[Value(string_val="bad")])
    world.client.set(_redis_key("rank", key, entity_key_serialization_version=3), "a string")
    world.write("item_all", {"item_id": "good"}, {"float": Value(float_val=2)})
    fetched = world.fetch("u", ["bad", "good"])
    assert "WRONGTYPE" in fetched.reason
    assert_nothing_was_read(fetched)
    assert world.fetch("u", ["good"]).item.columns["i_float"].tolist() == [2]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("rows", STORES)
def test_a_stalled_server_costs_the_time_for_features(silent_port: int, rows: str) -> None:
    async def stalled() -> Fetched:
        reader = place(f"redis://127.0.0.1:{silent_port}", rows).reader(CONTRACT)
        try:
            return await reader.fetch("u", ["i"], at=AT, seconds=0.2)
        finally:
            await reader.close()

    started = time.monotonic()
    fetched = asyncio.run(stalled())
    assert time.monotonic() - started < 1.5
    assert f"127.0.0.1:{silent_port}" in fetched.reason
    assert_nothing_was_read(fetched)


def test_a_refused_connection_is_an_error_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    link = RedisLink.connect(f"redis://127.0.0.1:{port}", timeout_seconds=0.2, connect_seconds=0.2)
    started = time.monotonic()
    with pytest.raises(OnlineStoreError, match="cannot be reached"):
        link.ping()
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize("rows", STORES)
def test_a_view_keyed_by_something_a_request_lacks_is_refused_by_name(rows: str) -> None:
    strange = Contract("rank", "ranker", (ViewPlan("author_stats", ("author_id",), (), 0, ""),), (), (), ())
    with pytest.raises(BundleError, match="author_stats"):
        place("redis://unused", rows).reader(strange)


@given(st.integers(-62_000_000_000, 250_000_000_000), st.integers(0, 999_999))
def test_event_times_decode_as_protobuf_reads_them(seconds: int, micros: int) -> None:
    raw = Timestamp(seconds=seconds, nanos=micros * 1000).SerializeToString()
    assert decode_timestamp(raw) == (seconds * 10**6 + micros) / 10**6


@given(st.binary(min_size=1, max_size=12))
def test_nonsense_bytes_are_a_value_or_a_typed_error(raw: bytes) -> None:
    try:
        value = decode_value(raw)
    except OnlineStoreError:
        return
    assert value is None or isinstance(value, (bool, int, float, str, bytes, list))


def test_the_reader_does_not_import_feast() -> None:
    program = "import sys, ranking_service.online.feature_reader; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
