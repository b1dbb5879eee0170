"""Work that holds the event loop for milliseconds: one request's after the other's, with a look around in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

LOOKS = 8
"""Rounds of the loop between two pieces of work; taking in one call needs several."""


@dataclass
class LoopTurns:
    """Belongs to one event loop.

    asyncio finishes all work that is ready before it looks at its sockets again, and gRPC takes in one call in
    several such looks. If the rows of several requests have come, their work would be done in one go, while calls
    wait unseen: not turned away in time, not answered without the model, but late, or dropped by gRPC.
    """

    in_flight: int = 0
    """Requests from their beginning to their end, whether they work or wait."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around a request."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Around a request's work, in the order of asking. A request that is alone has its turn at once."""
        async with self._lock:
            if self.in_flight > 1:
                for _ in range(LOOKS):
                    await asyncio.sleep(0)
            yield
