"""A server's last seconds: new calls are refused, running ones are waited for, and nothing else is.

gRPC's own `stop` waits for calls that nobody works on, as long as for running ones: for open streams and health watches
without work, and, once in some hundred stops under load, for a call that came at that very moment and that it lost
before any of our code saw it (grpcio 1.85.1: 6 of 1,600 stops of a bare server). Its caller waits as long.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Any

LOOK_SECONDS = 0.05
QUIET_LOOKS = 5
"""So often in a row nothing may be under way: what gRPC has just received is at work by then, what it sends is sent."""
CUT_SECONDS = 1.0
"""For gRPC to end what it still has; it takes milliseconds."""

logger = logging.getLogger(__name__)


@dataclass
class Underway:
    """Counts the work that a stop waits for: `with underway:` around it. Belongs to one event loop."""

    count: int = 0
    begun: int = 0
    """Since the start."""

    def begin(self) -> None:
        """Some work; `end` must follow."""
        self.count += 1
        self.begun += 1

    def end(self) -> None:
        self.count -= 1

    def __enter__(self) -> None:
        self.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def until_sent(self, context: Any) -> None:
        """The whole of a call with one answer, until gRPC has sent that or the caller has gone; `context` is gRPC's."""
        self.begin()
        context.add_done_callback(lambda _: self.end())


async def drain(server: Any, underway: Underway, *, seconds: float) -> None:
    """Stop a grpc.aio server: it takes nothing new from now on, and has `seconds` for what is under way."""
    ending = asyncio.ensure_future(server.stop(seconds))
    quiet, begun = 0, underway.begun
    while not ending.done() and quiet < QUIET_LOOKS:
        await asyncio.wait({ending}, timeout=LOOK_SECONDS)
        is_quiet = not underway.count and underway.begun == begun
        quiet, begun = quiet + 1 if is_quiet else 0, underway.begun
    if not ending.done():
        cut = asyncio.ensure_future(server.stop(None))
        _, late = await asyncio.wait({ending, cut}, timeout=CUT_SECONDS)
        if late:
            logger.warning("gRPC does not end its calls; the process goes on to its end without it")
            return
        cut.result()
    ending.result()
