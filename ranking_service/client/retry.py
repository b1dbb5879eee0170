"""When a failed call is tried again: jittered backoff, the server's word, and a budget that rules out retry storms.

gRPC can retry by itself (`retryPolicy`, `retryThrottling`), but it does not see the refusals inside a RankMany answer,
and it waits for a retry that can only come after the deadline, which turns the reason into DEADLINE_EXCEEDED.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ranking_service.client.errors import OverloadedError, UnavailableError
from ranking_service.client.lanes import Lane


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how fast one call is tried."""

    attempts: int = 3
    """The first included; 1 never retries."""
    first_seconds: float = 0.02
    """The n-th retry waits a random time up to this times 2^(n-1) ..."""
    most_seconds: float = 0.5
    """... and at most this, on top of what the server asks for."""
    budget_share: float = 0.1
    """Retries may be this share of calls ..."""
    budget_burst: int = 10
    """... and so many more, once."""


@dataclass
class RetryBudget:
    """A token bucket: a call adds `share`, a retry takes 1. So retries <= burst + share x calls, whatever happens.

    Thread-safe.
    """

    share: float
    burst: int
    tokens: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.tokens = float(self.burst)

    def add(self) -> None:
        """One more call."""
        with self._lock:
            self.tokens = min(self.tokens + self.share, max(float(self.burst), 1.0))

    def take(self) -> bool:
        """Whether a retry may be made; it counts as made then."""
        with self._lock:
            if self.tokens < 1:
                return False
            self.tokens -= 1
            return True


@dataclass
class Retries:
    """The tries of one call; times are the clock's seconds."""

    policy: RetryPolicy
    budget: RetryBudget
    deadline: float
    random: Callable[[], float]
    """0 to 1."""
    tried: int = 1
    lane: Lane | None = None
    """Where the last try went."""

    def wait(self, error: Exception, now: float, *, elsewhere: bool = False) -> float | None:
        """Seconds to wait before the next try; None when there is to be none.

        `elsewhere` says that another server works. Going on there, because this one is gone without a word, takes
        nothing from the budget: what fails is left out for a while (`Lanes`), so that few calls come to that.
        Otherwise a client of few calls would use its budget up on a server that stays away.
        """
        if not isinstance(error, UnavailableError) or self.tried >= self.policy.attempts:
            return None
        pushback = error.retry_after or 0.0
        if pushback < 0:
            return None
        step: float = min(self.policy.first_seconds * 2 ** (self.tried - 1), self.policy.most_seconds)
        seconds = pushback + self.random() * step
        is_gone = elsewhere and error.retry_after is None and not isinstance(error, OverloadedError)
        if now + seconds >= self.deadline or not (is_gone or self.budget.take()):
            return None
        self.tried += 1
        return seconds
