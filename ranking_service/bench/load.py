"""Load from a process of its own: how much is sent and when, and what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.errors import MissingInputError

Times = npt.NDArray[np.float64]
POISSON, CONSTANT = "poisson", "constant"
CONNECTIONS = 32
"""Of open-loop load: with few of them, chance might give a worker none."""
GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Load:
    """What a generator does. Exactly one of `clients` and `rate` is not 0."""

    address: str
    case: str
    """File with the requests."""
    seconds: float
    clients: int = 0
    """Closed loop: so many clients, each with a connection of its own, who wait for an answer before they ask again."""
    rate: float = 0.0
    """Open loop: requests per second, sent when they are due, whatever became of the earlier ones."""
    arrivals: str = POISSON
    seed: int = 0
    warm_seconds: float = 1.0
    """Before `seconds` begin; nothing of it counts."""
    connect_seconds: float = 30.0


@dataclass(frozen=True)
class LoadResult:
    """Answers to the requests that count, in the order they came."""

    seconds: float
    latency_ms: list[float]
    """Of open-loop load from the instant the request was due, so that a server that stalls is charged for everybody
    who would have waited; of closed-loop load from the call."""
    lateness_ms: list[float]
    """How long after it was due each request was sent: the generator's own share. Empty for closed loops."""
    complete: int
    """Answers at level 0."""
    degraded: int
    failed: dict[str, int]
    """Calls without an answer, by gRPC status."""
    cached_share: float
    """Of candidates whose rows came from the server's memory."""
    client_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Complete answers per second."""
        return self.complete / self.seconds

    @property
    def sent(self) -> int:
        return self.complete + self.degraded + sum(self.failed.values())

    def percentile(self, share: float) -> float:
        """Milliseconds within which `share` percent of requests were answered; infinite where too many failed."""
        unanswered = sum(self.failed.values())
        values = np.sort(np.concatenate([self.latency_ms, np.full(unanswered, np.inf)]))
        return float(values[min(int(len(values) * share / 100), len(values) - 1)]) if len(values) else np.inf


def due_times(rate: float, seconds: float, arrivals: str, seed: int) -> Times:
    """Seconds from the start at which requests are due; random but for ever the same arrivals, or evenly spaced."""
    if arrivals == CONSTANT:
        return np.arange(0.0, seconds, 1 / rate)
    random = np.random.default_rng(seed)
    gaps = random.exponential(1 / rate, size=int(rate * seconds * 1.5) + 50)
    times = np.cumsum(gaps)
    return times[times < seconds]


def run_load(load: Load) -> LoadResult:
    """Raises MissingInputError where the generator fails."""
    command = [sys.executable, "-m", "ranking_service.bench.load_process", json.dumps(asdict(load))]
    limit = load.warm_seconds + load.seconds + GRACE_SECONDS
    finished = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if finished.returncode:
        raise MissingInputError(f"the load generator failed:\n{finished.stderr.strip()[-2000:]}")
    raw: dict[str, Any] = json.loads(finished.stdout)
    return LoadResult(**raw)


def case_path(folder: Path, name: str) -> Path:
    """Where the requests of a load lie."""
    return folder / f"{name}.json"
