"""What a stop waits for, and what not: running work is finished, calls that nobody works on are cut."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from online_world import OnlineWorld
from redis_servers import free_port

from ranking_service.models.served import DEFAULT
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server import drain as drain_module
from ranking_service.server.drain import Underway, drain
from ranking_service.server.http import Workers
from ranking_service.server.server import LoopServer, Place
from ranking_service.settings import ServiceSettings

METHOD = "/test.Test/Call"
CUT = {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
LONG = 20.0


@asynccontextmanager
async def called(handler: Callable[[bytes, Any], Any]) -> AsyncIterator[tuple[Any, Any]]:
    """A server of one method, and that method at a client."""
    method = grpc.unary_unary_rpc_method_handler(handler)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", {"Call": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield server, channel.unary_unary(METHOD)
        finally:
            await server.stop(None)


async def seconds_of(work: Any) -> float:
    before = time.monotonic()
    await work
    return time.monotonic() - before


def test_a_call_that_nobody_works_on_is_cut_and_not_waited_for() -> None:
    """As one is that gRPC lost: it is open, and no code of ours knows of it."""

    async def story() -> None:
        lost = asyncio.Event()

        async def handler(_: bytes, __: Any) -> bytes:
            lost.set()
            await asyncio.sleep(LONG)
            return b""

        async with called(handler) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await lost.wait()
            assert await seconds_of(drain(server, Underway(), seconds=LONG)) < LONG / 4
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await waiting
            assert caught.value.code() in CUT

    asyncio.run(story())


def test_work_is_waited_for_also_when_it_takes_longer_than_quiet_and_is_followed_by_more() -> None:
    """Between two pieces of work of one call there is no quiet, however short they are."""
    underway = Underway()

    async def story() -> None:
        begun = asyncio.Event()

        async def handler(_: bytes, __: Any) -> bytes:
            begun.set()
            with underway:
                await asyncio.sleep(0.7)
            for _ in range(30):
                await asyncio.sleep(0.03)
                with underway:
                    pass
            return b"done"

        async with called(handler) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await begun.wait()
            assert await seconds_of(drain(server, underway, seconds=LONG)) > 1.5
            assert await waiting == b"done"

    asyncio.run(story())
    assert underway.count == 0
    assert underway.begun == 31


def test_work_has_so_many_seconds_and_no_more() -> None:
    underway = Underway()

    async def story() -> None:
        begun = asyncio.Event()

        async def handler(_: bytes, __: Any) -> bytes:
            with underway:
                begun.set()
                await asyncio.sleep(LONG)
            return b""

        async with called(handler) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await begun.wait()
            assert 0.5 <= await seconds_of(drain(server, underway, seconds=0.5)) < LONG / 4
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await waiting
            assert caught.value.code() in CUT

    asyncio.run(story())
    assert underway.count == 0, "cancelled work ends, too"


def test_an_answer_is_waited_for_until_grpc_has_sent_it() -> None:
    """The work is over then; a large answer may be long on its way."""
    underway = Underway()
    done: list[Callable[[Any], None]] = []

    class Context:
        def add_done_callback(self, callback: Callable[[Any], None]) -> None:
            done.append(callback)

    async def story() -> None:
        begun = asyncio.Event()

        async def handler(_: bytes, __: Any) -> bytes:
            begun.set()
            await asyncio.sleep(LONG)
            return b""

        async with called(handler) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await begun.wait()
            underway.until_sent(Context())
            draining = asyncio.ensure_future(seconds_of(drain(server, underway, seconds=LONG)))
            await asyncio.sleep(1.0)
            assert not draining.done()
            done[0](None)
            assert await draining < LONG / 2
            await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(story())
    assert underway.count == 0


def test_a_caller_that_goes_is_not_waited_for() -> None:
    underway = Underway()

    async def story() -> None:
        begun = asyncio.Event()

        async def handler(_: bytes, context: Any) -> bytes:
            underway.until_sent(context)
            begun.set()
            await asyncio.sleep(LONG)
            return b""

        async with called(handler) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await begun.wait()
            assert underway.count == 1
            waiting.cancel()
            assert await seconds_of(drain(server, underway, seconds=LONG)) < LONG / 4

    asyncio.run(story())
    assert underway.count == 0


def test_a_grpc_that_does_not_end_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck:
        async def stop(self, grace: float | None) -> None:
            await asyncio.sleep(LONG if grace is None else grace)

    monkeypatch.setattr(drain_module, "CUT_SECONDS", 0.1)
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(seconds_of(drain(Stuck(), Underway(), seconds=LONG))) < LONG / 4
    assert "does not end" in caplog.text


def test_open_streams_and_health_watches_without_work_do_not_delay_a_stop(online_world: OnlineWorld) -> None:
    async def story() -> None:
        place = Place(
            {DEFAULT: online_world.bundle}, online_world.redis_url, ServiceSettings(stop_seconds=LONG)
        )
        server = await LoopServer.start(place)
        async with grpc.aio.insecure_channel(server.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=LONG)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            stream = ranking_pb2_grpc.RankingServiceStub(channel).RankStream(timeout=LONG)
            asked = ranking_pb2.RankRequest(user_id="ann", candidate_ids=["item 1"], request_id="r-1")
            await stream.write(asked)
            assert (await stream.read()).response.items
            assert await seconds_of(server.stop()) < LONG / 4
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING, "told before"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
            assert caught.value.code() in CUT
        assert server.servicer.underway.count == 0
        assert server.servicer.underway.begun == 2, "one ranking, and its way out"

    asyncio.run(story())


def test_over_http_a_call_that_a_stopping_worker_drops_goes_to_the_next_one() -> None:
    async def story() -> None:
        async def drops(_: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")

        async def ranks(_: Any, __: Any) -> Any:
            return ranking_pb2.RankResponse(bundle_version="of the other")

        servers, targets = [], []
        for handler in (drops, ranks):
            server, port = grpc.aio.server(), free_port()
            method = grpc.unary_unary_rpc_method_handler(
                handler,
                request_deserializer=ranking_pb2.RankRequest.FromString,
                response_serializer=ranking_pb2.RankResponse.SerializeToString,
            )
            name = ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Rank": method}),))
            server.add_insecure_port(f"127.0.0.1:{port}")
            await server.start()
            servers.append(server)
            targets.append(f"127.0.0.1:{port}")
        workers = Workers(targets, 1_000_000)
        await workers.open()
        try:
            for _ in range(4):
                answer = await workers.rank(ranking_pb2.RankRequest(), metadata=(), timeout=LONG)
                assert answer.bundle_version == "of the other"
        finally:
            await workers.close()
            for server in servers:
                await server.stop(None)

    asyncio.run(story())
