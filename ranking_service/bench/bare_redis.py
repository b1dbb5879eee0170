"""The floor of a fetch: prepared bytes out, as many bytes in as the replies have; nothing is looked at."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from feature_repo.errors import OnlineStoreError, SettingError
from materialization.data_plane.online.link import HashRead, RedisLink, Reply, command

OK = b"+OK\r\n"
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class BareRead:
    """What to send, and how many bytes come back."""

    commands: bytes
    reply_bytes: int

    @classmethod
    def planned(cls, link: RedisLink, strings: Sequence[bytes], hashes: Sequence[HashRead]) -> BareRead:
        """Asks once to learn how long the replies are. Raises OnlineStoreError."""
        words = [[b"MGET", *strings]] if strings else []
        words += [[b"HMGET", key, *fields] for key, fields in hashes]
        commands = b"".join(command(*one) for one in words)
        return cls(commands, sum(map(reply_length, link.exchange(commands, len(words)))))


def reply_length(values: Sequence[Reply]) -> int:
    """Bytes of an array of values as Redis sends it."""
    lengths = (5 if value is None else len(b"$%d\r\n" % len(value)) + len(value) + 2 for value in values)
    return len(b"*%d\r\n" % len(values)) + sum(lengths)


@dataclass(frozen=True)
class Endpoint:
    """Where Redis is, and what to say to it first."""

    host: str
    port: int
    hello: BareRead

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """Raises SettingError for a URL that a bare socket cannot follow."""
        parts: dict[str, Any] = redis.ConnectionPool.from_url(url).connection_kwargs
        if not url.startswith("redis://"):
            raise SettingError(
                f"the floor reads Redis over TCP without TLS; {url!r} is neither, use redis://"
            )
        words = []
        if parts.get("password"):
            words.append(
                [b"AUTH", *(parts[key].encode() for key in ("username", "password") if parts.get(key))]
            )
        if parts.get("db"):
            words.append([b"SELECT", b"%d" % parts["db"]])
        hello = BareRead(b"".join(command(*one) for one in words), len(OK) * len(words))
        return cls(parts.get("host", "localhost"), parts.get("port", 6379), hello)


class BareRedis:
    """A socket that blocks; for one thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._buffer = memoryview(bytearray(1 << 20))

    def connect(self) -> BareRedis:
        """Raises OSError."""
        where = (self._endpoint.host, self._endpoint.port)
        self._socket = socket.create_connection(where, PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fetch(self._endpoint.hello)
        return self

    def fetch(self, read: BareRead) -> None:
        """Returns when all bytes are there. Raises OnlineStoreError for a connection that ends, OSError."""
        self._socket.sendall(read.commands)
        left = read.reply_bytes
        while left:
            came = self._socket.recv_into(self._buffer)
            if not came:
                raise OnlineStoreError("Redis closed the connection in the middle of a read; look at its log")
            left -= came

    def close(self) -> None:
        self._socket.close()


class BareConnection(asyncio.Protocol):
    """The same for an event loop; one read at a time."""

    def __init__(self) -> None:
        self._left = 0
        self._complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0:
            self._complete.set_result(None)

    async def fetch(self, read: BareRead) -> None:
        """Returns when all bytes are there."""
        self._left = read.reply_bytes
        if self._left:
            self._complete = asyncio.get_running_loop().create_future()
            self._transport.write(read.commands)
            await self._complete


class BarePool:
    """As many connections as reads run at once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[BareConnection] = []

    async def fetch(self, read: BareRead) -> None:
        """Raises OSError."""
        connection = self._idle.pop() if self._idle else await self._opened()
        await connection.fetch(read)
        self._idle.append(connection)

    async def _opened(self) -> BareConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(BareConnection, self._endpoint.host, self._endpoint.port)
        await connection.fetch(self._endpoint.hello)
        return connection
