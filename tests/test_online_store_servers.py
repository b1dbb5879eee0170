"""The online store on every kind of Redis: cluster, Sentinel, unix socket, access control; and on none that answers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.types.Value_pb2 import Value
from online_store_world import (
    NOW,
    answer,
    at,
    entity_key,
    feature_store,
    item,
    pair_view,
    user,
    user_view,
    write,
)
from redis_servers import cluster, free_port, running, sentinel

from feature_repo.errors import OnlineStoreError, SettingError
from materialization.data_plane.online.connection import ConnectionSettings, RedisConnections
from materialization.data_plane.online.redis_address import Address, masked
from materialization.private_redis import private_redis


@pytest.fixture(scope="module")
def cluster_ports() -> Iterator[list[int]]:
    with cluster() as ports:
        yield ports


def prove_a_round_trip(store: FeatureStore, folder: Path, users: int = 40) -> None:
    """Strings and hashes, synchronously and not, with late rows; then one view goes and the other stays."""
    activity, seen = user_view(folder), pair_view(folder)
    store.apply([user, item, activity, seen])
    at(store, NOW)
    plays = lambda number: {"plays": Value(int64_val=number)}  # noqa: E731
    write(store, activity, [({"user_id": u}, plays(u), NOW, None) for u in range(users)])
    write(
        store, activity, [({"user_id": u}, plays(-1), NOW - timedelta(hours=1), None) for u in range(users)]
    )
    pairs = [
        ({"user_id": u % 3, "item_id": f"i{u}"}, {"times": Value(int64_val=u)}, NOW, None)
        for u in range(users)
    ]
    write(store, seen, pairs)
    rows = [{"user_id": u % 3, "item_id": f"i{u}"} for u in range(users)]
    features = ["activity:plays", "seen:times"]
    found = answer(store, features, [*rows, {"user_id": 999, "item_id": "i0"}])
    assert [value for value, *_ in found["plays"]] == [*(u % 3 for u in range(users)), None]
    assert [value for value, *_ in found["times"]] == [*range(users), None]
    assert found["times"][-1][1] == "NOT_FOUND"
    asked = store.get_online_features_async(features=features, entity_rows=rows)
    assert asyncio.run(asked).to_dict()["times"] == list(range(users))
    online = store._get_provider().online_store
    asyncio.run(
        online.online_write_batch_async(
            store.config,
            activity,
            [(entity_key(user_id=0), plays(7), NOW + timedelta(minutes=1), None)],
            None,
        )
    )
    assert online.online_read(store.config, activity, [entity_key(user_id=0)])[0][1]["plays"].int64_val == 7
    online.update(store.config, [activity], [seen], [], [], False)
    assert online.online_read(store.config, activity, [entity_key(user_id=1)]) == [(None, None)]
    assert answer(store, ["seen:times"], rows)["times"][5][0] == 5
    online.teardown(store.config, [seen], [])
    assert answer(store, ["seen:times"], rows)["times"][5][1] == "NOT_FOUND"


def test_a_cluster_of_three(cluster_ports: list[int], tmp_path: Path) -> None:
    hosts = ",".join(f"127.0.0.1:{port}" for port in cluster_ports)
    prove_a_round_trip(feature_store(tmp_path, hosts, redis_type="redis_cluster"), tmp_path, users=400)
    assert sum(redis.Redis(port=port).dbsize() for port in cluster_ports) == 0


def test_rows_follow_a_slot_that_moves_to_another_node(cluster_ports: list[int], tmp_path: Path) -> None:
    store = feature_store(tmp_path, f"127.0.0.1:{cluster_ports[0]}", redis_type="redis_cluster")
    activity = user_view(tmp_path)
    store.apply([user, activity])
    at(store, NOW)
    row = lambda u, plays: ({"user_id": u}, {"plays": Value(int64_val=plays)}, NOW, None)  # noqa: E731
    write(store, activity, [row(u, 1) for u in range(200)])
    move_empty_slots(cluster_ports)
    write(store, activity, [row(u, 2) for u in range(200)])
    online = store._get_provider().online_store
    found = online.online_read(store.config, activity, [entity_key(user_id=u) for u in range(200)])
    assert [values["plays"].int64_val for _, values in found] == [2] * 200
    online.teardown(store.config, [activity], [])


def move_empty_slots(ports: list[int]) -> None:
    """Clients of the store do not know yet that the first node's slots have another owner."""
    first, second = redis.Redis(port=ports[0]), redis.Redis(port=ports[1])
    first.flushall()
    to = second.execute_command("CLUSTER", "MYID")
    for slot in range(0, 5461, 9):
        for port in ports:
            redis_of(port).execute_command("CLUSTER", "SETSLOT", slot, "NODE", to)


