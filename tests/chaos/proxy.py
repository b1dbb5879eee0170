"""A TCP proxy before Redis that can do what networks do; it runs in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import socket
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from .resp import PUSH, ReplyCutter, contents

HOST = "127.0.0.1"
CHUNK = 1 << 18
MOST_BITS = 8
"""Flipped in one reply."""


@dataclass(frozen=True)
class Fault:
    """What happens to a share of the replies; the rest pass."""

    kind: str = "pass"
    """One of pass; delay; swallow (accept, read, say nothing); truncate (half a reply, then the end); garbage
    (random bytes instead); half-garbage (random bytes from the reply's middle on, some more than they replace); alter
    (some bits flipped in what its strings hold, all lengths as they were); drop (the reply never comes, the next one
    does); refuse (no listener, connections reset); limit (at most `connections`)."""
    share: float = 1.0
    seconds: float = 0.0
    """Of delay."""
    connections: int = 0
    """Of limit."""


@dataclass
class Proxy:
    """The controlling side."""

    port: int
    process: Any
    control: Any

    @classmethod
    def start(cls, upstream: int) -> Proxy:
        """Listens on a free port and forwards to `upstream` of the same host."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_run, args=(upstream, theirs), daemon=True)
        process.start()
        theirs.close()
        return cls(int(ours.recv()), process, ours)

    def set(self, fault: Fault) -> None:
        """Returns when it is in effect."""
        self.control.send(fault)
        self.control.recv()

    def heal(self) -> None:
        self.set(Fault())

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.control.close()


def _run(upstream: int, control: Connection) -> None:
    asyncio.run(_Forwarding(upstream).serve(control))


@dataclass
class _Forwarding:
    """The forwarding side."""

    upstream: int
    fault: Fault = field(default_factory=Fault)
    port: int = 0
    server: asyncio.Server | None = None
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    """To the clients, oldest first."""
    random: random.Random = field(default_factory=lambda: random.Random(3))

    async def serve(self, control: Connection) -> None:
        await self._listen()
        control.send(self.port)
        loop = asyncio.get_running_loop()
        threading.Thread(target=_obey, args=(control, self, loop), daemon=True).start()
        await asyncio.Event().wait()

    async def become(self, fault: Fault) -> None:
        before, self.fault = self.fault, fault
        if before.kind == "swallow":
            self._reset_all_but(0)  # what was swallowed is lost: such a connection never comes back
        if fault.kind == "refuse" and self.server is not None:
            self.server.close()
            self.server = None
            self._reset_all_but(0)
        elif self.server is None and fault.kind != "refuse":
            await self._listen()
        if fault.kind == "limit":
            self._reset_all_but(fault.connections)

    async def _listen(self) -> None:
        self.server = await asyncio.start_server(
            self._accepted, HOST, self.port, limit=CHUNK, reuse_address=True
        )
        self.port = self.server.sockets[0].getsockname()[1]

    def _reset_all_but(self, kept: int) -> None:
        for writer in self.writers[kept:]:
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault.kind == "limit" and len(self.writers) >= self.fault.connections:
            writer.transport.abort()
            return
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.writers.append(writer)
        tasks: list[asyncio.Task[None]] = []
        try:
            from_redis, to_redis = await asyncio.open_connection(HOST, self.upstream, limit=CHUNK)
            tasks = [
                asyncio.create_task(self._requests(reader, to_redis)),
                asyncio.create_task(self._replies(from_redis, writer)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            to_redis.transport.abort()
        except OSError:
            pass  # Redis is gone: so is the client's connection
        finally:
            for task in tasks:
                task.cancel()
            writer.close()
            self.writers.remove(writer)

    async def _requests(self, reader: asyncio.StreamReader, to_redis: asyncio.StreamWriter) -> None:
        while received := await _read(reader):
            if self.fault.kind != "swallow":
                to_redis.write(received)

    async def _replies(self, from_redis: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Order is kept: what follows a delayed reply on its connection waits as well."""
        waiting: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        sender = asyncio.create_task(_send(waiting, writer))
        cutter, release = ReplyCutter(), 0.0
        try:
            while received := await _read(from_redis):
                for reply in cutter.feed(received):
                    due, told, ends = self._become_of(reply)
                    release = max(release, due)
                    waiting.put_nowait((release, told))
                    if ends:
                        waiting.put_nowait((release, None))
            waiting.put_nowait((release, None))
            await sender
        finally:
            sender.cancel()

    def _become_of(self, reply: bytes) -> tuple[float, bytes, bool]:
        """When it is passed on, what of it, and whether the connection ends with it."""
        now, fault = asyncio.get_running_loop().time(), self.fault
        if self.random.random() >= fault.share:
            return now, reply, False
        if fault.kind == "delay":
            return now + fault.seconds, reply, False
        if fault.kind == "swallow" or (fault.kind == "drop" and reply[0] != PUSH):
            return now, b"", False
        if fault.kind == "truncate":
            return now, reply[: len(reply) // 2], True
        if fault.kind == "garbage":
            return now, b"\x00" + self.random.randbytes(len(reply)), False
        if fault.kind == "half-garbage":
            kept = len(reply) // 2
            others = len(reply) - kept + self.random.randrange(1, 10)
            return now, reply[:kept] + self.random.randbytes(others), False
        if fault.kind == "alter":
            return now, altered(reply, self.random), False
        return now, reply, False


def altered(reply: bytes, dice: random.Random) -> bytes:
    """The reply with one to `MOST_BITS` bits of its strings flipped, where it has any."""
    places = [place for content in contents(reply) for place in content]
    changed = bytearray(reply)
    for place in dice.sample(places, min(dice.randint(1, MOST_BITS), len(places))):
        changed[place] ^= 1 << dice.randrange(8)
    return bytes(changed)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Empty at the end, however it came."""
    try:
        return await reader.read(CHUNK)
    except OSError:
        return b""


async def _send(waiting: asyncio.Queue[tuple[float, bytes | None]], writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while True:
        release, told = await waiting.get()
        if release > loop.time():
            await asyncio.sleep(release - loop.time())
        if told is None:
            writer.close()
            return
        writer.write(told)


def _obey(control: Connection, forwarding: _Forwarding, loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            fault = control.recv()
        except (EOFError, OSError):
            loop.call_soon_threadsafe(loop.stop)
            return
        asyncio.run_coroutine_threadsafe(forwarding.become(fault), loop).result()
        control.send("done")
