"""For tests of the connections on an event loop: a server that answers by script, and a proxy that can be told off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import hiredis

from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.redis_address import Address

Command = list[bytes]
Answer = Callable[["Caller", Command], Awaitable[None]]


def endpoint(port: int, **options: Any) -> Endpoint:
    return Endpoint(Address((("127.0.0.1", port),), options), connect_seconds=1.0)


async def until(ready: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until it is true."""
    async with asyncio.timeout(seconds):
        while not ready():
            await asyncio.sleep(0.002)


@dataclass(eq=False)
class Caller:
    """One connection to the scripted server."""

    number: int
    writer: asyncio.StreamWriter

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    def hang_up(self) -> None:
        self.writer.transport.abort()


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


async def obey(caller: Caller, words: Command) -> None:
    """As Redis does: MGET k answers v:k for each key, PING its word, the rest OK."""
    if words[0] == b"MGET":
        caller.say(b"*%d\r\n%b" % (len(words) - 1, b"".join(bulk(b"v:" + key) for key in words[1:])))
    elif words[0] == b"PING":
        caller.say(bulk(words[1]) if len(words) > 1 else b"+PONG\r\n")
    else:
        caller.say(b"+OK\r\n")


@asynccontextmanager
async def scripted(answer: Answer) -> AsyncIterator[int]:
    """The port of a server that answers each command as told."""
    callers: list[Caller] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = Caller(len(callers), writer)
        callers.append(caller)
        commands = hiredis.Reader()
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65_536):
                commands.feed(data)
                while (words := commands.gets()) is not False:
                    await answer(caller, words)
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for caller in callers:
            caller.hang_up()


@dataclass(eq=False)
class Pipe:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    redis: asyncio.StreamWriter
    said: bytearray = field(default_factory=bytearray)
    """By the client so far."""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Replies pass only while it is set."""

    @property
    def is_channel(self) -> bool:
        """Whether it is told of changes."""
        return b"TRACKING" in self.said


@dataclass(eq=False)
class Proxy:
    """Between a client and Redis; every connection's replies can be held back."""

    port: int = 0
    pipes: list[Pipe] = field(default_factory=list)
    is_silent: bool = False
    """Whether new connections begin held."""

    def hold(self, wanted: Callable[[Pipe], bool]) -> list[Pipe]:
        held = [pipe for pipe in self.pipes if wanted(pipe)]
        for pipe in held:
            pipe.open.clear()
        return held

    def readers(self) -> list[Pipe]:
        """The connections that ask for rows."""
        return [pipe for pipe in self.pipes if not pipe.is_channel]


@asynccontextmanager
async def proxied(redis_port: int) -> AsyncIterator[Proxy]:
    """Replies and pushes pass until a pipe is closed, and wait behind it then."""
    proxy = Proxy()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", redis_port)
        pipe = Pipe(writer, to_redis)
        if not proxy.is_silent:
            pipe.open.set()
        proxy.pipes.append(pipe)

        async def requests() -> None:
            while data := await reader.read(65_536):
                pipe.said += data
                to_redis.write(data)

        async def replies() -> None:
            while data := await from_redis.read(65_536):
                await pipe.open.wait()
                writer.write(data)

        tasks = [asyncio.create_task(requests()), asyncio.create_task(replies())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        proxy.pipes.remove(pipe)
        writer.transport.abort()
        to_redis.transport.abort()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for pipe in [*proxy.pipes]:
            pipe.client.transport.abort()
            pipe.redis.transport.abort()
        await until(lambda: not proxy.pipes)
