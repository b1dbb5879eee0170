"""Answers without the model for requests there is no room to rank: in time and said to be so, instead of refused.

The name is that of Klein et al., "Brownout: Building More Robust Cloud Applications", ICSE 2014.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MOST_SAVED_SECONDS = 0.05
"""Of time not used that may be used later, all at once."""


@dataclass
class Brownout:
    """Keeps such answers to a share of a worker's time: they must not keep it from ranking."""

    share: float
    """0 to 1; 0 gives none."""
    clock: Callable[[], float] = time.perf_counter
    answers: int = 0
    _saved_seconds: float = MOST_SAVED_SECONDS
    _looked: float = field(init=False)

    def __post_init__(self) -> None:
        self._looked = self.clock()

    @property
    def has_time(self) -> bool:
        """Whether one more may be given now."""
        now = self.clock()
        saved = self._saved_seconds + self.share * (now - self._looked)
        self._saved_seconds, self._looked = min(saved, MOST_SAVED_SECONDS), now
        return self.share > 0 and saved > 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around the work on one, which awaits nothing."""
        began = self.clock()
        try:
            yield
            self.answers += 1
        finally:
            self._saved_seconds -= self.clock() - began
