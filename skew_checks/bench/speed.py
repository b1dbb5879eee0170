"""How long the whole nightly job takes, and in how much memory: `marquee skew check` with its report, as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from resource import struct_rusage

import numpy as np

from feature_repo.errors import FeatureError
from feature_repo.workspace import HOME_VARIABLE
from materialization.bench.figures import Figure, at_most
from ranking_service.online.request import RankRequest
from skew_checks.bench.run import Step, fresh
from skew_checks.bench.world import Size, World
from skew_checks.formats.report_json import loads

CANDIDATES = 100
SPEED_SIZE = Size(users=2000, items=2000, days=9, served_day=8, dense_days=2, has_weekend=False, rounds=30)
MILLION = 1_000_000
SECONDS_AT_MILLION, GIGABYTES_AT_MILLION = 180.0, 4.0
LINEAR = 1.25
"""Times the proportional time: what still counts as linear."""
USUAL_EXITS = (0, 1, 2, 3)


@dataclass(frozen=True)
class SpeedRun:
    """One run of the job."""

    rows: int
    requests: int
    features: int
    seconds: float
    processor_seconds: float
    peak_gigabytes: float
    exit_code: int

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


def measure_speed(world: World, folder: Path, sizes: Sequence[int], step: Step) -> list[SpeedRun]:
    """The job on logs of so many candidate rows, each served and logged as ever."""
    return [_run(world, folder, rows, step) for rows in sorted(sizes)]


def _run(world: World, folder: Path, rows: int, step: Step) -> SpeedRun:
    requests = _requests(world, rows // CANDIDATES)
    with fresh(world, folder, seed=rows) as night:
        night.ask(requests)
        step(f"serving {rows:,} candidates")
        night.serve()
        step(f"checking {rows:,} rows x {len(world.bundle.contract.features)} features")
        began = time.perf_counter()
        code, used = _job(night.workspace.home, f"{world.day:%Y-%m-%d}")
        return SpeedRun(
            rows=len(requests) * CANDIDATES,
            requests=len(requests),
            features=len(world.bundle.contract.features),
            seconds=time.perf_counter() - began,
            processor_seconds=used.ru_utime + used.ru_stime,
            peak_gigabytes=_peak(night.workspace.reports) / 2**30,
            exit_code=code,
        )


def _peak(reports: Path) -> int:
    """Bytes, as the night's report has them."""
    report = loads(next(reports.glob("skew-*.json")).read_text(encoding="utf-8"))
    return int(report.manifest["peak memory bytes"])


def _requests(world: World, count: int) -> tuple[RankRequest, ...]:
    """All day long, a hundred items for each; users and items as in the day's own requests."""
    random = np.random.default_rng(0)
    own = world.requests
    items = np.array(sorted({item for request in own for item in request.candidate_ids}))
    if len(items) < CANDIDATES:
        raise FeatureError(f"only {len(items)} items were shown; simulate more than {CANDIDATES}")
    times = np.sort(random.uniform(0, 86_399, count)) + world.day.timestamp()
    return tuple(
        RankRequest(
            request_id=f"speed-{number}",
            user_id=own[number % len(own)].user_id,
            candidate_ids=tuple(random.choice(items, CANDIDATES, replace=False).tolist()),
            request_timestamp=round(float(at), 6),
            surface=own[number % len(own)].surface,
            device=own[number % len(own)].device,
            session_position=own[number % len(own)].session_position,
        )
        for number, at in enumerate(times)
    )


def _job(home: Path, day: str) -> tuple[int, struct_rusage]:
    """Exit code and what the process and its children used. Raises FeatureError where the job itself failed."""
    log = home / "job.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "marquee", "skew", "check", "--date", day],
            env={**os.environ, HOME_VARIABLE: str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code not in USUAL_EXITS:
        raise FeatureError(f"the job ended with {code}: {log.read_text()[-1000:]}")
    return code, used


def speed_figures(runs: Sequence[SpeedRun]) -> tuple[Figure, ...]:
    """Bars stand on a million rows; between sizes, time per row."""
    told = []
    for run in runs:
        at_million = run.rows == MILLION
        seconds = at_most(SECONDS_AT_MILLION) if at_million else None
        memory = at_most(GIGABYTES_AT_MILLION) if at_million else None
        told += [
            Figure("speed", f"{run.rows:,} rows: seconds", run.seconds, seconds),
            Figure("speed", f"{run.rows:,} rows: peak memory, GB", run.peak_gigabytes, memory),
            Figure("speed", f"{run.rows:,} rows: rows per second", run.rows_per_second),
        ]
    for small, large in pairwise(runs):
        ratio = (large.seconds / large.rows) / (small.seconds / small.rows)
        what = f"time per row, {large.rows:,} rows over {small.rows:,}"
        told.append(Figure("speed", what, ratio, at_most(LINEAR)))
    return tuple(told)
