"""Batched reads on a few connections that all requests of an event loop share; within a deadline, hedged.

A slow or lost reply delays its own request only: the deadline belongs to the read, not to the connection. A read
without an answer after a while is sent once more on another connection, as long as that stays rare. A connection that
says nothing while it owes answers is closed and opened anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.link import (
    KEYS_PER_SCAN,
    PING,
    HashRead,
    Reply,
    command,
    read_commands,
)
from materialization.data_plane.online.stream import RedisStream

REOPEN_SECONDS = 0.1
"""Pause after a connection could not be opened."""
MOST_PENDING = 256
"""Unanswered exchanges of one connection; further reads fail at once."""

Answer = asyncio.Future[list[Any]]
"""The replies of one exchange."""


@dataclass
class ReadCounts:
    """What has become of the reads so far."""

    reads: int = 0
    failed: int = 0
    hedged: int = 0
    hedges_won: int = 0
    """Hedged reads that the second connection answered first."""
    opened: int = 0
    """Connections."""


@dataclass
class Lane:
    """The place of one connection."""

    stream: RedisStream | None = None
    opening: asyncio.Task[RedisStream] | None = None
    not_before: float = 0.0
    """When it may be tried again, in the event loop's time."""
    why: str = "is not connected"


@dataclass
class PipelinedLink:
    """Belongs to one event loop."""

    endpoint: Endpoint
    connections: int = 2
    silent_seconds: float = 0.25
    """A connection that owes answers and has been silent for this long is closed."""
    hedge_seconds: float = 0.0
    """0 never sends a read twice."""
    hedge_share: float = 0.1
    """Of the reads, at most."""
    counts: ReadCounts = field(default_factory=ReadCounts)
    on_read: Callable[[float, str], None] | None = None
    """Takes the seconds of each exchange and what came of it: "ok", "late" or "failed"."""

    def __post_init__(self) -> None:
        self._lanes = [Lane() for _ in range(self.connections)]

    @property
    def address(self) -> str:
        return self.endpoint.text

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a reply or a connection."""
        return not any(lane.opening or (lane.stream and lane.stream.pending) for lane in self._lanes)

    async def read(
        self, strings: Sequence[bytes], hashes: Sequence[HashRead], *, seconds: float
    ) -> list[Reply]:
        """MGET of all strings, HMGET of each hash: one round trip. Raises OnlineStoreError after `seconds`."""
        commands, count = read_commands(strings, hashes)
        sizes = [len(strings)] * bool(strings) + [len(fields) for _, fields in hashes]
        replies = await self.exchange(commands, count, seconds=seconds)
        for reply, size in zip(replies, sizes, strict=True):
            if not isinstance(reply, list) or len(reply) != size:
                raise OnlineStoreError(f"Redis at {self.address} answered nonsense: {size} values asked for")
        return replies[0] if len(replies) == 1 else [value for reply in replies for value in reply]

    async def fields(self, key: bytes, *, seconds: float) -> dict[bytes, bytes]:
        """All of one hash. Raises OnlineStoreError."""
        (flat,) = await self.exchange(command(b"HGETALL", key), 1, seconds=seconds)
        if not isinstance(flat, list) or len(flat) % 2:
            raise OnlineStoreError(f"Redis at {self.address} answered nonsense: a hash was asked for")
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def keys(self, pattern: bytes, *, most: int, until: float) -> list[bytes]:
        """Some keys of the pattern, until that second of the event loop's time. Raises OnlineStoreError."""
        found: list[bytes] = []
        cursor = b"0"
        while len(found) < most and (left := _left(until)):
            scan = command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % KEYS_PER_SCAN)
            ((cursor, some),) = await self.exchange(scan, 1, seconds=left)
            found += some
            if cursor == b"0":
                break
        return found[:most]

    async def ping(self, *, seconds: float) -> None:
        """Raises OnlineStoreError when the server does not answer in time."""
        await self.exchange(PING, 1, seconds=seconds)

    async def exchange(
        self, commands: bytes, reply_count: int, *, seconds: float, keeps_refusals: bool = False
    ) -> list[Any]:
        """Send prepared commands at once; their replies, as `RedisStream.ask`. Raises OnlineStoreError."""
        ask = methodcaller("ask", commands, reply_count, keeps_refusals=keeps_refusals)
        self.counts.reads += 1
        began, outcome = asyncio.get_running_loop().time(), "failed"
        try:
            replies = await self._hedged(ask, began + seconds)
            outcome = "ok"
            return replies
        except TimeoutError:
            outcome = "late"
            self.counts.failed += 1
            self._drop_silent()
            raise OnlineStoreError(
                f"Redis at {self.address} did not answer within {seconds * 1e3:.0f} ms"
            ) from None
        except OnlineStoreError:
            self.counts.failed += 1
            raise
        finally:
            if self.on_read is not None:
                self.on_read(asyncio.get_running_loop().time() - began, outcome)

    async def close(self) -> None:
        """Close all connections; reads under way fail."""
        for lane in self._lanes:
            if lane.opening is not None:
                lane.opening.cancel()
            if lane.stream is not None:
                lane.stream.abort("is no longer asked")

    async def _hedged(self, ask: Callable[[RedisStream], Answer], deadline: float) -> list[Any]:
        first = self._best()
        asked = [ask(await self._stream(first, deadline))]
        try:
            if self._may_hedge():
                await asyncio.wait(asked, timeout=min(self.hedge_seconds, _left(deadline)))
                if not asked[0].done() and self._may_hedge():
                    self.counts.hedged += 1
                    asked += self._asked_again(first, ask)
            return await self._first_answer(asked, deadline)
        finally:
            for future in asked:
                _give_up(future)

    def _asked_again(self, first: Lane, ask: Callable[[RedisStream], Answer]) -> list[Answer]:
        """On another connection, if there is an open one."""
        other = self._best(but=first)
        if other.stream is not None and other.stream.closed is None and other.stream.pending < MOST_PENDING:
            return [ask(other.stream)]
        if asyncio.get_running_loop().time() >= other.not_before:
            self._begin_opening(other)
        return []

    async def _first_answer(self, asked: list[Answer], deadline: float) -> list[Any]:
        """Of any; the failure of one is no failure while another may answer.

        A reply that is here when the loop comes back counts, however late that is: the server is not to blame.
        """
        waiting: set[Answer] = set(asked)
        while True:
            done, waiting = await asyncio.wait(
                waiting, timeout=_left(deadline), return_when=asyncio.FIRST_COMPLETED
            )
            good = next((one for one in done if one.exception() is None), None)
            if good is not None:
                self.counts.hedges_won += good is not asked[0]
                return good.result()
            if not done:
                raise TimeoutError
            if not waiting:
                return next(iter(done)).result()

    def _may_hedge(self) -> bool:
        if not self.hedge_seconds or self.connections < 2:
            return False
        return self.counts.hedged < 5 + self.hedge_share * self.counts.reads

    def _best(self, but: Lane | None = None) -> Lane:
        """The connection that owes the fewest answers; an open one before one that is not."""

        def load(lane: Lane) -> tuple[bool, int]:
            return (
                lane.stream is None or lane.stream.closed is not None,
                lane.stream.pending if lane.stream else 0,
            )

        return min((lane for lane in self._lanes if lane is not but), key=load)

    async def _stream(self, lane: Lane, deadline: float) -> RedisStream:
        """The lane's connection, opened where it is not. Raises OnlineStoreError, TimeoutError."""
        stream = lane.stream
        if stream is not None and stream.closed is None:
            if stream.pending:
                self._open_more()
            if stream.pending < MOST_PENDING:
                return stream
            owed = stream.pending
            self._drop_silent()
            raise OnlineStoreError(f"Redis at {self.address} owes {owed} answers")
        opening = self._begin_opening(lane)
        done, _ = await asyncio.wait((opening,), timeout=_left(deadline))
        if not done:
            raise TimeoutError
        return opening.result()

    def _open_more(self) -> None:
        """There is more to do than one connection should: begin to open those that are not."""
        now = asyncio.get_running_loop().time()
        for lane in self._lanes:
            if (lane.stream is None or lane.stream.closed is not None) and now >= lane.not_before:
                self._begin_opening(lane)

    def _begin_opening(self, lane: Lane) -> asyncio.Task[RedisStream]:
        """Opening goes on when who asked for it has given up."""
        if lane.opening is None:
            loop = asyncio.get_running_loop()
            if loop.time() < lane.not_before:
                raise OnlineStoreError(lane.why)
            lane.opening = loop.create_task(self._opened(lane))
            lane.opening.add_done_callback(_give_up)
        return lane.opening

    async def _opened(self, lane: Lane) -> RedisStream:
        try:
            lane.stream = await self.endpoint.open()
            self.counts.opened += 1
        except OnlineStoreError as error:
            lane.why = str(error)
            lane.not_before = asyncio.get_running_loop().time() + REOPEN_SECONDS
            raise
        finally:
            lane.opening = None
        return lane.stream

    def _drop_silent(self) -> None:
        for lane in self._lanes:
            stream = lane.stream
            if stream is None or not stream.pending or stream.closed is not None:
                continue
            if stream.loop.time() - stream.last_heard > self.silent_seconds:
                stream.abort(f"was silent for {self.silent_seconds:g} s")


def _left(deadline: float) -> float:
    return max(0.0, deadline - asyncio.get_running_loop().time())


def _give_up(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more; its failure is nobody's news."""
    if not future.done():
        future.cancel()
    elif not future.cancelled():
        future.exception()
