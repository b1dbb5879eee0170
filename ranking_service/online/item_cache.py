"""Item rows in memory, kept current by Redis' invalidation messages; filled at the start and after changes.

A row may be used unread only if it was read while the invalidation channel stood, and nothing about its keys has been
heard since that read was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.invalidations import InvalidationChannel
from materialization.data_plane.online.pipelined import PipelinedLink
from materialization.data_plane.rows.keys import escaped
from ranking_service.online.blocks import Blocks
from ranking_service.online.fetched import Origin
from ranking_service.online.item_table import ItemTable, Slots

REFRESHED_AT_ONCE = 200
REFRESH_PAUSE_SECONDS = 0.02
IDLE_SECONDS = 0.1

ReadItems = Callable[[Sequence[str]], Awaitable[object]]
"""Reads items' rows, so that they are kept."""


@dataclass(eq=False)
class Watch:
    """What has been heard while one read was under way; each is itself, however alike two are."""

    items: set[str] = field(default_factory=set)
    everything: bool = False


@dataclass
class ItemCache:
    """Belongs to one event loop."""

    table: ItemTable
    prefixes: tuple[bytes, ...]
    """Of the keys of all item views, the entity's type included."""
    channel: InvalidationChannel | None = None
    hits: int = 0
    misses: int = 0
    _watches: list[Watch] = field(default_factory=list)

    def follow(self, endpoint: Endpoint, heartbeat_seconds: float) -> None:
        """Without this nothing is ever used unread; `run` does the following."""
        self.channel = InvalidationChannel(endpoint, self.prefixes, self._changed, heartbeat_seconds)

    @property
    def is_current(self) -> bool:
        """Whether changes are heard of."""
        return self.channel is not None and self.channel.is_current

    def find(self, item_ids: Sequence[str]) -> tuple[Slots, npt.NDArray[np.bool_]]:
        """int [n] slots, and bool [n] whether a row may be used unread."""
        slots = self.table.find(item_ids)
        usable = self.table.fresh[slots] if self.is_current else np.zeros(len(slots), np.bool_)
        hits = int(np.count_nonzero(usable))
        self.hits += hits
        self.misses += len(slots) - hits
        return slots, usable

    @contextmanager
    def reading(self) -> Iterator[Watch]:
        """Around a read, from before it is sent until its rows are kept."""
        watch = Watch(everything=not self.is_current)
        self._watches.append(watch)
        try:
            yield watch
        finally:
            self._watches.remove(watch)

    def keep(self, item_ids: Sequence[str], blocks: Blocks, watch: Watch) -> None:
        """The rows of a read that is whole; never in the place of rows that were read after a change it missed.

        Damaged rows are there for this request only: the next one reads them again. They take the place of what was
        known before, so that until then an outage finds defaults instead of last-known rows.
        """
        if watch.everything or not self.is_current:
            fresh = np.zeros(len(item_ids), np.bool_)
        elif watch.items:
            fresh = np.array([item not in watch.items for item in item_ids])
        else:
            fresh = np.ones(len(item_ids), np.bool_)
        fresh &= ~(blocks.presence == Origin.UNREAD).any(axis=1)
        newer = ~fresh & self.table.fresh[self.table.find(item_ids)]
        if newer.any() and self.is_current:
            kept = np.flatnonzero(~newer)
            item_ids, blocks, fresh = [item_ids[row] for row in kept.tolist()], blocks.take(kept), fresh[kept]
        self.table.put(item_ids, blocks, now=time.monotonic(), fresh=fresh)

    async def run(self, read: ReadItems) -> None:
        """Hear of changes, and read what changed before somebody waits for it; until cancelled."""
        if self.channel is None:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.channel.run())
            tasks.create_task(self._refresh(read))

    async def fill(self, link: PipelinedLink, read: ReadItems, *, seconds: float) -> int:
        """Read items that are in Redis, for so long; how many were read. Raises OnlineStoreError."""
        until = asyncio.get_running_loop().time() + seconds
        while not self.is_current and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(IDLE_SECONDS / 10)
        prefix = self.prefixes[0]
        keys = await link.keys(escaped(prefix) + b"*", most=self.table.capacity, until=until)
        item_ids = list(dict.fromkeys(key[len(prefix) :].decode(errors="replace") for key in keys))
        for start in range(0, len(item_ids), REFRESHED_AT_ONCE):
            if asyncio.get_running_loop().time() > until:
                return start
            await read(item_ids[start : start + REFRESHED_AT_ONCE])
        return len(item_ids)

    async def _refresh(self, read: ReadItems) -> None:
        """Little by little, so that requests hardly notice."""
        while True:
            wanted = self.table.doubtful(REFRESHED_AT_ONCE) if self.is_current else []
            if not wanted:
                await asyncio.sleep(IDLE_SECONDS)
                continue
            try:
                await read(wanted)
            except OnlineStoreError:
                await asyncio.sleep(IDLE_SECONDS)
            await asyncio.sleep(REFRESH_PAUSE_SECONDS)

    def _changed(self, keys: Sequence[bytes] | None) -> None:
        if keys is None:
            for watch in self._watches:
                watch.everything = True
            until = time.monotonic() - (self._silence() if self.channel else 0.0)
            self.table.doubt_all(current_until=until)
            return
        items = {item for key in keys if (item := self._item(key)) is not None}
        for watch in self._watches:
            watch.items |= items
        self.table.doubt(items)

    def _silence(self) -> float:
        """Seconds since the last heartbeat that came back was sent."""
        assert self.channel is not None
        return max(0.0, asyncio.get_running_loop().time() - self.channel.heard_at)

    def _item(self, key: bytes) -> str | None:
        for prefix in self.prefixes:
            if key.startswith(prefix):
                return key[len(prefix) :].decode(errors="replace")
        return None
