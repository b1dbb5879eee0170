"""One step in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_repo.errors import MissingInputError

STATUS = Path("/proc/self/status")
SAID = 2_000
"""Characters of a failed step's last words that are passed on."""


@dataclass(frozen=True)
class Alone:
    """What a step took."""

    seconds: float
    peak_mb: float
    """Largest resident memory of its process so far, imports included."""
    checksum: list[float]
    """Equal for equal results; empty where there is nothing to compare."""


def run_alone(module: str, function: str, arguments: Mapping[str, Any]) -> Alone:
    """Call `function(**arguments)`, which returns an Alone, in a fresh Python.

    Raises MissingInputError with its last words where it fails or is killed.
    """
    command = [sys.executable, "-W", "ignore", "-m", __name__, module, function, json.dumps(dict(arguments))]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        killed = finished.returncode == -signal.SIGKILL
        words = "it was killed, probably for want of memory" if killed else finished.stderr.strip()[-SAID:]
        raise MissingInputError(f"{function} did not finish: {words}")
    return Alone(**json.loads(finished.stdout.strip().splitlines()[-1]))


def peak_mb() -> float:
    """Of this process since it started; the figure of `getrusage` would begin with its parent's."""
    if STATUS.is_file():
        (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def main() -> None:
    """`python -m materialization.bench.alone MODULE FUNCTION ARGUMENTS`."""
    import importlib
    from dataclasses import asdict

    module, function, arguments = sys.argv[1:]
    found = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
