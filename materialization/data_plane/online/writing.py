"""Rows into Redis: of several writers' rows the newest wins, and a correction at the same event time counts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.cluster_writing import write_to_cluster
from materialization.data_plane.online.connection import RedisConnections
from materialization.data_plane.online.link import command
from materialization.data_plane.online.write_calls import (
    RowsToWrite,
    Steps,
    conversation,
    hold,
    hold_async,
    single,
)
from materialization.data_plane.rows.keys import ViewKeys
from materialization.data_plane.rows.layout import Layout


@dataclass(frozen=True)
class Written:
    """What became of rows."""

    applied: int = 0
    superseded: int = 0
    """Rows older than the one Redis had: by event time, then by created time."""


@dataclass(frozen=True)
class RowWriter:
    """Writes rows of one view; thread-safe."""

    connections: RedisConnections
    keys: ViewKeys
    expire_ms: int = 0
    """How long a row may stay after it was written, and longer by what its event lies in the future; 0 is forever.
    A hash stays as long as the row in it that may stay longest."""
    clock: Callable[[], float] = time.time
    """Unix seconds; read once per write."""

    def register(self, layout: Layout) -> None:
        """Tell readers of other definitions what rows of this layout mean; before the first row is written."""
        entry = command(b"HSET", *self._schema(layout))
        if self.connections.is_cluster:
            self._register_with_cluster(layout)
        else:
            self._checked(self._exchange(lambda: single(entry)))

    def write(self, keys: Sequence[bytes], fields: Sequence[bytes] | None, rows: Sequence[bytes]) -> Written:
        """Returns when Redis has taken all rows. `fields` where the view's rows lie in hashes, else None.

        Of rows with one key the newest ends up in Redis, in whatever order they come; of
        equally new ones the last. Raises OnlineStoreError; some rows may then be there, each of them whole.
        """
        wanted = RowsToWrite(keys, fields, rows, self.expire_ms, int(self.clock() * 1000))
        if self.connections.is_cluster:
            replies = self.connections.tried(lambda: write_to_cluster(self.connections, wanted))
            return self._counted(replies, len(rows))
        calls = wanted.calls()
        return self._counted(self._exchange(lambda: conversation(calls)) if calls else [], len(rows))

    async def register_async(self, layout: Layout) -> None:
        """As `register`."""
        if self.connections.is_cluster:
            await asyncio.to_thread(self.register, layout)
            return
        entry = command(b"HSET", *self._schema(layout))
        self._checked(await self._exchange_async(lambda: single(entry)))

    async def write_async(
        self, keys: Sequence[bytes], fields: Sequence[bytes] | None, rows: Sequence[bytes]
    ) -> Written:
        """As `write`."""
        if self.connections.is_cluster:
            return await asyncio.to_thread(self.write, keys, fields, rows)
        calls = RowsToWrite(keys, fields, rows, self.expire_ms, int(self.clock() * 1000)).calls()
        replies = await self._exchange_async(lambda: conversation(calls)) if calls else []
        return self._counted(replies, len(rows))

    def _register_with_cluster(self, layout: Layout) -> None:
        client = self.connections.cluster(writing=True)
        try:
            client.execute_command("HSET", *self._schema(layout))  # type: ignore[no-untyped-call]
        except (redis.RedisError, OSError) as error:
            raise OnlineStoreError(f"Redis Cluster at {self.connections.address} failed: {error}") from error

    def _schema(self, layout: Layout) -> tuple[bytes, bytes, bytes]:
        return self.keys.schemas, layout.fingerprint.hex().encode(), json.dumps(layout.to_json()).encode()

    def _exchange(self, steps: Callable[[], Steps]) -> list[Any]:
        pool, address = self.connections.write_pool(), self.connections.address
        return self.connections.tried(lambda: hold(pool, steps(), address=address))

    async def _exchange_async(self, steps: Callable[[], Steps]) -> list[Any]:
        pool, address = self.connections.async_write_pool(), self.connections.address
        patience = self.connections.settings.connect_seconds + self.connections.settings.command_seconds
        return await self.connections.tried_async(
            lambda: hold_async(pool, steps(), address=address, connect_seconds=patience)
        )

    def _checked(self, replies: Sequence[Any]) -> Sequence[Any]:
        """Raises OnlineStoreError for the first error among them."""
        for reply in replies:
            if isinstance(reply, Exception):
                what = self.keys.view
                raise OnlineStoreError(
                    f"Redis at {self.connections.address} refused rows of view {what}: {reply}"
                ) from reply
        return replies

    def _counted(self, replies: Sequence[Any], count: int) -> Written:
        applied = sum(self._checked(replies))
        return Written(applied, count - applied)
