"""The measures of `marquee bench rank` beyond one client's latency, each on a small world with real servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_worlds import PLAN, SMALL, figure, medians

from ranking_service.bench.rank import measure
from ranking_service.bench.sizes import CACHE, GROWTH, LOG, OPEN_LOOP, SATURATION, START
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
    assert any("p99 next to the unloaded median" in name for name in names)
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
