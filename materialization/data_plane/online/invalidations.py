"""Redis' own messages about changed keys ("client-side caching", broadcast by prefix), on a connection of its own.

What is cached counts as current only while this channel is known to work: a PING goes round every heartbeat, and
when none has come back for two of them, or the connection is lost, nothing cached is current. A PING that comes back
late proves that nothing was missed; when it does not come, all is in doubt until the channel stands again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.link import PING, command
from materialization.data_plane.online.stream import RedisStream

REOPEN_SECONDS = 0.25
logger = logging.getLogger(__name__)


@dataclass
class InvalidationChannel:
    """Run it as a task of the event loop; `is_current` tells whether nothing has been missed."""

    endpoint: Endpoint
    prefixes: Sequence[bytes]
    """Of the keys of interest; none may begin with another."""
    on_change: Callable[[Sequence[bytes] | None], None]
    """Takes the changed keys; None for all of them."""
    heartbeat_seconds: float
    stands: bool = False
    """Whether it has been set up, and not given up yet."""
    heard_at: float = 0.0
    """Event loop time at which the last heartbeat that came back had been sent."""
    changes: int = 0
    """Keys told of so far."""
    _stream: list[RedisStream] = field(default_factory=list)

    @property
    def is_current(self) -> bool:
        """Whether all changes up to two heartbeats ago have been told, and nothing says that later ones were not."""
        if not self.stands or self._stream[0].closed is not None:
            return False
        return self._stream[0].loop.time() - self.heard_at <= 2 * self.heartbeat_seconds

    async def run(self) -> None:
        """Until cancelled."""
        told = ""
        try:
            while True:
                try:
                    await self._follow()
                except OnlineStoreError as error:
                    if str(error) != told:
                        logger.warning("item rows are not cached for now: %s", error)
                    told = str(error)
                finally:
                    self._in_doubt()
                await asyncio.sleep(REOPEN_SECONDS)
        finally:
            for stream in self._stream:
                stream.abort("is no longer asked")

    async def _follow(self) -> None:
        stream = await self.endpoint.open(resp3=True, on_push=self._pushed)
        self._stream[:] = [stream]
        try:
            words = [b"CLIENT", b"TRACKING", b"ON", b"BCAST"]
            for prefix in self.prefixes:
                words += [b"PREFIX", prefix]
            await self._beat(stream, command(*words))
            self.on_change(None)
            self.stands = True
            while stream.closed is None:
                await asyncio.sleep(self.heartbeat_seconds)
                await self._beat(stream, PING)
        finally:
            stream.abort("is no longer followed")

    async def _beat(self, stream: RedisStream, commands: bytes) -> None:
        """A reply proves that all changes until the command was sent have been told: Redis writes in order."""
        sent = stream.loop.time()
        answered = stream.ask(commands, 1)
        try:
            await asyncio.wait((answered,), timeout=2 * self.heartbeat_seconds)
        finally:
            if not answered.done():
                answered.cancel()
        if answered.cancelled():
            raise OnlineStoreError(
                f"Redis at {self.endpoint.text} was silent for {2 * self.heartbeat_seconds:g} s"
            )
        answered.result()
        self.heard_at = sent

    def _pushed(self, push: list[Any]) -> None:
        if not push or push[0] != b"invalidate":
            return
        keys = push[1] if len(push) > 1 else None
        self.changes += len(keys or ())
        self.on_change(keys)

    def _in_doubt(self) -> None:
        self.stands = False
        self.on_change(None)
