"""How many requests one caller may send: a bucket each, refilled at a steady rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from feature_repo.errors import OverloadedError
from ranking_service.settings_sections import SecuritySettings

MOST_CALLERS = 10_000
"""Buckets kept; the one used longest ago goes first, and a caller without one starts with a full bucket."""


@dataclass
class RateLimiter:
    """For one worker process; used from its event loop only.

    Each bucket is one number: the instant at which it will be full again.
    """

    requests_per_second: float
    burst_requests: int
    clock: Callable[[], float] = time.monotonic
    most_callers: int = MOST_CALLERS
    refused: int = 0
    """Requests over their caller's limit so far."""
    _full_at: OrderedDict[str, float] = field(default_factory=OrderedDict)

    @classmethod
    def of(cls, security: SecuritySettings) -> RateLimiter | None:
        """None where the settings set no limit."""
        if security.requests_per_second == 0:
            return None
        return cls(security.requests_per_second, security.burst_requests)

    def check(self, caller: str, requests: int = 1) -> None:
        """Count requests against the caller's limit. Raises OverloadedError that says when to try again."""
        wait = self.wait_seconds(caller, requests)
        if wait:
            self.refused += requests
            raise OverloadedError(
                f"more than {self.requests_per_second:g} requests a second of {caller}; send fewer",
                retry_after_seconds=wait,
            )

    def wait_seconds(self, caller: str, requests: int = 1) -> float:
        """0.0 where the requests are within the caller's limit, which they then count against; else how long until
        they would be.

        A call of more requests than the burst needs a full bucket, and leaves a debt.
        """
        now = self.clock()
        full_at = max(self._full_at.get(caller, now), now)
        needed = min(requests, self.burst_requests)
        room_at = full_at - (self.burst_requests - needed) / self.requests_per_second
        if room_at > now + 1e-9:
            return room_at - now
        self._full_at[caller] = full_at + requests / self.requests_per_second
        self._full_at.move_to_end(caller)
        if len(self._full_at) > self.most_callers:
            self._full_at.popitem(last=False)
        return 0.0

    def __len__(self) -> int:
        """Buckets kept."""
        return len(self._full_at)
