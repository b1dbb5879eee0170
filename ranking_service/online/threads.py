"""Blocking calls for an event loop: each in a thread, within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from feature_repo.errors import OnlineStoreError

T = TypeVar("T")


@dataclass
class StoreThreads:
    """Belongs to one event loop. The calls must end by timeouts of their own: a thread cannot be stopped."""

    address: str
    """Of the store, for messages."""
    threads: int = 8
    """Calls at once; a further one waits within its deadline."""
    _busy: int = 0
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, "redis")

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

    def close(self) -> None:
        """Calls under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._busy -= 1
        if not future.cancelled():
            future.exception()
