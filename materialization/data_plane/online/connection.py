"""Clients of one Redis, Redis Cluster or Sentinel: made when first needed, bounded, and quick to give up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelPool
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from feature_repo.errors import OnlineStoreError, SettingError
from materialization.data_plane.online.link import CLUSTER_ERRORS, AsyncRedisLink, ClusterLink, RedisLink
from materialization.data_plane.online.redis_address import Address

WAITS = 10
"""A server that answers in drops, or a large answer, may take so many times the timeout of one wait."""
T = TypeVar("T")


@dataclass(frozen=True)
class ConnectionSettings:
    """How a store reaches its Redis."""

    connection_string: str
    redis_type: str = "redis"
    """`redis`, `redis_cluster` or `redis_sentinel`."""
    sentinel_master: str = "mymaster"
    connect_seconds: float = 0.1
    command_seconds: float = 0.1
    """Of reads: how long to wait for the server each time; a whole read may take `WAITS` times as long."""
    write_seconds: float = 5.0
    """Of one batch of rows."""
    max_connections: int = 32
    """Of each pool; one more waits for `command_seconds`. Of a cluster, for each node."""
    retries: int = 0
    """How often a failed read or write is tried again, at once."""


@dataclass(frozen=True)
class RedisConnections:
    """The clients of one store. Thread-safe; survives a fork; an asynchronous client never leaves its event loop."""

    settings: ConnectionSettings
    _clients: dict[str, Any] = field(default_factory=dict)
    _of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Any]] = field(
        default_factory=WeakKeyDictionary
    )

    @property
    def is_cluster(self) -> bool:
        return self.settings.redis_type == "redis_cluster"

    def link(self) -> RedisLink | ClusterLink:
        """For reads. Raises SettingError for unusable options, OnlineStoreError where a cluster cannot be reached."""
        if self.is_cluster:
            return ClusterLink(self.cluster(writing=False))
        pool = self._made("read", lambda: self._pool(self.settings.command_seconds))
        return RedisLink(pool, self.address, _whole(pool))

    def async_link(self) -> AsyncRedisLink:
        """For reads on the running event loop; not for a cluster."""
        pool = self._of_loop("read", lambda: self._async_pool(None))
        seconds = self.settings.command_seconds
        return AsyncRedisLink(pool, self.address, seconds, self.settings.connect_seconds)

    def write_pool(self) -> redis.ConnectionPool:
        """For writes; not for a cluster."""
        pool: redis.ConnectionPool = self._made("write", lambda: self._pool(self.settings.write_seconds))
        return pool

    def async_write_pool(self) -> redis.asyncio.ConnectionPool:
        """For writes on the running event loop; not for a cluster."""
        pool: redis.asyncio.ConnectionPool = self._of_loop(
            "write", lambda: self._async_pool(self.settings.write_seconds)
        )
        return pool

    def cluster(self, *, writing: bool) -> RedisCluster:
        """Raises OnlineStoreError where no node can be reached."""
        seconds = self.settings.write_seconds if writing else self.settings.command_seconds
        return self._made(f"cluster {writing}", lambda: self._cluster(seconds))

    def tried(self, action: Callable[[], T]) -> T:
        """Its result; after an OnlineStoreError it is tried again as often as the settings say."""
        for _ in range(self.settings.retries):
            try:
                return action()
            except OnlineStoreError:
                continue
        return action()

    async def tried_async(self, action: Callable[[], Awaitable[T]]) -> T:
        """The same, asynchronously."""
        for _ in range(self.settings.retries):
            try:
                return await action()
            except OnlineStoreError:
                continue
        return await action()

    def forget_clusters(self) -> None:
        """The next call asks anew which node has which slots."""
        for name in [name for name in self._clients if name.startswith("cluster")]:
            self._clients.pop(name, None)

    @property
    def address(self) -> str:
        """For messages; without the password."""
        parsed = Address.parse(self.settings.connection_string)
        return parsed.options.get("path") or ", ".join(f"{host}:{port}" for host, port in parsed.hosts)

    def close(self) -> None:
        """Close what is idle and what is in use; the next call opens anew."""
        while self._clients:
            _, client = self._clients.popitem()
            (client.close if isinstance(client, RedisCluster) else client.disconnect)()

    async def close_async(self) -> None:
        """The same for the running event loop's clients."""
        for pool in self._of_loops.pop(asyncio.get_running_loop(), {}).values():
            await pool.disconnect()

    def _made(self, name: str, make: Callable[[], T]) -> T:
        """Two threads may make one at once: one of the two is kept. No lock that a fork could leave taken."""
        if name not in self._clients:
            self._clients.setdefault(name, make())
        return cast(T, self._clients[name])

    def _of_loop(self, name: str, make: Callable[[], T]) -> T:
        clients = self._of_loops.setdefault(asyncio.get_running_loop(), {})
        if name not in clients:
            clients[name] = make()
        return cast(T, clients[name])

    def _pool(self, seconds: float) -> Any:
        parsed = Address.parse(self.settings.connection_string)
        options = self._options(parsed, seconds)
        if self.settings.redis_type == "redis_sentinel":
            return _sentinel_pool(BlockingSentinelPool, Sentinel, parsed, options, self.settings)
        return _plain_pool(redis.BlockingConnectionPool, redis, parsed, options)

    def _async_pool(self, seconds: float | None) -> Any:
        """Who asks it for a connection bounds the wait: redis-py would count the time the loop was busy."""
        parsed = Address.parse(self.settings.connection_string)
        options = self._options(parsed, seconds)
        options |= {
            name: None for name in ("socket_connect_timeout", "timeout") if name not in parsed.options
        }
        if self.settings.redis_type == "redis_sentinel":
            return _sentinel_pool(AsyncBlockingSentinelPool, AsyncSentinel, parsed, options, self.settings)
        return _plain_pool(redis.asyncio.BlockingConnectionPool, redis.asyncio, parsed, options)

    def _cluster(self, seconds: float) -> RedisCluster:
        parsed = Address.parse(self.settings.connection_string)
        options = {name: value for name, value in self._options(parsed, seconds).items() if name != "db"}
        options["connection_class"] = redis.SSLConnection if options.pop("ssl", False) else redis.Connection
        (host, port), *others = parsed.hosts or (("", 0),)
        try:
            return RedisCluster(
                url=f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}",
                startup_nodes=[ClusterNode(host, port) for host, port in others],  # type: ignore[no-untyped-call]
                connection_pool_class=redis.BlockingConnectionPool,
                **{**options, "retry": Retry(NoBackoff(), self.settings.retries)},
            )
        except CLUSTER_ERRORS as error:
            raise OnlineStoreError(
                f"Redis Cluster at {self.address} cannot be reached: {error}; check connection_string and redis_type"
            ) from error

    def _options(self, parsed: Address, seconds: float | None) -> dict[str, Any]:
        """Those of the connection string win over the settings, except where rows would be misread."""
        return {
            "socket_timeout": seconds,
            "socket_connect_timeout": self.settings.connect_seconds,
            "max_connections": self.settings.max_connections,
            "timeout": self.settings.command_seconds,
            **parsed.options,
            "decode_responses": False,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }


class BlockingSentinelPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to the primary that the sentinels name; who finds none free waits."""


class AsyncBlockingSentinelPool(AsyncSentinelPool, redis.asyncio.BlockingConnectionPool):
    """The same for one event loop."""


def _plain_pool(kind: Any, library: Any, parsed: Address, options: dict[str, Any]) -> Any:
    with_tls = options.pop("ssl", False)
    connection_class = library.SSLConnection if with_tls else library.Connection
    if "path" in options:
        connection_class = library.UnixDomainSocketConnection
        options.pop("socket_connect_timeout")
    else:
        options["host"], options["port"] = parsed.hosts[0]
    return _checked(kind(connection_class=connection_class, **options))


def _sentinel_pool(
    kind: Any, sentinel: Any, parsed: Address, options: dict[str, Any], settings: ConnectionSettings
) -> Any:
    """The sentinels' own options begin with `sentinel_`; their timeouts are the primary's."""
    own = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in [*options]
        if name.startswith("sentinel_")
    }
    seconds = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout")}
    found = sentinel(parsed.hosts, sentinel_kwargs={**seconds, "retry": Retry(NoBackoff(), 0), **own})
    return _checked(kind(settings.sentinel_master, found, **options))


def _whole(pool: Any) -> float:
    """Seconds for a whole read; the connection string may have set those for one wait."""
    return WAITS * float(pool.connection_kwargs["socket_timeout"])


def _checked(pool: Any) -> Any:
    """redis-py looks at a connection's options only when it makes one."""
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        raise SettingError(f"connection_string: {error}; see the options of redis-py's Connection") from error
    return pool
