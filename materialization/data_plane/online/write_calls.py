"""Script calls that write rows, and their sending: while the server works on some, the next are on their way."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import redis
from redis.exceptions import AskError, NoScriptError, ResponseError, TryAgainError

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.free_loop import answered_within
from materialization.data_plane.online.link import bulk
from materialization.data_plane.online.write_scripts import HASHES, STRINGS

ROWS_PER_CALL, BYTES_PER_CALL = 256, 256 * 1024
"""Bounds on what one call holds up the server for: about a millisecond."""
CALLS_IN_FLIGHT = 3
SCRIPTS = {False: STRINGS.encode(), True: HASHES.encode()}
"""By whether rows are fields of hashes."""
DIGESTS = {is_hash: hashlib.sha1(script).hexdigest().encode() for is_hash, script in SCRIPTS.items()}

Steps: TypeAlias = Generator[bytes | None, Any, list[Any]]
"""Yields bytes to send, or None where it wants the next reply; an error reply comes as a value."""


@dataclass(frozen=True)
class RowsToWrite:
    """Rows and where they go."""

    keys: Sequence[bytes]
    fields: Sequence[bytes] | None
    rows: Sequence[bytes]
    expire_ms: int
    now_ms: int

    def calls(self, cuts: Sequence[int] = ()) -> list[Call]:
        """All rows in order, bounded by count and by bytes; no call goes over a cut."""
        longest = max(map(len, self.rows), default=1)
        step = max(1, min(ROWS_PER_CALL, BYTES_PER_CALL // max(1, longest)))
        return [
            Call(self, start, min(start + step, stop))
            for begin, stop in pairwise([0, *cuts, len(self.rows)])
            for start in range(begin, stop, step)
        ]

    def picked(self, places: Sequence[int]) -> RowsToWrite:
        """Some of the rows, in the order of `places`."""
        return RowsToWrite(
            [self.keys[place] for place in places],
            None if self.fields is None else [self.fields[place] for place in places],
            [self.rows[place] for place in places],
            self.expire_ms,
            self.now_ms,
        )


@dataclass(frozen=True)
class Call:
    """A script call for some of the rows."""

    of: RowsToWrite
    start: int
    stop: int

    def command(self, *, in_full: bool) -> bytes:
        """As Redis reads it from the wire; with the whole script, which the server then remembers, or its digest."""
        groups = self.words(in_full=in_full)
        return b"".join((b"*%d\r\n" % sum(map(len, groups)), *map(bulk, groups)))

    def words(self, *, in_full: bool) -> list[Sequence[bytes]]:
        """The words of the command, in groups of one kind."""
        of, here = self.of, slice(self.start, self.stop)
        is_hash = of.fields is not None
        script = (b"EVAL", SCRIPTS[is_hash]) if in_full else (b"EVALSHA", DIGESTS[is_hash])
        return [
            (*script, b"%d" % (self.stop - self.start)),
            of.keys[here],
            (b"%d" % of.expire_ms, b"%d" % of.now_ms),
            of.rows[here],
            () if of.fields is None else of.fields[here],
        ]


def conversation(calls: Sequence[Call]) -> Steps:
    """Sends all calls and returns their replies; ends after the first error that is no matter of a cluster's slots.

    The first call carries the script. Where the server has forgotten it since, the calls from there on are sent
    again, in order: a row that is written twice is the same row.
    """
    replies: list[Any] = []
    sent, in_full = 0, True
    while len(replies) < len(calls):
        while sent < len(calls) and sent - len(replies) < CALLS_IN_FLIGHT:
            yield calls[sent].command(in_full=in_full)
            sent, in_full = sent + 1, False
        reply = yield None
        if isinstance(reply, NoScriptError):
            yield from _ignored(sent - len(replies) - 1)
            sent, in_full = len(replies), True
            continue
        replies.append(reply)
        if isinstance(reply, Exception) and not isinstance(reply, (AskError, TryAgainError)):
            yield from _ignored(sent - len(replies))
            break
    return replies


def single(command: bytes) -> Steps:
    """One command."""
    yield command
    return [(yield None)]


def hold(pool: redis.ConnectionPool, steps: Steps, *, address: str) -> list[Any]:
    """Run a conversation on a connection of the pool. Raises OnlineStoreError."""
    try:
        connection: Any = pool.get_connection()
    except (redis.RedisError, OSError) as error:
        raise OnlineStoreError(f"Redis at {address} cannot be reached: {error}") from error
    complete = False
    try:
        replies = _held(connection, steps)
        complete = True
    except (redis.RedisError, OSError) as error:
        raise OnlineStoreError(f"Redis at {address} failed: {error}") from error
    finally:
        if not complete:
            connection.disconnect()
        pool.release(connection)
    return replies


async def hold_async(pool: Any, steps: Steps, *, address: str, connect_seconds: float) -> list[Any]:
    """The same, asynchronously; a cancelled conversation closes its connection."""
    try:
        async with answered_within(connect_seconds):
            connection: Any = await pool.get_connection()
    except (redis.RedisError, OSError) as error:
        raise OnlineStoreError(f"Redis at {address} cannot be reached: {error}") from error
    complete = False
    try:
        replies = await _held_async(connection, steps)
        complete = True
    except (redis.RedisError, OSError) as error:
        raise OnlineStoreError(f"Redis at {address} failed: {error}") from error
    finally:
        if not complete:
            await connection.disconnect(nowait=True)
        await pool.release(connection)
    return replies


def _held(connection: Any, steps: Steps) -> list[Any]:
    reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            return list(end.value)
        reply = None
        if step is not None:
            connection.send_packed_command([step], check_health=False)
            continue
        try:
            reply = connection.read_response(disable_decoding=True)
        except ResponseError as error:
            reply = error


async def _held_async(connection: Any, steps: Steps) -> list[Any]:
    reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            return list(end.value)
        reply = None
        if step is not None:
            await connection.send_packed_command([step], check_health=False)
            continue
        try:
            reply = await connection.read_response(disable_decoding=True)
        except ResponseError as error:
            reply = error


def _ignored(count: int) -> Generator[None, Any, None]:
    for _ in range(count):
        yield None
