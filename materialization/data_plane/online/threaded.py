"""A blocking link for an event loop: every read in a thread, within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.link import HashRead, Link, Reply

T = TypeVar("T")


@dataclass
class ThreadedLink:
    """For clients that know no event loop."""

    link: Link
    address: str
    threads: int = 8
    """Reads at once; a further one waits within its deadline."""
    _busy: int = 0
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, "redis")

    async def read(
        self, strings: Sequence[bytes], hashes: Sequence[HashRead], *, seconds: float
    ) -> list[Reply]:
        """As the link's own. Raises OnlineStoreError after `seconds`; the thread ends by the link's timeouts."""
        return await self.call(lambda: self.link.read(strings, hashes), seconds=seconds)

    async def fields(self, key: bytes, *, seconds: float) -> dict[bytes, bytes]:
        """All of one hash. Raises OnlineStoreError."""
        return await self.call(lambda: self.link.fields(key), seconds=seconds)

    async def call(self, action: Callable[[], T], *, seconds: float) -> T:
        """Its result. Raises OnlineStoreError after `seconds`, or at once where all threads have been given up on."""
        if self._busy >= 2 * self.threads:
            raise OnlineStoreError(f"Redis at {self.address} owes {self._busy} answers")
        self._busy += 1
        asked = asyncio.get_running_loop().run_in_executor(self._pool, action)
        asked.add_done_callback(self._ended)
        done, _ = await asyncio.wait((asked,), timeout=seconds)
        if not done:
            raise OnlineStoreError(f"Redis at {self.address} did not answer within {seconds * 1e3:.0f} ms")
        return asked.result()

    async def close(self) -> None:
        """Reads under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._busy -= 1
        if not future.cancelled():
            future.exception()
