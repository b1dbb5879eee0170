"""Of several writers' rows the newest stays: any order, any batches, any number of writers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed_rows_values import as_format_1

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.connection import ConnectionSettings, RedisConnections
from materialization.data_plane.online.writing import RowWriter, Written
from materialization.data_plane.rows.keys import ViewKeys
from materialization.data_plane.rows.layout import NO_TIME, Layout
from materialization.data_plane.rows.values import pack_row

LAYOUT = Layout.of([("writer", "INT64")])
STRINGS, PAIRS = ViewKeys("rank", "v", ("user",)), ViewKeys("rank", "pairs", ("user", "item"))
NOW = 1_800_000_000.0
TIMES = st.sampled_from(
    [NO_TIME, -(2**62), -(2**32), -1, 0, 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1]
) | st.integers(-(2**63), 2**63 - 1)
WRITES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), TIMES, TIMES), max_size=30)
"""(user, item, event time, created time) each; which is which is told by its place in the list."""
BOTH = pytest.mark.parametrize("keys", [STRINGS, PAIRS], ids=["strings", "hashes"])


def writer(url: str, keys: ViewKeys = STRINGS, expire_ms: int = 0, now: float = NOW) -> RowWriter:
    return RowWriter(RedisConnections(ConnectionSettings(url)), keys, expire_ms, lambda: now)


def row(number: int, event: int, created: int = NO_TIME) -> bytes:
    return pack_row(LAYOUT, {"writer": Value(int64_val=number)}, event=event, created=created)


def stored(client: Any, keys: ViewKeys) -> dict[tuple[bytes, bytes], bytes]:
    if not keys.is_hash:
        return {(key, b""): client.get(key) for key in client.scan_iter(keys.all_rows)}
    return {
        (key, name): value
        for key in client.scan_iter(keys.all_rows)
        for name, value in client.hgetall(key).items()
    }


def put(into: RowWriter, writes: Sequence[tuple[int, int, int, int]], first: int = 0) -> Written:
    keys = [into.keys.prefix + b"l%d" % user for user, *_ in writes]
    fields = [b"l%d" % item for _, item, *_ in writes] if into.keys.is_hash else None
    rows = [row(number, event, created) for number, (*_, event, created) in enumerate(writes, start=first)]
    return into.write(keys, fields, rows)


def newest(keys: ViewKeys, writes: Sequence[tuple[int, int, int, int]]) -> dict[tuple[bytes, bytes], bytes]:
    """The naive model: a row stays unless an arriving one is at least as new."""
    model: dict[tuple[bytes, bytes], tuple[tuple[int, int], bytes]] = {}
    for number, (user, item, event, created) in enumerate(writes):
        place = keys.prefix + b"l%d" % user, b"l%d" % item if keys.is_hash else b""
        if place not in model or (event, created) >= model[place][0]:
            model[place] = (event, created), row(number, event, created)
    return {place: packed for place, (_, packed) in model.items()}


@BOTH
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES, cuts=st.lists(st.integers(0, 30), max_size=3))
def test_the_newest_row_stays_whatever_the_order_and_the_batches(
    redis_url: str, keys: ViewKeys, writes: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    client, into = redis.Redis.from_url(redis_url), writer(redis_url, keys)
    client.flushall()
    ends = [0, *sorted(cut for cut in cuts if cut < len(writes)), len(writes)]
    done = [put(into, writes[start:end], start) for start, end in pairwise(ends)]
    assert stored(client, keys) == newest(keys, writes)
    assert sum(written.applied + written.superseded for written in done) == len(writes)
    into.connections.close()


@BOTH
def test_more_rows_than_fit_one_call_are_written_in_order(redis_url: str, keys: ViewKeys) -> None:
    writes = [(number % 300, number % 2, 10, number) for number in range(2_000)]
    written = put(writer(redis_url, keys), writes[::-1])
    assert stored(redis.Redis.from_url(redis_url), keys).keys() == newest(keys, writes).keys()
    assert written == Written(applied=300, superseded=1_700)


@BOTH
def test_a_value_that_is_no_row_is_replaced(redis_url: str, keys: ViewKeys) -> None:
    client, place = redis.Redis.from_url(redis_url), keys.prefix + b"l0"
    for junk in (b"", b"short", b"\x03" + row(0, 2**62)[1:]):
        client.hset(place, b"l0", junk) if keys.is_hash else client.set(place, junk)
        assert put(writer(redis_url, keys), [(0, 0, 5, 5)]) == Written(applied=1)
        assert stored(client, keys) == {(place, b"l0" if keys.is_hash else b""): row(0, 5, 5)}


@BOTH
def test_a_newer_row_of_the_format_before_stays(redis_url: str, keys: ViewKeys) -> None:
    client, place = redis.Redis.from_url(redis_url), keys.prefix + b"l0"
    older = as_format_1(LAYOUT, row(0, 5))
    client.hset(place, b"l0", older) if keys.is_hash else client.set(place, older)
    assert put(writer(redis_url, keys), [(0, 0, 4, 5), (0, 0, 6, 5)]) == Written(applied=1, superseded=1)


@BOTH
def test_many_threads_end_with_the_newest_row_of_every_entity(redis_url: str, keys: ViewKeys) -> None:
    into = writer(redis_url, keys)
    writes = [(number % 7, number % 3, (number * 7919) % 97, number) for number in range(1_200)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda start: put(into, writes[start : start + 10], start), range(0, len(writes), 10)))
    assert stored(redis.Redis.from_url(redis_url), keys) == newest(keys, writes)


PROCESS = """
import sys
import numpy as np
import pyarrow as pa
from materialization.data_plane.online.connection import ConnectionSettings, RedisConnections
from materialization.data_plane.rows.keys import ViewKeys
from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.packing import pack
from materialization.data_plane.online.writing import RowWriter

