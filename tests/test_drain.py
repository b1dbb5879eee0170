"""What a stop waits for, and what not: running work is finished, calls that nobody works on are cut."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from online_world import OnlineWorld

from ranking_service.client.calling import Calling
from ranking_service.models.served import DEFAULT
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server import drain as drain_module
from ranking_service.server.drain import Underway, drain
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


@dataclass
class Endless:
    """A handler that never answers."""

    underway: Underway | None = None
    """Counts its calls, as whole ones."""

    def __post_init__(self) -> None:
        self.begun = asyncio.Event()

    async def answer(self, _: bytes, context: Any) -> bytes:
        if self.underway is not None:
            self.underway.until_sent(context)
        self.begun.set()
        await asyncio.sleep(LONG)
        return b""


async def seconds_of(work: Any) -> float:
    before = time.monotonic()
    await work
    return time.monotonic() - before


def test_a_call_that_nobody_works_on_is_cut_and_not_waited_for() -> None:
    """As one is that gRPC lost: it is open, and no code of ours knows of it."""

    async def story() -> None:
        lost = Endless()
        async with called(lost.answer) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await lost.begun.wait()
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
            for _step in range(30):
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
        endless = Endless(underway)
        async with called(endless.answer) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await endless.begun.wait()
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
        endless = Endless()
        async with called(endless.answer) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await endless.begun.wait()
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
        endless = Endless(underway)
        async with called(endless.answer) as (server, call):
            waiting = asyncio.ensure_future(call(b"", timeout=LONG))
            await endless.begun.wait()
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


def test_calls_with_one_answer_count_until_that_is_sent(online_world: OnlineWorld) -> None:
    """One for the work, if it ranks, and one for the whole call."""

    async def story() -> None:
        place = Place({DEFAULT: online_world.bundle}, online_world.redis_url, ServiceSettings())
        server = await LoopServer.start(place)
        underway = server.servicer.underway
        asked = ranking_pb2.RankRequest(user_id="ann", candidate_ids=["item 1"])
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = ranking_pb2_grpc.RankingServiceStub(channel)
            assert (await stub.Rank(asked, timeout=LONG)).items
            assert underway.begun == 2
            assert (await stub.RankMany(ranking_pb2.RankManyRequest(requests=[asked]), timeout=LONG)).results
            assert underway.begun == 4
            read = channel.unary_unary("/feast.serving.ServingService/GetOnlineFeatures")
            with pytest.raises(grpc.aio.AioRpcError):
                await read(b"", timeout=LONG)
            assert underway.begun == 5
        await server.stop()
        assert underway.count == 0

    asyncio.run(story())


def test_clients_leave_retries_to_our_own() -> None:
    """With gRPC's, a call may hang when the server ends."""
    assert dict(Calling.to("127.0.0.1:1").channel_options())["grpc.enable_retries"] == 0
