"""One connection to Redis, shared by many exchanges at once on an event loop.

Redis answers in the order it is asked, so replies are matched by their order. Every exchange ends with a PING that
carries a number of its own: an exchange whose PING comes back with another number, or whose replies are of another
shape than asked for, poisons the connection, so that no caller ever sees what another asked for.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis

from feature_repo.errors import OnlineStoreError

NUMBERS = itertools.count()
"""Of exchanges, on all connections of this process."""


@dataclass
class Exchange:
    """Commands sent together, and the replies that have come so far."""

    reply_count: int
    mark: bytes
    answered: asyncio.Future[list[Any]]
    keeps_refusals: bool = False
    replies: list[Any] = field(default_factory=list)


class RedisStream(asyncio.Protocol):
    """A connection after its handshake. Not thread-safe; belongs to one event loop."""

    def __init__(self, address: str, on_push: Callable[[list[Any]], None] | None = None) -> None:
        """`on_push` takes what a RESP3 server says unasked."""
        self.address = address
        self.on_push = on_push
        self.loop = asyncio.get_running_loop()
        self.last_heard = self.loop.time()
        """When the last whole reply came, or the first question since then was asked."""
        self.closed: str | None = None
        """Why it can be used no more."""
        self._transport: asyncio.Transport | None = None
        self._replies = hiredis.Reader()
        self._waiting: deque[Exchange] = deque()

    @property
    def pending(self) -> int:
        """Exchanges without an answer, given up ones included."""
        return len(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=2**24)

    def ask(
        self, commands: bytes, reply_count: int, *, keeps_refusals: bool = False
    ) -> asyncio.Future[list[Any]]:
        """Send prepared commands; the future brings their replies, or OnlineStoreError.

        One refused command fails all, unless `keeps_refusals`: each refusal is then a reply, a `hiredis.ReplyError`.
        Whoever no longer wants the answer cancels the future: the replies are then read and thrown away.
        """
        mark = b"%d" % next(NUMBERS)
        exchange = Exchange(reply_count + 1, mark, self.loop.create_future(), keeps_refusals)
        if self.closed is not None or self._transport is None:
            exchange.answered.set_exception(self._failure(self.closed or "not connected"))
            return exchange.answered
        if not self._waiting:
            self.last_heard = self.loop.time()
        self._waiting.append(exchange)
        ping = b"*2\r\n$4\r\nPING\r\n$%d\r\n%b\r\n" % (len(exchange.mark), exchange.mark)
        self._transport.write(commands + ping)
        return exchange.answered

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not False:
                if isinstance(reply, hiredis.PushNotification):
                    if self.on_push is not None:
                        self.on_push(list(reply))
                else:
                    self._take(reply)
        except hiredis.ProtocolError as error:
            self.abort(f"sent what is no Redis reply ({error})")

    def connection_lost(self, error: Exception | None) -> None:
        self.abort(f"closed the connection{f' ({error})' if error else ''}")

    def abort(self, why: str) -> None:
        """Close at once; every exchange fails."""
        if self.closed is not None:
            return
        self.closed = why
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            answered = self._waiting.popleft().answered
            if not answered.done():
                answered.set_exception(self._failure(why))

    def _take(self, reply: Any) -> None:
        if self.closed is not None:
            return
        if not self._waiting:
            self.abort("answered what was not asked")
            return
        self.last_heard = self.loop.time()
        exchange = self._waiting[0]
        exchange.replies.append(reply)
        if len(exchange.replies) < exchange.reply_count:
            return
        mark = exchange.replies.pop()
        if mark != exchange.mark and not isinstance(mark, hiredis.ReplyError):
            self.abort("mixed up its replies")
            return
        self._waiting.popleft()
        if exchange.answered.done():
            return
        judged = [mark] if exchange.keeps_refusals else [*exchange.replies, mark]
        refused = next((one for one in judged if isinstance(one, hiredis.ReplyError)), None)
        if refused is not None:
            exchange.answered.set_exception(self._failure(f"refused: {refused}"))
        else:
            exchange.answered.set_result(exchange.replies)

    def _failure(self, why: str) -> OnlineStoreError:
        return OnlineStoreError(f"Redis at {self.address} {why}")
