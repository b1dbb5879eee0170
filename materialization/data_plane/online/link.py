"""One round trip to Redis within a deadline; no retry, no half-read connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.errors import OnlineStoreError, SettingError
from materialization.data_plane.online.free_loop import answered_within

SCANS, KEYS_PER_SCAN = 50, 2_000
PING = b"*1\r\n$4\r\nPING\r\n"
CLUSTER_ERRORS = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)
"""What redis-py raises of a cluster; the second is none of its own `RedisError`."""

HashRead = tuple[bytes, Sequence[bytes]]
"""A hash's key and the fields wanted of it."""
Reply = bytes | None


class Link(Protocol):
    """What a batched fetch needs of a connection."""

    def read(self, strings: Sequence[bytes], hashes: Sequence[HashRead]) -> list[Reply]:
        """The strings' values, then the hashes' fields, in the order asked for. Raises OnlineStoreError."""

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        """All of one hash. Raises OnlineStoreError."""


@dataclass(frozen=True)
class RedisLink:
    """A pool of connections to one server; thread-safe. A refused or stalled server costs one timeout."""

    pool: redis.ConnectionPool
    address: str
    """For messages; without the password."""
    timeout_seconds: float
    """Bounds a whole exchange, and each wait for the network within it."""

    @classmethod
    def connect(cls, url: str, *, timeout_seconds: float, connect_seconds: float) -> RedisLink:
        """The first exchange opens the first connection. Raises SettingError for an unusable URL."""
        try:
            pool = redis.ConnectionPool.from_url(
                url,
                socket_timeout=timeout_seconds,
                socket_connect_timeout=connect_seconds,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise SettingError(f"Redis URL {url!r}: {error}; write redis://host:port/database") from error
        return cls.over(pool, timeout_seconds=timeout_seconds)

    @classmethod
    def over(cls, pool: redis.ConnectionPool, *, timeout_seconds: float) -> RedisLink:
        """On the connections of a client of one's own, Sentinel's included."""
        return cls(pool, _address(pool), timeout_seconds)

    def read(self, strings: Sequence[bytes], hashes: Sequence[HashRead]) -> list[Reply]:
        """One write, one read: MGET of all strings, HMGET of each hash."""
        return _flat(self.exchange(*read_commands(strings, hashes)))

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        """HGETALL."""
        (flat,) = self.exchange(command(b"HGETALL", key), 1)
        return _pairs(flat)

    def exchange(self, commands: bytes, reply_count: int) -> list[Any]:
        """Send prepared commands at once and read their replies: bytes, None, integers, or lists of them.

        Raises OnlineStoreError. A connection whose replies were not all read is closed, never used again.
        """
        try:
            connection: Any = self.pool.get_connection()
        except redis.RedisError as error:
            raise OnlineStoreError(f"Redis at {self.address} cannot be reached: {error}") from error
        complete = False
        try:
            replies = self._replies(connection, commands, reply_count)
            complete = True
        except (redis.RedisError, OSError) as error:
            raise OnlineStoreError(f"Redis at {self.address} failed: {error}") from error
        finally:
            if not complete:
                connection.disconnect()
            self.pool.release(connection)
        return replies

    def ping(self) -> None:
        """Raises OnlineStoreError when the server does not answer in time."""
        self.exchange(PING, 1)

    def holds_key_like(self, pattern: bytes) -> bool | None:
        """Whether there is a key of the pattern; None when a look at some 100,000 keys did not tell.

        Raises OnlineStoreError.
        """
        cursor = b"0"
        for _ in range(SCANS):
            scan = command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % KEYS_PER_SCAN)
            ((cursor, keys),) = self.exchange(scan, 1)
            if keys:
                return True
            if cursor == b"0":
                return False
        return None

    def close(self) -> None:
        self.pool.disconnect()

    def _replies(self, connection: Any, commands: bytes, reply_count: int) -> list[Any]:
        deadline = time.monotonic() + self.timeout_seconds
        connection.send_packed_command([commands], check_health=False)
        replies = []
        for _ in range(reply_count):
            replies.append(connection.read_response(disable_decoding=True))
            if time.monotonic() > deadline:
                raise redis.TimeoutError(
                    f"{len(replies)} of {reply_count} replies within {self.timeout_seconds} s"
                )
        return replies