url, number, layout = sys.argv[1], int(sys.argv[2]), Layout.of([("writer", "INT64")])
connections = RedisConnections(ConnectionSettings(url))
for keys in (ViewKeys("rank", "v", ("user",)), ViewKeys("rank", "pairs", ("user", "item"))):
    into = RowWriter(connections, keys)
    for step in range(200):
        event, created = np.full(5, (step * 37 + number * 11) % 101), np.full(5, number)
        rows = pack(layout, {"writer": pa.array([number] * 5)}, event=event, created=created).to_pylist()
        places = [keys.prefix + b"l%d" % user for user in range(5)]
        into.write(places, [b"l0"] * 5 if keys.is_hash else None, rows)
"""


def test_many_processes_end_with_the_newest_row_of_every_entity(redis_url: str) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, redis_url, str(number)]) for number in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    client = redis.Redis.from_url(redis_url)
    best = max(((event * 37 + number * 11) % 101, number) for event in range(200) for number in range(4))
    for keys in (STRINGS, PAIRS):
        rows = stored(client, keys)
        assert len(rows) == 5
        found = {
            (int.from_bytes(raw[8:16], "little"), int.from_bytes(raw[16:24], "little"))
            for raw in rows.values()
        }
        assert found == {best}


def test_the_script_is_sent_again_when_the_server_has_forgotten_it_meanwhile(redis_url: str) -> None:
    client, into = redis.Redis.from_url(redis_url), writer(redis_url)
    writes = [(number, 0, 1, 1) for number in range(30_000)]
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(put, into, writes)
        while not under_way.done():
            client.script_flush()
        assert under_way.result() == Written(applied=30_000)
    assert client.dbsize() == 30_000


def test_a_string_expires_after_its_view_s_time_and_later_by_what_its_event_lies_ahead(
    redis_url: str,
) -> None:
    client, into = redis.Redis.from_url(redis_url), writer(redis_url, expire_ms=10_000)
    put(into, [(0, 0, int(NOW * 1e6) - 10**12, 0), (1, 0, int((NOW + 60) * 1e6), 0)])
    assert 9_000 < client.pttl(STRINGS.prefix + b"l0") <= 10_000
    assert 69_000 < client.pttl(STRINGS.prefix + b"l1") <= 70_000
    put(into, [(1, 0, 5, 5)])
    assert client.pttl(STRINGS.prefix + b"l1") > 69_000, "a superseded row changes nothing"
    put(writer(redis_url), [(0, 0, int(NOW * 1e6), 0)])
    assert client.pttl(STRINGS.prefix + b"l0") == -1, "a view without ttl keeps its rows"


def test_a_hash_stays_as_long_as_the_row_in_it_that_may_stay_longest(redis_url: str) -> None:
    client, into, key = (
        redis.Redis.from_url(redis_url),
        writer(redis_url, PAIRS, expire_ms=10_000),
        PAIRS.prefix + b"l0",
    )
    put(into, [(0, 0, int((NOW + 60) * 1e6), 0), (0, 1, int(NOW * 1e6), 0)])
    assert 69_000 < client.pttl(key) <= 70_000
    put(into, [(0, 2, int(NOW * 1e6), 0)])
    assert client.pttl(key) > 69_000, "an expiry is never shortened"
    put(writer(redis_url, PAIRS), [(0, 3, int(NOW * 1e6), 0)])
    assert client.pttl(key) == -1
    put(into, [(0, 4, int(NOW * 1e6), 0)])
    assert 9_000 < client.pttl(key) <= 10_000


def test_an_event_at_the_end_of_time_is_no_error(redis_url: str) -> None:
    put(writer(redis_url, expire_ms=1_000), [(0, 0, 2**63 - 1, 2**63 - 1), (1, 0, -(2**63), -(2**63))])
    assert redis.Redis.from_url(redis_url).dbsize() == 2


def test_a_server_that_refuses_writes_is_an_error_that_says_why(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(OnlineStoreError, match=f"{urlsplit(redis_url).port}.*view v.*maxmemory"):
            put(writer(redis_url), [(number, 0, 1, 1) for number in range(5_000)])
    finally:
        client.config_set("maxmemory", "0")
