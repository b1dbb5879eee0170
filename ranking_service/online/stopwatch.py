"""How long a request's stages took, and how long its caller still waits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Time since the last lap, by stage, and what is left until the deadline."""

    deadline: float = math.inf
    """When the caller stops waiting, in `time.monotonic` seconds."""
    clock: Callable[[], int] = time.perf_counter_ns
    micros: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = self.clock()
        self.given = self.left()
        """Seconds until the deadline when the watch was started."""

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def lap(self, stage: str) -> None:
        now = self.clock()
        self.micros[stage] = (now - self._last) // 1000
        self._last = now
