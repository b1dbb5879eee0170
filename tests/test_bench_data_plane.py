"""The benchmark of the data plane runs whole on little data, compares what it measures, and its gate can fail."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from worlds import checkerboard

from feature_repo.errors import MissingInputError
from feature_repo.workspace import HOME_VARIABLE
from marquee.bench_data_plane import bench_data_plane, judge
from marquee.catalogue import active_users, popular_items
from materialization.bench import fetch, growth, join, join_steps, load, own, run, sizes
from materialization.bench.alone import run_alone
from materialization.bench.figures import Figure, Findings, Measured, at_least, at_most
from materialization.bench.interleaved import Contender, interleaved
from materialization.bench.sizes import Sizes
from materialization.feast_store import apply_definitions
from materialization.feature_build.build import DAY, build_features
from materialization.progress import silent

TINY = Sizes(
    users=40,
    items=30,
    active_users=4,
    candidates=10,
    user_features=3,
    item_features=6,
    pair_features=2,
    fetches=8,
    stock_every=4,
    loads=1,
    stock_loads=1,
    growth_rows=(50, 100),
    growths=1,
    join_rows=60,
    snapshots=(3,),
    joins=1,
    large_join_rows=80,
)


@pytest.fixture(scope="module")
def online() -> run.DataPlaneResult:
    return run.measure(TINY, only=("fetch", "materialize"))


@pytest.fixture(scope="module")
def offline() -> run.DataPlaneResult:
    return run.measure(TINY, only=("join", "large-join"))


def value(findings: Findings, measure: str, beginning: str) -> float:
    (figure,) = [one for one in findings.figures if one.measure == measure and one.what.startswith(beginning)]
    return figure.value


def median(findings: Findings, measure: str, name: str, unit: str) -> float:
    (found,) = [
        one for one in findings.measured if (one.measure, one.name, one.unit) == (measure, name, unit)
    ]
    return found.median


def test_online_figures_are_the_ratios_of_what_was_measured(online: run.DataPlaneResult) -> None:
    findings = online.findings
    stock, ours = (median(findings, fetch.FETCH, name, "ms") for name in (fetch.STOCK, fetch.OURS))
    assert value(findings, fetch.FETCH, "times faster than stock, median") == pytest.approx(stock / ours)
    bare = median(findings, fetch.FETCH, fetch.BARE, "ms")
    assert value(findings, fetch.FETCH, "times the bare read") == pytest.approx(ours / bare)
    reads = [median(findings, fetch.FEAST, name, "ms") for name in (fetch.STOCK_READ, fetch.OURS_READ)]
    assert value(findings, fetch.FEAST, "times faster") == pytest.approx(reads[0] / reads[1])
    loads = [median(findings, load.LOAD, name, "s") for name in (load.STOCK, load.OURS)]
    assert value(findings, load.LOAD, "times faster") == pytest.approx(loads[0] / loads[1])
    writes = [median(findings, load.WRITE, name, "s") for name in (load.OURS, load.BARE)]
    assert value(findings, load.WRITE, "times the bare") == pytest.approx(writes[0] / writes[1])
    assert 0 < value(findings, load.MEMORY, "share of stock's memory") < 2


def test_contenders_are_measured_as_often_as_their_turns_come(online: run.DataPlaneResult) -> None:
    times = {
        one.name: one.times for one in online.findings.measured if one.measure in (fetch.FETCH, fetch.FEAST)
    }
    assert times[fetch.OURS] == times[fetch.BARE] == TINY.fetches
    assert times[fetch.STOCK] == times[fetch.VECTORS] == times[fetch.OURS_READ] == 2


def test_offline_figures_are_the_ratios_of_what_was_measured(offline: run.DataPlaneResult) -> None:
    findings = offline.findings
    second = {name: median(findings, join.JOIN, name, "s") for name in (join.STOCK, join.OURS, join.BARE)}
    peak = {name: median(findings, join.JOIN, name, "MB") for name in (join.STOCK, join.OURS)}
    assert value(findings, join.JOIN, "times faster than stock") == pytest.approx(
        second[join.STOCK] / second[join.OURS]
    )
    assert value(findings, join.JOIN, "times the bare SQL") == pytest.approx(
        second[join.OURS] / second[join.BARE]
    )
    assert value(findings, join.JOIN, "share of stock's memory") == pytest.approx(
        peak[join.OURS] / peak[join.STOCK]
    )
    assert value(findings, join.LARGE, "share of rows that arrived") == 1


def test_growth_compares_the_cost_of_a_row_among_many_and_among_few() -> None:
    findings = run.measure(TINY, only=("growth",)).findings
    few, many = (
        one.median / rows
        for rows, one in zip(
            TINY.growth_rows, [one for one in findings.measured if one.unit == "s"], strict=True
        )
    )
    assert value(findings, growth.GROWTH, "cost of a row") == pytest.approx(many / few)
    assert value(findings, growth.GROWTH, "peak memory") > 50


def test_every_bar_of_the_table_has_its_figure(
    online: run.DataPlaneResult, offline: run.DataPlaneResult
) -> None:
    figures = (*online.findings.figures, *offline.findings.figures)
    bars = [(one.measure, str(one.bar)) for one in figures if one.bar is not None]
    assert bars == [
        ("materialize", "at least 12"),
        ("memory", "at most 0.3333"),
        ("write", "at most 3"),
        ("fetch", "at least 150"),
        ("fetch", "at most 1.6"),
        ("fetch", "at most 2.5"),
        ("get_online_features", "at least 1.3"),
        ("join", "at least 20"),
        ("join", "at most 0.3333"),
        ("join", "at most 1.5"),
        ("large-join", "at least 1"),
    ]


def test_a_step_that_fails_says_so_with_its_own_words(tmp_path: Path) -> None:
    arguments = {"folder": str(tmp_path), "request": str(tmp_path / "none.parquet"), "sizes": {}}
    with pytest.raises(MissingInputError, match=r"bare did not finish: (?s:.*)none.parquet"):
        run_alone(join_steps.__name__, "bare", arguments)


def test_rare_contenders_take_part_in_every_so_many_th_round_and_warm_ups_do_not_count() -> None:
    seen: list[tuple[str, int]] = []
    contenders = [
        Contender[int]("steady", lambda task: seen.append(("steady", task))),
        Contender[int]("rare", lambda task: seen.append(("rare", task)), every=3),
    ]
    random = np.random.default_rng(0)
    seconds = interleaved(contenders, lambda task: task, rounds=6, warm_up=2, random=random, report=silent)
    assert {name: len(taken) for name, taken in seconds.items()} == {"steady": 6, "rare": 2}
    assert [task for name, task in seen if name == "rare"] == [0, 3]
    assert {task for name, task in seen if name == "steady"} == {-2, -1, 0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Figure("fetch", "times faster", 150.0, at_least(150)), True),
        (Figure("fetch", "times faster", 149.9, at_least(150)), False),
        (Figure("memory", "share", 0.34, at_most(0.333)), False),
        (Figure("memory", "share", float("nan"), at_most(0.333)), False),
        (Figure("join", "told only", 0.0), True),
    ],
)
def test_the_gate_fails_exactly_where_a_figure_misses_its_bar(
    figure: Figure, reached: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = Findings(figures=(figure,))
    if reached:
        judge(findings)
        return
    with pytest.raises(click.exceptions.Exit) as exit_:
        judge(findings)
    assert exit_.value.exit_code == 1
    assert figure.what in capsys.readouterr().out


def test_the_command_writes_its_figures_and_fails_the_gate_on_data_too_small_for_the_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "QUICK", TINY)
    path = tmp_path / "figures.json"
    outcome = CliRunner().invoke(
        bench_data_plane,
        ["--quick", "--only", "fetch", "--gate", "--json", str(path)],
        catch_exceptions=False,
    )
    written = json.loads(path.read_text())
    missed = [figure["what"] for figure in written["figures"] if not figure["reached"]]
    assert outcome.exit_code == 1
    assert missed
    assert all(f"{what}:" in outcome.output for what in missed)
    assert written["setting"]["fetches"] == TINY.fetches
    assert "--quick" in outcome.output


def test_the_own_service_is_read_from_copies_and_its_workspace_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = checkerboard(tmp_path, days=2)
    monkeypatch.setenv(HOME_VARIABLE, str(workspace.home))
    build_features(workspace, every=DAY)
    apply_definitions(workspace)
    registry = workspace.registry.read_bytes()
    slates = own.Slates(active_users(workspace, 2), popular_items(workspace, 4))
    findings = own.measure_own(workspace, slates, rounds=21, report=silent)
    reads = {one.name: one.times for one in findings.measured if one.unit == "ms"}
    assert reads == {own.OURS: 21, own.BARE: 21, own.STOCK: 2, own.OURS_READ: 2}
    assert all(figure.value > 0 for figure in findings.figures)
    assert workspace.registry.read_bytes() == registry


def test_an_unknown_measure_is_wrong_usage() -> None:
    outcome = CliRunner().invoke(bench_data_plane, ["--only", "fetch,jion"])
    assert outcome.exit_code == 2
    assert "large-join" in outcome.output


def test_a_tail_is_only_given_where_it_was_asked_for() -> None:
    values = [float(number) for number in range(1, 102)]
    assert Measured.of("m", "n", "w", unit="s", values=values).p99 is None
    assert Measured.of("m", "n", "w", unit="s", values=values, tail=True).p99 == 100
