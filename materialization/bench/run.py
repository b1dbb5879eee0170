"""One run: the measures asked for, on data of its own that is gone afterwards."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from materialization.bench.fetch import measure_fetch
from materialization.bench.figures import Findings
from materialization.bench.growth import measure_growth
from materialization.bench.join import measure_join, measure_large_join
from materialization.bench.load import measure_load, measure_write
from materialization.bench.online_world import online_world
from materialization.bench.sizes import MEASURES, Sizes
from materialization.private_redis import redis_executable
from materialization.progress import Report, silent

OfflineMeasure: TypeAlias = Callable[..., Findings]
OFFLINE: dict[str, OfflineMeasure] = {
    "growth": measure_growth,
    "join": measure_join,
    "large-join": measure_large_join,
}
LIBRARIES = ("feast", "redis", "hiredis", "duckdb", "pyarrow", "numpy", "pandas", "valkey-glide-sync")
BUSY = 0.5
"""Load average of a minute; an idle machine has less."""
CPU = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class DataPlaneResult:
    """One run."""

    findings: Findings
    setting: dict[str, Any]
    """Sizes, and what it ran on."""

    def to_json(self) -> dict[str, Any]:
        return {**self.findings.to_json(), "setting": self.setting}


def measure(
    sizes: Sizes,
    *,
    only: Collection[str] = tuple(MEASURES),
    folder: Path | None = None,
    report: Report = silent,
) -> DataPlaneResult:
    """Measure `only`, in the order of `MEASURES`; the data lie in a fresh folder inside `folder`.

    Raises MissingInputError where a contender does not finish, OnlineStoreError where results differ.
    """
    bench = _Bench(sizes, datetime.now(UTC).replace(microsecond=0), np.random.default_rng(0), report)
    ran_on = machine()
    findings = Findings(notes=_business(ran_on))
    with tempfile.TemporaryDirectory(prefix="marquee-bench-", dir=folder) as made:
        if {"fetch", "materialize"} & set(only):
            findings += bench.online(Path(made) / "online", only)
        for name, of_measure in OFFLINE.items():
            if name in only:
                findings += bench.offline(Path(made) / name, of_measure)
    return DataPlaneResult(findings, {**asdict(sizes), **ran_on})


@dataclass(frozen=True)
class _Bench:
    """What all measures of a run share."""

    sizes: Sizes
    at: datetime
    random: np.random.Generator
    report: Report

    def online(self, folder: Path, only: Collection[str]) -> Findings:
        """Without `materialize` the rows are materialized all the same, once, and nobody looks at the clock."""
        findings = Findings()
        with online_world(folder, self.sizes, at=self.at, random=self.random) as world:
            if "materialize" in only:
                findings += measure_load(world, self.sizes, report=self.report)
                findings += measure_write(world, self.sizes, report=self.report)
            else:
                for done, served in enumerate((world.ours, world.stock)):
                    self.report("materializing", done, 2)
                    served.load(self.at)
                self.report("materializing", 2, 2)
            if "fetch" in only:
                findings += measure_fetch(world, self.sizes, random=self.random, report=self.report)
        return findings

    def offline(self, folder: Path, of_measure: OfflineMeasure) -> Findings:
        """In a folder that is gone before the next measure begins."""
        folder.mkdir()
        try:
            return of_measure(folder, self.sizes, at=self.at, random=self.random, report=self.report)
        finally:
            shutil.rmtree(folder)


def _business(ran_on: dict[str, Any]) -> tuple[str, ...]:
    """A warning where something else was running already."""
    if ran_on["load_average"] < BUSY:
        return ()
    return (
        f"the machine was not idle when the run began (load average {ran_on['load_average']:.1f} on "
        f"{ran_on['cores']} cores): tails are not its own, and medians are too long",
    )


def machine() -> dict[str, Any]:
    """What a run runs on, and how busy that was a moment ago."""
    server = subprocess.run([redis_executable(), "--version"], capture_output=True, text=True, check=False)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "memory_gb": round(memory / 2**30),
        "python": platform.python_version(),
        "redis_server": server.stdout.strip(),
        **{name: _version(name) for name in LIBRARIES},
    }


def _cpu() -> str:
    """As the kernel names it, where it does."""
    lines = CPU.read_text().splitlines() if CPU.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