CLIENTS: dict[int, Any] = {}


def redis_of(port: int) -> Any:
    return CLIENTS.setdefault(port, redis.Redis(port=port))


def test_sentinel_names_the_primary(tmp_path: Path) -> None:
    with sentinel() as (port, _):
        prove_a_round_trip(
            feature_store(tmp_path, f"127.0.0.1:{port}", redis_type="redis_sentinel"), tmp_path
        )


@pytest.mark.parametrize("form", ["unix://{}", "{}", "unix://{}?db=2", "{},db=2"])
def test_a_unix_socket(form: str, tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    with running("--unixsocket", str(socket), "--save", "", folder=tmp_path):
        prove_a_round_trip(feature_store(tmp_path, form.format(socket)), tmp_path)


@pytest.mark.parametrize(
    "form", ["127.0.0.1:{},username=ranker,password=12345", "redis://ranker:12345@127.0.0.1:{}/0"]
)
def test_a_user_with_a_password_who_may_touch_the_store_s_keys_alone(form: str, tmp_path: Path) -> None:
    rights = "ranker on >12345 ~mq:* -@all +@read +@write +@connection +eval +evalsha"
    with running(
        "--save", "", "--user", *rights.split(), "--user", "default", "off", folder=tmp_path
    ) as port:
        prove_a_round_trip(feature_store(tmp_path, form.format(port)), tmp_path)
        store = feature_store(tmp_path, f"127.0.0.1:{port},username=ranker,password=wrong")
        with pytest.raises(
            OnlineStoreError, match=f"Redis at 127.0.0.1:{port}.*(password|WRONGPASS)"
        ) as raised:
            write(store, user_view(tmp_path), [({"user_id": 1}, {}, NOW, None)])
        assert "wrong" not in str(raised.value)


def test_a_refused_port_costs_one_attempt_and_says_where(tmp_path: Path) -> None:
    store = prepared(tmp_path, f"127.0.0.1:{free_port()}")
    for call in calls(store):
        started = time.perf_counter()
        with pytest.raises(
            OnlineStoreError, match=r"Redis at 127.0.0.1:\d+ cannot be reached: .*(refused|failed)"
        ):
            call()
        assert time.perf_counter() - started < 0.5


def test_a_stalled_server_costs_one_timeout(tmp_path: Path) -> None:
    times = {"connect_timeout_ms": 200, "command_timeout_ms": 200, "write_timeout_ms": 200}
    with private_redis(tmp_path) as server:
        store = prepared(tmp_path, f"127.0.0.1:{server.port}", **times)
        write(store, user_view(tmp_path), [({"user_id": 1}, {}, NOW, None)])
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for call in calls(store) * 2:
                started = time.perf_counter()
                with pytest.raises(OnlineStoreError, match=f"Redis at 127.0.0.1:{server.port}"):
                    call()
                assert 0.15 < time.perf_counter() - started < 0.7
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert store._get_provider().online_store.online_read(
            store.config, user_view(tmp_path), [entity_key(user_id=1)]
        )


def prepared(folder: Path, connection: str, **times: int) -> FeatureStore:
    store = feature_store(folder, connection, **times)
    view = user_view(folder)
    store.registry.apply_entity(user, store.project)
    store.registry.apply_feature_view(view, store.project)
    answer_types = store.get_feature_view("activity")
    assert answer_types.join_keys == ["user_id"]
    return store


def calls(store: FeatureStore) -> list[Any]:
    """A read and a write, synchronously and not."""
    rows, features = [{"user_id": 1}], ["activity:plays"]
    online, view = store._get_provider().online_store, store.get_feature_view("activity")
    data = [(entity_key(user_id=1), {}, NOW, None)]
    return [
        lambda: store.get_online_features(features=features, entity_rows=rows),
        lambda: asyncio.run(store.get_online_features_async(features=features, entity_rows=rows)),
        lambda: online.online_write_batch(store.config, view, data, None),
        lambda: asyncio.run(online.online_write_batch_async(store.config, view, data, None)),
    ]


def test_retries_are_as_many_as_configured() -> None:
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise OnlineStoreError("no")

    for retries in (0, 2):
        attempts.clear()
        with pytest.raises(OnlineStoreError):
            RedisConnections(ConnectionSettings("localhost", retries=retries)).tried(fail)
        assert len(attempts) == retries + 1


def test_who_finds_no_free_connection_waits_and_then_is_told(redis_url: str) -> None:
    connections = RedisConnections(ConnectionSettings(redis_url, max_connections=1, command_seconds=0.1))
    pool = connections.link().pool
    held = pool.get_connection()
    with pytest.raises(OnlineStoreError, match="No connection available"):
        connections.link().fields(b"mq:s|")
    threading.Timer(0.02, lambda: pool.release(held)).start()
    assert connections.link().fields(b"mq:s|") == {}


def test_a_child_process_opens_connections_of_its_own(redis_url: str) -> None:
    connections = RedisConnections(ConnectionSettings(redis_url, command_seconds=2, connect_seconds=2))
    assert connections.link().fields(b"mq:s|") == {}
    child = os.fork()
    if child == 0:
        os._exit(0 if connections.link().fields(b"mq:s|") == {} else 1)
    assert connections.link().fields(b"mq:s|") == {}
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("text", "hosts", "options"),
    [
        ("localhost:6379", (("localhost", 6379),), {}),
        ("redis", (("redis", 6379),), {}),
        ("a:1,b:2,db=3,ssl=true", (("a", 1), ("b", 2)), {"db": 3, "ssl": True}),
        ("a:1,password=007,username=1", (("a", 1),), {"password": "007", "username": "1"}),
        ("a:1,password=a=b", (("a", 1),), {"password": "a=b"}),
        ("[::1]:7", (("::1", 7),), {}),
        ("/tmp/r.sock,db=1", (), {"path": "/tmp/r.sock", "db": 1}),
        ("redis://u:p%2C@h:7/2", (("h", 7),), {"username": "u", "password": "p,", "db": 2}),
        ("rediss://h?ssl_ca_certs=/ca.pem", (("h", 6379),), {"ssl": True, "ssl_ca_certs": "/ca.pem"}),
        ("unix:///tmp/r.sock?db=1", (), {"path": "/tmp/r.sock", "db": 1}),
    ],
)
def test_connection_strings(text: str, hosts: Any, options: dict[str, Any]) -> None:
    assert Address.parse(text) == Address(hosts, options)


@pytest.mark.parametrize("text", ["", "db=1", "h:port", "http://h"])
def test_a_connection_string_that_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="connection_string"):
        Address.parse(text)


def test_an_option_that_redis_py_does_not_know_is_refused_without_showing_the_password() -> None:
    with pytest.raises(SettingError, match="sll_ca_certs"):
        RedisConnections(ConnectionSettings("h:1,sll_ca_certs=/ca.pem,password=secret")).link()
    assert masked("h:1,password=secret") == "h:1,password=***"


def test_tls_options_reach_the_connection() -> None:
    text = "h:1,ssl=true,ssl_ca_certs=/ca.pem,ssl_certfile=/c.pem,ssl_keyfile=/k.pem,ssl_cert_reqs=required"
    pool = RedisConnections(ConnectionSettings(text)).write_pool()
    connection = pool.connection_class(**pool.connection_kwargs)
    assert isinstance(connection, redis.SSLConnection)
    assert (connection.ca_certs, connection.certfile, connection.keyfile) == ("/ca.pem", "/c.pem", "/k.pem")
