"""Point-in-time joins: stock, ours and the bare SQL, each time in a process of its own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.errors import MissingInputError
from materialization.bench import join_steps
from materialization.bench.alone import Alone, run_alone
from materialization.bench.figures import ONE_THIRD, Figure, Findings, Measured, at_least, at_most
from materialization.bench.made_up import Labels, write_request, write_snapshots
from materialization.bench.sizes import Sizes
from materialization.progress import Report

JOIN, LARGE = "join", "large-join"
STOCK, OURS, BARE = "stock", "ours", "bare SQL"
STEPS = join_steps.__name__


def measure_join(
    folder: Path, sizes: Sizes, *, at: datetime, random: np.random.Generator, report: Report
) -> Findings:
    """Ours and the bare SQL take turns, stock joins once among them; once for each number of snapshots.

    Raises MissingInputError where one does not finish, or their results differ.
    """
    findings = Findings()
    for snapshots in sizes.snapshots:
        sources = folder / str(snapshots)
        write_snapshots(sources, sizes, snapshots, last=at, random=random)
        request = sources / "request.parquet"
        write_request(request, sizes, Labels(sizes.join_rows, snapshots, at), random)
        found = _take_turns(sources, request, sizes, report=report)
        _check(found)
        findings += _findings(found, sizes, snapshots)
    return findings


def _take_turns(folder: Path, request: Path, sizes: Sizes, *, report: Report) -> dict[str, list[Alone]]:
    arguments = {"folder": str(folder), "request": str(request), "sizes": asdict(sizes)}
    turns = [OURS, BARE] * sizes.joins
    turns.insert(len(turns) // 2, STOCK)
    found: dict[str, list[Alone]] = defaultdict(list)
    step = f"joins, {folder.name} snapshots"
    for number, name in enumerate(turns):
        report(step, number, len(turns))
        found[name].append(_join(name, arguments))
    report(step, len(turns), len(turns))
    return found


def _join(name: str, arguments: dict[str, Any]) -> Alone:
    if name == BARE:
        return run_alone(STEPS, join_steps.bare.__name__, arguments)
    return run_alone(STEPS, join_steps.through_feast.__name__, {"side": name, **arguments})


def _check(found: dict[str, list[Alone]]) -> None:
    expected = found[BARE][0].checksum
    for name, runs in found.items():
        for run in runs:
            if not np.allclose(run.checksum, expected, rtol=1e-9):
                raise MissingInputError(
                    f"the join of {name} differs from the bare SQL's; a figure would say nothing"
                )


def _findings(found: dict[str, list[Alone]], sizes: Sizes, snapshots: int) -> Findings:
    columns = sizes.user_features + sizes.item_features
    what = {
        STOCK: f"{sizes.join_rows:,} rows x {columns} features of {snapshots} days, Feast's DuckDB store",
        OURS: "the same through our store",
        BARE: "the same as ASOF joins in plain DuckDB, no Feast",
    }
    seconds = {name: [run.seconds for run in runs] for name, runs in found.items()}
    peaks = {name: [run.peak_mb for run in runs] for name, runs in found.items()}
    measured = [
        *(Measured.of(JOIN, name, what[name], unit="s", values=seconds[name]) for name in what),
        *(Measured.of(JOIN, name, "peak memory", unit="MB", values=peaks[name]) for name in what),
    ]
    second = {name: float(np.median(values)) for name, values in seconds.items()}
    peak = {name: float(np.median(values)) for name, values in peaks.items()}
    has_bars, days = snapshots == sizes.snapshots[0], f"{snapshots} days"
    figures = tuple(
        Figure(JOIN, f"{text}, {days}", value, bar if has_bars else None)
        for text, value, bar in (
            ("times faster than stock", second[STOCK] / second[OURS], at_least(20)),
            ("share of stock's memory", peak[OURS] / peak[STOCK], at_most(ONE_THIRD)),
            ("times the bare SQL", second[OURS] / second[BARE], at_most(1.5)),
        )
    )
    return Findings(tuple(measured), figures)


def measure_large_join(
    folder: Path, sizes: Sizes, *, at: datetime, random: np.random.Generator, report: Report
) -> Findings:
    """Parquet to parquet within a memory limit; where it needs more, its message is the finding."""
    days = sizes.snapshots[0]
    write_snapshots(folder, sizes, days, last=at, random=random)
    request, result = folder / "request.parquet", folder / "result.parquet"
    report("large join: making the request", 0, 1)
    write_request(request, sizes, Labels(sizes.large_join_rows, days, at), random)
    report("large join: making the request", 1, 1)
    arguments = {
        "folder": str(folder),
        "request": str(request),
        "result": str(result),
        "memory_limit": sizes.large_join_memory,
        "sizes": asdict(sizes),
    }
    what = f"{sizes.large_join_rows:,} rows, memory_limit {sizes.large_join_memory}, parquet to parquet"
    report("large join", 0, 1)
    try:
        run = run_alone(STEPS, join_steps.streamed.__name__, arguments)
    except MissingInputError as error:
        return Findings(
            figures=(Figure(LARGE, "share of rows that arrived", 0.0, at_least(1)),), notes=(str(error),)
        )
    finally:
        report("large join", 1, 1)
    return Findings(
        (
            Measured.of(LARGE, OURS, what, unit="s", values=[run.seconds]),
            Measured.of(LARGE, OURS, "peak memory", unit="MB", values=[run.peak_mb]),
        ),
        (Figure(LARGE, "share of rows that arrived", run.checksum[0] / sizes.large_join_rows, at_least(1)),),
    )
