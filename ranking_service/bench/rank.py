"""One run of `marquee bench rank`: the measures asked for, on one world."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from materialization.bench.figures import Findings
from materialization.bench.run import BUSY, machine
from materialization.progress import Report, silent
from ranking_service.bench.growth import measure_growth
from ranking_service.bench.one_client import measure_cache, measure_latency, measure_log
from ranking_service.bench.sizes import (
    CACHE,
    GROWTH,
    LATENCY,
    LOG,
    MEASURES,
    OPEN_LOOP,
    SATURATION,
    START,
    STOCK,
    Plan,
)
from ranking_service.bench.start import measure_start
from ranking_service.bench.under_load import measure_load
from ranking_service.bench.world import BenchWorld
from ranking_service.bundle import load


@dataclass(frozen=True)
class BenchResult:
    """One run."""

    findings: Findings
    setting: dict[str, Any]
    """Sizes, and what it ran on."""

    def to_json(self) -> dict[str, Any]:
        """What is infinite, or no number, is null."""
        content: dict[str, Any] = _finite({**self.findings.to_json(), "setting": self.setting})
        return content


def measure(
    world: BenchWorld,
    plan: Plan,
    *,
    only: Collection[str] = tuple(MEASURES),
    log: bool = False,
    report: Report = silent,
) -> BenchResult:
    """Measure `only`; with `log` the servers write their serving log meanwhile.

    Raises MissingInputError where a server does not start, OnlineStoreError where answers are not complete.
    """
    ran_on = machine()
    findings = Findings(notes=_notes(ran_on))
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as made:
        folder = Path(made)
        if {LATENCY, STOCK} & set(only):
            found = measure_latency(world, plan, folder, log=log, stock=STOCK in only, report=report)
            findings += _of(found, only)
        if CACHE in only:
            findings += measure_cache(world, plan, folder, report=report)
        if LOG in only:
            findings += measure_log(world, plan, folder, report=report)
        if {SATURATION, OPEN_LOOP} & set(only):
            findings += measure_load(world, plan, folder, only, log=log, report=report)
        if GROWTH in only:
            findings += measure_growth(plan, folder, report=report)
        if START in only:
            findings += measure_start(world, plan, folder, report=report)
    return BenchResult(findings, {**_setting(world, plan, log=log), **ran_on})


def _of(findings: Findings, only: Collection[str]) -> Findings:
    """Stock is measured next to latency; what was not asked for is not told."""
    return Findings(
        tuple(one for one in findings.measured if one.measure in only),
        tuple(figure for figure in findings.figures if figure.measure in only),
        findings.notes,
    )


def _notes(ran_on: dict[str, Any]) -> tuple[str, ...]:
    if ran_on["load_average"] < BUSY:
        return ()
    return (
        f"the machine was not idle when the run began (load average {ran_on['load_average']:.1f} on "
        f"{ran_on['cores']} cores): tails are not its own, and ratios are not to be believed",
    )


def _setting(world: BenchWorld, plan: Plan, *, log: bool) -> dict[str, Any]:
    return {
        "rows": world.rows,
        "candidates": world.candidates,
        "catalogue": world.catalogue,
        "features": len(world.contract.features),
        "stored_values": sum(len(view.fields) for view in world.contract.views),
        "views": len(world.contract.views),
        "trees": load(world.bundle).booster.num_boosted_rounds(),
        "serving_log": log,
        "plan": asdict(plan),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
