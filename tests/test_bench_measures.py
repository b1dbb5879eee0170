"""The measures of `marquee bench rank` beyond one client's latency, each on a small world with real servers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_worlds import PLAN, SMALL, figure, medians
from click.exceptions import Exit
from click.testing import CliRunner

from marquee.bench_figures import judge
from marquee.bench_rank import bench_rank
from materialization.bench.figures import Figure, Findings, at_most
from ranking_service.bench.processor import cpu_seconds
from ranking_service.bench.rank import BenchResult, measure
from ranking_service.bench.sizes import CACHE, GROWTH, LATENCY, LOG, OPEN_LOOP, SATURATION, START
from ranking_service.bench.world import BenchWorld, floats_world


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> BenchWorld:
    return floats_world(tmp_path / "world", redis_url, SMALL)


def test_rows_from_memory_and_from_redis_are_told_apart(world: BenchWorld) -> None:
    findings = measure(world, PLAN, only=(CACHE,)).findings
    assert figure(findings, "hot candidates: share") == 1.0
    assert figure(findings, "no cache: share") == 0.0


def test_load_is_measured_next_to_the_bare_parts_and_below_capacity(world: BenchWorld) -> None:
    findings = measure(world, PLAN, only=(SATURATION, OPEN_LOOP)).findings
    ours, floors = figure(findings, "Rank: processor ms of the server"), figure(findings, "requests/s that")
    assert ours > 0
    assert floors > 0
    names = {one.what for one in findings.figures if one.bar is not None}
    assert "share of what the floors allow" in names
    assert "Rank, poisson arrivals: the same next to the bare parts'" in names
    for arrivals in ("poisson", "constant"):
        assert f"Rank, {arrivals} arrivals: p99 next to the unloaded median" in names
        assert f"Rank, {arrivals} arrivals: share failed or degraded" in names
    ratio = {
        title: figure(findings, f"{title} arrivals: p99 next to the unloaded median")
        for title in ("Rank, poisson", "bare parts, poisson", "one ideal queue, poisson")
    }
    next_to_floor = figure(findings, "Rank, poisson arrivals: the same next to")
    assert next_to_floor == pytest.approx(ratio["Rank, poisson"] / ratio["bare parts, poisson"])
    assert ratio["one ideal queue, poisson"] >= 1
    assert figure(findings, "one ideal queue, constant arrivals") == pytest.approx(1.0)
    (sent,) = [one.times for one in findings.measured if one.name == "Rank, constant"]
    rate = 0.6 * next(one.value for one in findings.figures if one.what == "requests/s")
    assert sent == pytest.approx(rate * PLAN.open_seconds, rel=0.05, abs=2)


def test_growth_is_a_line_for_each_of_candidates_features_and_views(world: BenchWorld) -> None:
    findings = measure(world, PLAN, only=(GROWTH,)).findings
    assert set(medians(findings, GROWTH)) == {
        f"{count} {unit}s"
        for unit, counts in (("candidate", (2, 5)), ("feature", (6, 12)), ("view", (3, 6)))
        for count in counts
    }
    assert figure(findings, "5 candidates: share answered completely") == 1.0


def test_a_start_is_measured_next_to_bare_imports_and_the_log_next_to_none(world: BenchWorld) -> None:
    findings = measure(world, PLAN, only=(START, LOG)).findings
    assert figure(findings, "seconds to ready") == medians(findings, START)["ready"] > 0
    assert medians(findings, START)["imports"] > 0
    assert figure(findings, "next to a server without") > 0


def test_a_measure_that_there_is_not_is_refused_with_those_there_are() -> None:
    outcome = CliRunner().invoke(bench_rank, ["--only", "latency,speed"])
    assert outcome.exit_code == 2
    assert "choose from latency, stock, cache" in " ".join(outcome.output.split())


def test_a_ratio_that_is_infinite_misses_its_bar_and_is_null_in_json() -> None:
    lost = Figure(OPEN_LOOP, "p99 next to the unloaded median", math.inf, at_most(3))
    kept = Figure(LATENCY, "median next to the floors", 1.2, at_most(1.5))
    findings = Findings(figures=(lost, kept))
    assert findings.missed == [lost]
    written = json.loads(json.dumps(BenchResult(findings, {}).to_json(), allow_nan=False))
    assert [(one["value"], one["reached"]) for one in written["figures"]] == [(None, False), (1.2, True)]
    with pytest.raises(Exit):
        judge(findings)


def test_processor_time_counts_the_children_as_well() -> None:
    spin = "import time; until = time.process_time() + 0.3\nwhile time.process_time() < until: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}]); input()"
    with subprocess.Popen([sys.executable, "-c", spin + "\ninput()"], stdin=subprocess.PIPE) as alone:
        with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE) as parent:
            most = 0.0
            until = time.monotonic() + 20
            while most < 0.3 and time.monotonic() < until:
                most = max(most, cpu_seconds([parent.pid]))
                time.sleep(0.02)
            parent.communicate(b"\n")
        own = cpu_seconds([alone.pid])
        alone.communicate(b"\n")
    assert most >= 0.25
    assert own >= 0.25
    assert cpu_seconds([alone.pid]) == 0.0
