"""A circuit breaker: after failures Redis is not asked at all, until a probe finds it well."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from feature_repo.errors import OnlineStoreError
from ranking_service.settings_sections import BreakerSettings

logger = logging.getLogger(__name__)


@dataclass
class Breaker:
    """Closed while reads go well, open while they do not. Belongs to one event loop."""

    settings: BreakerSettings
    is_open: bool = False
    opened: int = 0
    """How often it has opened."""
    why: str = ""
    _failures_in_a_row: int = 0
    clock: Callable[[], float] = time.monotonic
    _last: deque[float | None] = field(default_factory=deque)
    """Of the last reads: when they failed, None where they did not."""

    def check(self) -> None:
        """Raises OnlineStoreError while open."""
        if self.is_open:
            raise OnlineStoreError(f"the feature store is not asked at the moment: {self.why}")

    def succeeded(self) -> None:
        self._failures_in_a_row = 0
        self._remember(None)

    def failed(self, why: str) -> None:
        """Opens when enough reads failed, and not all of them at the same moment: a pause is not an outage."""
        now = self.clock()
        self._failures_in_a_row += 1
        self._remember(now)
        if self.is_open:
            return
        failures = [at for at in self._last if at is not None]
        row = failures[-self._failures_in_a_row :]
        lasting = now - self.settings.failing_seconds
        in_a_row = self._failures_in_a_row >= self.settings.failures and row[0] <= lasting
        often = len(failures) >= self.settings.failure_share * self.settings.window_reads
        if not in_a_row and not (often and failures[0] <= lasting):
            return
        self.is_open, self.why = True, why
        self.opened += 1
        logger.warning("circuit breaker open: %s", why)

    async def probe(self, try_it: Callable[[], Awaitable[object]]) -> None:
        """Until cancelled: while open, try every so often, and close when that goes well."""
        while True:
            await asyncio.sleep(self.settings.probe_seconds)
            if not self.is_open:
                continue
            try:
                await try_it()
            except OnlineStoreError as error:
                self.why = str(error)
                continue
            self.is_open = False
            self._failures_in_a_row = 0
            self._last.clear()
            logger.warning("circuit breaker closed: the feature store answers again")

    def _remember(self, failed_at: float | None) -> None:
        self._last.append(failed_at)
        while len(self._last) > self.settings.window_reads:
            self._last.popleft()