@dataclass(frozen=True)
class AsyncRedisLink:
    """The same for one event loop."""

    pool: Any
    """A `redis.asyncio.ConnectionPool`."""
    address: str
    timeout_seconds: float
    """Bounds a whole exchange; only time in which the event loop was free counts."""
    connect_seconds: float = 0.0
    """How much longer it may take to open a connection."""

    @classmethod
    def over(cls, pool: Any, *, timeout_seconds: float) -> AsyncRedisLink:
        """On the connections of an asynchronous client of one's own, with its timeouts."""
        return cls(pool, _address(pool), timeout_seconds)

    async def read(self, strings: Sequence[bytes], hashes: Sequence[HashRead]) -> list[Reply]:
        """One write, one read: MGET of all strings, HMGET of each hash. Raises OnlineStoreError."""
        return _flat(await self.exchange(*read_commands(strings, hashes)))

    async def fields(self, key: bytes) -> dict[bytes, bytes]:
        """All of one hash. Raises OnlineStoreError."""
        (flat,) = await self.exchange(command(b"HGETALL", key), 1)
        return _pairs(flat)

    async def exchange(self, commands: bytes, reply_count: int) -> list[Any]:
        """As `RedisLink.exchange`; a cancelled exchange closes its connection."""
        try:
            async with answered_within(self.connect_seconds + self.timeout_seconds):
                connection: Any = await self.pool.get_connection()
        except (redis.RedisError, OSError) as error:
            raise OnlineStoreError(f"Redis at {self.address} cannot be reached: {error}") from error
        complete = False
        try:
            async with answered_within(self.timeout_seconds):
                await connection.send_packed_command([commands], check_health=False)
                replies = [await connection.read_response(disable_decoding=True) for _ in range(reply_count)]
            complete = True
        except (redis.RedisError, OSError) as error:
            raise OnlineStoreError(f"Redis at {self.address} failed: {error}") from error
        finally:
            if not complete:
                await connection.disconnect(nowait=True)
            await self.pool.release(connection)
        return replies


@dataclass(frozen=True)
class ClusterLink:
    """Redis Cluster: one pipeline, which redis-py splits by node; keys of one command share a slot."""

    client: Any
    """A `redis.cluster.RedisCluster`."""

    def read(self, strings: Sequence[bytes], hashes: Sequence[HashRead]) -> list[Reply]:
        """A GET for every string, an HMGET for every hash. Raises OnlineStoreError."""
        try:
            pipeline = self.client.pipeline(transaction=False)
            for key in strings:
                pipeline.get(key)
            for key, fields in hashes:
                pipeline.hmget(key, list(fields))
            replies = pipeline.execute()
        except CLUSTER_ERRORS as error:
            raise OnlineStoreError(f"Redis Cluster failed: {error}") from error
        return [*replies[: len(strings)], *(value for fields in replies[len(strings) :] for value in fields)]

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        """All of one hash. Raises OnlineStoreError."""
        try:
            found = self.client.hgetall(key)
        except CLUSTER_ERRORS as error:
            raise OnlineStoreError(f"Redis Cluster failed: {error}") from error
        return dict(found)


def command(*words: bytes) -> bytes:
    """One command as Redis reads it from the wire."""
    return b"*%d\r\n%b" % (len(words), bulk(words))


def bulk(words: Sequence[bytes]) -> bytes:
    """Words of a command; ids of one service are often equally long, which saves a step for each."""
    lengths = set(map(len, words))
    if len(lengths) == 1:
        mark = b"$%d\r\n" % lengths.pop()
        return mark + (b"\r\n" + mark).join(words) + b"\r\n"
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def read_commands(strings: Sequence[bytes], hashes: Sequence[HashRead]) -> tuple[bytes, int]:
    """The bytes to send, and how many replies they have."""
    commands = []
    if strings:
        commands.append(b"*%d\r\n$4\r\nMGET\r\n%b" % (len(strings) + 1, bulk(strings)))
    for key, fields in hashes:
        head = b"*%d\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n" % (len(fields) + 2, len(key), key)
        commands.append(head + bulk(fields))
    return b"".join(commands), len(commands)


def _flat(replies: Sequence[list[Reply]]) -> list[Reply]:
    return replies[0] if len(replies) == 1 else [value for reply in replies for value in reply]


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _address(pool: Any) -> str:
    settings = pool.connection_kwargs
    return settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
