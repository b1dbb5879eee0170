"""How many requests are worked on at once: a limit that follows what the answers' times show; priorities; a queue.

The limit rises by one for every round of answers within the target time, and falls by a tenth when an answer takes
longer (additive increase, multiplicative decrease, as TCP's congestion window). A request that cannot be expected to
be answered in its caller's time is turned away at once instead of late, and so is one whose turn does not come in time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from feature_repo.errors import OverloadedError, TooLateError
from ranking_service.online.pace import Pace
from ranking_service.settings_sections import AdmissionSettings

DECREASE = 0.9
LEAST_RETRY_SECONDS = 0.005
SPARE = 2.0
"""So many times the usual work's time must be left: work on what comes too late is lost for all."""
WAITED_SHARE = 0.75
"""Of a caller's time may be expected to go by before its turn; the rest is for the work and for surprises."""


def backlog_limits(settings: AdmissionSettings) -> list[tuple[str, int]]:
    """Options of gRPC's server for what waits unseen, before any of our code runs: each call that only Python could
    refuse costs about 0.3 ms, and at three times the capacity refusals would leave little time for answers."""
    return [
        ("grpc.server.max_pending_requests", (settings.backlog + 1) // 2),
        ("grpc.server.max_pending_requests_hard_limit", settings.backlog),
    ]


@dataclass
class Admission:
    """Belongs to one event loop."""

    settings: AdmissionSettings
    limit: float = 0.0
    in_flight: int = 0
    prefetches: int = 0
    """Of those in flight."""
    turned_away: int = 0
    pace: Pace = field(default_factory=Pace)
    """Seconds between two answers while there is work."""
    work: Pace = field(default_factory=Pace)
    """Seconds that a request is worked on, beside the others."""
    _interactive: deque[asyncio.Future[None]] = field(default_factory=deque)
    _prefetch: deque[asyncio.Future[None]] = field(default_factory=deque)
    _lowered_at: float = 0.0

    def __post_init__(self) -> None:
        self.limit = self.limit or float(min(max(self.settings.least, 8), self.settings.most))
        self._last_end = 0.0

    @property
    def queued(self) -> int:
        """Requests that wait for their turn."""
        return len(self._interactive) + len(self._prefetch)

    @asynccontextmanager
    async def turn(self, *, is_prefetch: bool, deadline: float) -> AsyncIterator[None]:
        """Around a request's work; `deadline` in `time.monotonic` seconds.

        Raises OverloadedError that says when to try again, TooLateError.
        """
        if deadline <= time.monotonic():
            raise TooLateError("the caller's time is over; allow more")
        needed = self.work.expected(1)
        if self.in_flight and deadline - time.monotonic() < SPARE * needed:
            self._refuse("too little of the caller's time is left", needed)
        if self._has_room(is_prefetch):
            self._take(is_prefetch)
        else:
            await self._wait(is_prefetch, deadline)
        began = time.monotonic()
        try:
            yield
        finally:
            self._release(is_prefetch)
            self._adapt(began, time.monotonic())
            self._next()

    def _has_room(self, is_prefetch: bool) -> bool:
        limit = int(self.limit)
        if is_prefetch and self.prefetches >= max(1, int(limit * self.settings.prefetch_share)):
            return False
        return self.in_flight < limit

    def _take(self, is_prefetch: bool) -> None:
        self.in_flight += 1
        self.prefetches += is_prefetch

    def _release(self, is_prefetch: bool) -> None:
        self.in_flight -= 1
        self.prefetches -= is_prefetch

    async def _wait(self, is_prefetch: bool, deadline: float) -> None:
        """Until `_next` has taken a place for this request."""
        queue = self._prefetch if is_prefetch else self._interactive
        ahead = self.in_flight + len(self._interactive) + (len(self._prefetch) if is_prefetch else 0)
        expected = self.pace.expected(ahead + 1)
        now = time.monotonic()
        if expected > WAITED_SHARE * (deadline - now):
            self._refuse(f"{ahead} requests are ahead, which leaves no time for this one", expected)
        if self.queued >= self.settings.queue and not self._made_room(is_prefetch):
            self._refuse(f"{self.in_flight} requests are being worked on, {self.queued} wait", expected)
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await asyncio.wait((turn,), timeout=deadline - now - SPARE * self.work.expected(1))
        except BaseException:
            if turn.done() and turn.exception() is None:
                self._release(is_prefetch)
                self._next()
            raise
        finally:
            if turn in queue:
                queue.remove(turn)
        if turn.done():
            turn.result()
        elif time.monotonic() < deadline:
            self._refuse("its turn did not come in time", self.pace.expected(1))
        else:
            raise TooLateError("the caller's time ran out while the request waited for its turn")

    def _made_room(self, is_prefetch: bool) -> bool:
        """An interactive request takes the place of the prefetch request that came last."""
        if is_prefetch or not self._prefetch:
            return False
        self.turned_away += 1
        self._prefetch.pop().set_exception(
            self._overloaded("interactive requests come first", self.pace.expected(1))
        )
        return True

    def _refuse(self, problem: str, expected: float) -> None:
        self.turned_away += 1
        raise self._overloaded(problem, expected)

    def _overloaded(self, problem: str, expected: float) -> OverloadedError:
        return OverloadedError(problem, retry_after_seconds=max(expected, LEAST_RETRY_SECONDS))

    def _next(self) -> None:
        """Take places for whoever is first, interactive requests before prefetching ones, and wake them."""
        for queue, is_prefetch in ((self._interactive, False), (self._prefetch, True)):
            while queue and self._has_room(is_prefetch):
                self._take(is_prefetch)
                queue.popleft().set_result(None)

    def _adapt(self, began: float, now: float) -> None:
        if self.in_flight:
            self.pace.took(now - max(self._last_end, began), 1)
        self._last_end = now
        self.work.took(now - began, 1)
        if now - began > self.settings.target_seconds:
            if now - self._lowered_at > now - began:
                self.limit = max(float(self.settings.least), self.limit * DECREASE)
                self._lowered_at = now
        elif self.in_flight + 1 >= int(self.limit):
            self.limit = min(float(self.settings.most), self.limit + 1 / self.limit)
