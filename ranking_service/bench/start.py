"""From the command to the first answers, next to what importing the libraries takes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from materialization.bench.figures import Figure, Findings, Measured, at_most
from materialization.progress import Report
from ranking_service.bench.calls import Caller
from ranking_service.bench.processes import ServeOptions, free_port, serve_command, spawned, wait_until_ready
from ranking_service.bench.sizes import START, Plan
from ranking_service.bench.world import BenchWorld

IMPORTS = "import numpy, xgboost, grpc"
READY, IMPORTED, FIRST, LATER = "ready", "imports", "first answer", "later answers"
LATER_CALLS = 200
MOST_SECONDS = 3.0


@dataclass(frozen=True)
class Started:
    """One start."""

    ready: float
    """Seconds from the command until the health service said SERVING."""
    first: float
    """Seconds of the first request, on a connection that was open."""
    later: float
    """Median seconds of the ones after it."""


def measure_start(world: BenchWorld, plan: Plan, folder: Path, *, report: Report) -> Findings:
    """Starts and bare imports take turns."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for done in range(plan.starts):
        report("starts", done, plan.starts)
        seconds[IMPORTED].append(_imports())
        started = _start(world, folder)
        seconds[READY].append(started.ready)
        seconds[FIRST].append(started.first)
        seconds[LATER].append(started.later)
    report("starts", plan.starts, plan.starts)
    return _findings(seconds)


def _findings(seconds: dict[str, list[float]]) -> Findings:
    what = {
        READY: ("from the command until the health service says SERVING", "s", 1.0),
        IMPORTED: (f"python -c '{IMPORTS}'", "s", 1.0),
        FIRST: ("the first request to a fresh server", "ms", 1e3),
        LATER: (f"median of the next {LATER_CALLS}", "ms", 1e3),
    }
    measured = tuple(
        Measured.of(START, name, text, unit=unit, values=[factor * value for value in seconds[name]])
        for name, (text, unit, factor) in what.items()
    )
    ratios = [first / later for first, later in zip(seconds[FIRST], seconds[LATER], strict=True)]
    figures = (
        Figure(START, "seconds to ready, median", measured[0].median, at_most(MOST_SECONDS)),
        Figure(START, "first request next to the median", float(np.median(ratios)), at_most(2)),
    )
    return Findings(measured, figures)


def _imports() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - started


def _start(world: BenchWorld, folder: Path) -> Started:
    port = free_port()
    command, environment = serve_command(world, folder, port, ServeOptions())
    started = time.perf_counter()
    with spawned(command, environment) as process:
        wait_until_ready(f"127.0.0.1:{port}", process)
        ready = time.perf_counter() - started
        first, *later = _calls(world, port)
    return Started(ready, first, float(np.median(later)))


def _calls(world: BenchWorld, port: int) -> list[float]:
    messages = world.case(world.draws).messages()
    seconds = []
    with Caller(f"127.0.0.1:{port}") as caller:
        caller.is_serving()  # opens the connection
        for number in range(LATER_CALLS + 1):
            started = time.perf_counter()
            caller.rank(messages[number % len(messages)])
            seconds.append(time.perf_counter() - started)
    return seconds
