"""A circuit breaker: after failures Redis is not asked at all, until a probe finds it well."""

from __future__ import annotations

import asyncio
import logging
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
    _last: deque[bool] = field(default_factory=deque)
    """True for each of the last reads that failed."""

    def check(self) -> None:
        """Raises OnlineStoreError while open."""
        if self.is_open:
            raise OnlineStoreError(f"the feature store is not asked at the moment: {self.why}")

    def succeeded(self) -> None:
        self._failures_in_a_row = 0
        self._remember(failed=False)

    def failed(self, why: str) -> None:
        """Opens when enough reads failed."""
        self._failures_in_a_row += 1
        self._remember(failed=True)
        share = sum(self._last) / self.settings.window_reads
        if self.is_open or (
            self._failures_in_a_row < self.settings.failures and share < self.settings.failure_share
        ):
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

    def _remember(self, *, failed: bool) -> None:
        self._last.append(failed)
        while len(self._last) > self.settings.window_reads:
            self._last.popleft()
