"""Deadlines for a server's answer on an event loop that has other work too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICKS = 10


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, but the server is not charged for the time that the loop was busy elsewhere.

    Feast builds the answer of another request for 40 ms and more; by then the reply may lie unread for long.
    So the time is counted in ten ticks, and however long the loop is away, only one tick passes.
    Raises TimeoutError.
    """
    loop = asyncio.get_running_loop()
    ticking: asyncio.TimerHandle

    def tick(limit: asyncio.Timeout, left: int) -> None:
        nonlocal ticking
        if left:
            ticking = loop.call_later(seconds / TICKS, tick, limit, left - 1)
        else:
            limit.reschedule(loop.time())

    try:
        async with asyncio.timeout(None) as limit:
            ticking = loop.call_later(seconds / TICKS, tick, limit, TICKS - 1)
            try:
                yield
            finally:
                ticking.cancel()
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} s") from error
