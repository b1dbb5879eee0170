"""One round trip to Redis within a deadline; no retry, no half-read connection."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.errors import OnlineStoreError, SettingError

SCANS, KEYS_PER_SCAN = 50, 2_000
PING = b"*1\r\n$4\r\nPING\r\n"


@dataclass(frozen=True)
class RedisLink:
    """A pool of connections; thread-safe. A refused or stalled server costs one timeout."""

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
        settings = pool.connection_kwargs
        address = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
        return cls(pool, address, timeout_seconds)

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
            arguments = (b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % KEYS_PER_SCAN)
            bulk = b"".join(b"$%d\r\n%s\r\n" % (len(argument), argument) for argument in arguments)
            ((cursor, keys),) = self.exchange(b"*%d\r\n%s" % (len(arguments), bulk), 1)
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
