"""`marquee bench rank` on small worlds: real servers, real floors, and floors that do the work they are said to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import redis
from bench_worlds import PLAN, SMALL, figure, medians

from feature_repo.errors import MissingInputError, OnlineStoreError, SettingError
from materialization.private_redis import private_redis
from ranking_service.bench.bare_redis import BarePool, BareRead, BareRedis, Endpoint
from ranking_service.bench.calls import Caller
from ranking_service.bench.floor_server import patient_link
from ranking_service.bench.one_client import (
    EMPTY_CALL,
    FEAST,
    FETCH,
    PREDICT,
    RANK,
    bare_model,
    check_scores,
    complete_answer,
)
from ranking_service.bench.processes import ServeOptions, floor, serving
from ranking_service.bench.rank import measure
from ranking_service.bench.sizes import (
    LATENCY,
    STOCK,
)
from ranking_service.bench.slates import PARTS, Case
from ranking_service.bench.stored import StoredRows
from ranking_service.bench.world import BenchWorld, floats_world, ranker_world
from ranking_service.proto import ranking_pb2


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> BenchWorld:
    return floats_world(tmp_path / "world", redis_url, SMALL)


def test_one_client_is_measured_next_to_its_floors_and_to_stock(world: BenchWorld) -> None:
    result = measure(world, PLAN, only=(LATENCY, STOCK))
    found = medians(result.findings, LATENCY)
    assert set(found) >= {RANK, EMPTY_CALL, FETCH, PREDICT, "Rank: fetch", "Rank: total"}
    floors = found[EMPTY_CALL] + found[FETCH] + found[PREDICT]
    assert figure(result.findings, "sum of the three floors") == pytest.approx(floors)
    assert figure(result.findings, "median next to") == pytest.approx(found[RANK] / floors)
    stock = medians(result.findings, STOCK)[FEAST]
    assert figure(result.findings, "times faster") == pytest.approx(stock / found[RANK])
    assert {one.name: one.times for one in result.findings.measured}[FEAST] == 2
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert written["setting"]["features"] == 10
    assert written["setting"]["plan"]["size"]["trees"] == 3


def test_the_floor_reads_the_keys_that_the_server_reads(world: BenchWorld, tmp_path: Path) -> None:
    slate = world.draws[0]
    with serving(world, tmp_path, ServeOptions(cache=False)) as server, Caller(server.address) as caller:
        commands = _commands(world.redis_url, lambda: caller.rank(slate.message(world.at)))
    strings, hashes = StoredRows.of(world.contract).reads(slate)
    expected = {("MGET", key) for key in strings} | {
        ("HMGET", key + b" " + name) for key, names in hashes for name in names
    }
    read = {("MGET", word) for name, *words in commands if name == "MGET" for word in words}
    read |= {
        ("HMGET", key + b" " + word)
        for name, *rest in commands
        if name == "HMGET"
        for key, *words in [rest]
        for word in words
    }
    assert {(name, text.decode()) for name, text in expected} == {
        (name, text.decode()) for name, text in read
    }


def _commands(redis_url: str, act: Callable[[], object]) -> list[list[Any]]:
    """What Redis was asked meanwhile: the name, then the words as bytes."""
    client: Any = redis.Redis.from_url(redis_url)
    seen: list[list[Any]] = []
    with client.monitor() as monitor:

        def watch() -> None:
            for one in monitor.listen():
                name, *words = one["command"].split(" ")
                if [name, *words] == ["ECHO", "over"]:
                    return
                seen.append([name, *(word.encode() for word in words)])

        watcher = Thread(target=watch)
        watcher.start()
        act()
        client.echo("over")
        watcher.join(10)
        assert not watcher.is_alive()
    return seen


def test_the_bare_read_waits_for_every_byte_and_no_more(world: BenchWorld) -> None:
    slate, link = world.draws[0], patient_link(world.redis_url)
    stored = StoredRows.of(world.contract)
    unknown = replace(slate, item_ids=(*slate.item_ids, "never stored"))
    read = BareRead.planned(link, *stored.reads(unknown))
    rows = link.read(*stored.reads(unknown))
    assert rows.count(None) == 2
    assert read.reply_bytes > sum(len(row) for row in rows if row is not None)
    socket = BareRedis(Endpoint.of(world.redis_url)).connect()
    for _ in range(3):
        socket.fetch(read)
    socket._socket.sendall(b"PING\r\n")
    assert socket._socket.recv(100) == b"+PONG\r\n"
    socket.close()


def test_many_bare_reads_at_once_have_connections_of_their_own(world: BenchWorld) -> None:
    link, stored = patient_link(world.redis_url), StoredRows.of(world.contract)
    reads = [BareRead.planned(link, *stored.reads(slate)) for slate in world.draws]

    async def read_all() -> int:
        pool = BarePool(Endpoint.of(world.redis_url))
        for _ in range(3):
            await asyncio.gather(*map(pool.fetch, reads))
        return len(pool._idle)

    assert asyncio.run(read_all()) == len(reads)


def test_a_bare_socket_says_its_password_and_chooses_its_database(redis_url: str) -> None:
    client: Any = redis.Redis.from_url(redis_url)
    client.set("place", "zero")
    client.config_set("requirepass", "secret")
    try:
        url = redis_url.replace("redis://", "redis://:secret@").replace("/0", "/3")
        link = patient_link(url)
        link.exchange(b"SET place three\r\n", 1)
        read = BareRead.planned(link, [b"place"], [])
        bare = BareRedis(Endpoint.of(url)).connect()
        bare._socket.sendall(read.commands)
        assert bare._socket.recv(100) == b"*1\r\n$5\r\nthree\r\n"
        bare.close()
    finally:
        client.config_set("requirepass", "")
    with pytest.raises(SettingError, match="without TLS"):
        Endpoint.of("rediss://127.0.0.1:1/0")


def test_the_floor_answers_with_what_it_was_given_after_its_bare_work(
    world: BenchWorld, tmp_path: Path
) -> None:
    answer = ranking_pb2.RankResponse(items=[ranking_pb2.RankedItem(item_id="a", score=0.5)])
    client: Any = redis.Redis.from_url(world.redis_url)
    payload = answer.SerializeToString()
    with (
        floor(world, tmp_path, PARTS, slates=world.draws, answer=payload, workers=2) as running,
        Caller(running.address) as caller,
    ):
        before = client.info("stats")["total_commands_processed"]
        found = [caller.rank(slate.message(world.at)) for slate in world.draws]
        asked = client.info("stats")["total_commands_processed"] - before
    assert {one.worker for one in found} <= {0, 1}
    for one in found:
        one.ClearField("worker")
    assert found == [answer] * 3
    assert asked >= 2 * 3  # MGET and HMGET for each request
    assert len(running.process_ids) == 2


def test_the_models_of_floor_and_server_see_the_same_rows(redis_url: str, tmp_path: Path) -> None:
    """Also those of the declared feature service, with its texts, lists and request-time transforms."""
    world = ranker_world(tmp_path / "world", redis_url, replace(SMALL, trees=30, depth=6))
    slate = world.draws[0]
    _, scores = bare_model(world, StoredRows.of(world.contract))
    with serving(world, tmp_path) as server, Caller(server.address) as caller:
        answer = complete_answer(caller, slate.message(world.at))
    assert answer.incomplete_candidates == 0
    assert len(np.unique(scores)) > 1
    check_scores(slate, answer, scores)
    with pytest.raises(OnlineStoreError, match="differ"):
        check_scores(slate, answer, scores + 0.01)


def test_requests_of_another_process_are_the_same(world: BenchWorld, tmp_path: Path) -> None:
    case = world.case(world.draws)
    assert Case.read(case.write(tmp_path / "case.json")) == case
    message = case.messages()[0]
    assert list(message.candidate_ids) == list(world.draws[0].item_ids)
    assert message.context.request_time.ToDatetime() == world.at.replace(tzinfo=None)


def test_a_server_that_ends_instead_of_serving_is_told_with_its_message(
    world: BenchWorld, tmp_path: Path
) -> None:
    with private_redis() as gone:
        pass
    lost = replace(world, redis_url=gone.url)
    with (
        pytest.raises(MissingInputError, match=r"with code 1 before it served(.|\n)*Redis"),
        serving(lost, tmp_path),
    ):
        pass
