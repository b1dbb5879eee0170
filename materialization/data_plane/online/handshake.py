"""Opens a connection to Redis for an event loop: TCP, TLS or a unix socket, then AUTH, SELECT and a name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
from redis.asyncio.sentinel import Sentinel

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.link import command
from materialization.data_plane.online.redis_address import Address, Host
from materialization.data_plane.online.stream import RedisStream

NAME = b"marquee-serving"


@dataclass(frozen=True)
class Endpoint:
    """Where Redis is, and how one gets in."""

    address: Address
    connect_seconds: float
    sentinel_master: str | None = None
    """With it, the address names sentinels, which are asked where the primary is."""
    _tls: list[Any] = field(default_factory=list)
    """The context, once made."""

    @property
    def text(self) -> str:
        """For messages; without the password."""
        path = self.address.options.get("path")
        return path or ", ".join(f"{host}:{port}" for host, port in self.address.hosts)

    async def open(
        self, *, resp3: bool = False, on_push: Callable[[list[Any]], None] | None = None
    ) -> RedisStream:
        """A connection ready for use. Raises OnlineStoreError within `connect_seconds`."""
        try:
            async with asyncio.timeout(self.connect_seconds):
                return await self._greeted(await self._connected(on_push), resp3=resp3)
        except TimeoutError:
            raise OnlineStoreError(
                f"Redis at {self.text} cannot be reached within {self.connect_seconds:g} s"
            ) from None
        except (OSError, redis.RedisError) as error:
            raise OnlineStoreError(f"Redis at {self.text} cannot be reached: {error}") from error

    async def _greeted(self, stream: RedisStream, *, resp3: bool) -> RedisStream:
        greeting, count = self._greeting(resp3=resp3)
        try:
            await stream.ask(greeting, count)
        except BaseException:
            stream.abort("did not answer the greeting")
            raise
        return stream

    async def _connected(self, on_push: Callable[[list[Any]], None] | None) -> RedisStream:
        loop = asyncio.get_running_loop()

        def made() -> RedisStream:
            return RedisStream(self.text, on_push)

        path = self.address.options.get("path")
        if path:
            return (await loop.create_unix_connection(made, path))[1]
        host, port = await self._host()
        return (await loop.create_connection(made, host, port, ssl=self._context()))[1]

    async def _host(self) -> Host:
        if self.sentinel_master is None:
            return self.address.hosts[0]
        own = {
            name.removeprefix("sentinel_"): value
            for name, value in self.address.options.items()
            if name.startswith("sentinel_")
        }
        kind: Any = Sentinel
        sentinel = kind(self.address.hosts, sentinel_kwargs={"socket_timeout": self.connect_seconds, **own})
        try:
            host, port = await sentinel.discover_master(self.sentinel_master)
        finally:
            for node in sentinel.sentinels:
                await node.aclose()
        return host, port

    def _context(self) -> Any:
        """redis-py's reading of the TLS options; None without TLS."""
        options = self.address.options
        if not options.get("ssl"):
            return None
        if not self._tls:
            chosen = {name: value for name, value in options.items() if name.startswith("ssl_")}
            connection: Any = redis.asyncio.SSLConnection(**chosen)
            self._tls.append(connection.ssl_context.get())
        return self._tls[0]

    def _greeting(self, *, resp3: bool) -> tuple[bytes, int]:
        options = self.address.options
        username, password = options.get("username"), options.get("password")
        words = []
        if password is not None:
            words.append([b"AUTH", *([username.encode()] if username else []), str(password).encode()])
        if resp3:
            words.append([b"HELLO", b"3"])
        if options.get("db"):
            words.append([b"SELECT", b"%d" % int(options["db"])])
        words.append([b"CLIENT", b"SETNAME", NAME])
        return b"".join(command(*one) for one in words), len(words)
