"""What is needed to run a check again: versions, thresholds, sizes, seconds, memory."""

from __future__ import annotations

import dataclasses
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skew_checks.distributions.settings import DriftSettings
from skew_checks.judging.rates import CONFIDENCE
from skew_checks.replay.parts import PART_ROWS
from skew_checks.replay.served import Log
from skew_checks.result.parts import Volume
from skew_checks.thresholds import Thresholds

LIBRARIES = ("marquee", "feast", "duckdb", "pyarrow", "numpy", "scipy", "xgboost")


@dataclass
class Stages:
    """Seconds by stage; what is done several times adds up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def manifest(thresholds: Thresholds, volume: Volume, log: Log, stages: Stages) -> dict[str, Any]:
    """Plain values."""
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "thresholds": {**dataclasses.asdict(thresholds), "confidence": CONFIDENCE},
        "drift settings": dataclasses.asdict(DriftSettings()),
        "requests by bundle": log.versions(),
        "segments": len(log.segments),
        "rows": volume.rows,
        "part rows": PART_ROWS,
        "seconds": {stage: round(seconds, 3) for stage, seconds in stages.seconds.items()},
        "peak memory bytes": peak_memory(),
    }


def peak_memory() -> int:
    """Bytes that this program held at most. The kernel's `ru_maxrss` also knows what the program before `exec` held,
    so it is asked only where there is no /proc.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
