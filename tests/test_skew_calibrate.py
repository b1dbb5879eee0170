"""`marquee skew calibrate`: what it finds where nothing differs, where tests would lie, and what it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from drift_world import CONTRACT, World, requests_table, trained

from feature_repo.workspace import HOME_VARIABLE, Workspace
from marquee.__main__ import run
from materialization import feast_store
from materialization.events.store import EventStore
from materialization.feature_build.build import build_features
from materialization.simulator.run import simulate
from ranking_service.training.baseline.bins import Kind
from ranking_service.training.baseline.file import read_baseline
from ranking_service.training.baseline.learned import row_keys
from skew_checks.distributions import DriftSettings
from skew_checks.distributions.trial import LEVELS, Calibration, Rows, calibrate
from skew_checks.distributions.trial_report import curve, to_json, to_page, to_text
from skew_checks.distributions.trial_rows import chosen_bins, sampled

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def rows_of(world: World) -> Rows:
    part = world.part(1)
    return Rows(chosen_bins(part.model_input, CONTRACT), part.model_input, row_keys(requests_table(part)))


@pytest.fixture(scope="module")
def found() -> Calibration:
    world = World(users=500, requests=900, candidates=8, within_user=0.99)
    return calibrate(rows_of(world), splits=60, seed=0, settings=DriftSettings())


def test_splitting_a_population_at_random_raises_no_alarm(found: Calibration) -> None:
    assert (found.false_nights, found.failed_nights, found.splits) == (0, 0, 60)
    assert found.features == 4
    assert found.judged > 0.5


def test_p_values_of_the_halves_are_not_too_small(found: Calibration) -> None:
    rates = found.rates()
    assert set(rates) == set(Kind)
    assert rates[Kind.USER][LEVELS.index(0.05)] < 0.15
    assert rates[Kind.PAIR][LEVELS.index(0.05)] < 0.2
    assert 0.25 < np.median(found.p_any[Kind.USER]) < 0.75


def test_a_seed_gives_the_same_trial_again_and_another_another() -> None:
    rows = rows_of(World(users=100, requests=150, candidates=4))
    trials = [calibrate(rows, splits=3, seed=seed, settings=DriftSettings()) for seed in (1, 1, 2)]
    one, same, other = ([each.tolist() for each in trial.p_any.values()] for trial in trials)
    assert one == same != other


def test_few_users_are_all_insufficient_and_no_clean_bill() -> None:
    found = calibrate(
        rows_of(World(users=30, items=60, requests=40)), splits=2, seed=0, settings=DriftSettings()
    )
    assert found.judged < 0.3
    assert f"{found.judged:.1%}" in to_text(found)


def test_a_sample_has_whole_users() -> None:
    rows = rows_of(World(users=100, requests=150, candidates=4))
    fewer = sampled(rows, 20)
    assert len(set(fewer.keys.user.tolist())) == 20
    chosen = set(fewer.keys.user.tolist())
    assert len(fewer.matrix) == sum(user in chosen for user in rows.keys.user[rows.keys.request].tolist())
    assert sampled(rows, 1_000) is rows


def test_a_curve_of_uniform_p_values_is_the_diagonal() -> None:
    points = np.array(curve(np.linspace(0, 1, 10_001)))
    np.testing.assert_allclose(points[:, 0], points[:, 1], atol=1e-3)


class Tags(HTMLParser):
    """What a page loads, and whether what it opens it closes."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_is_self_contained_escaped_and_draws_every_kind(found: Calibration) -> None:
    raw = to_json(found, DriftSettings(), source="<script>alert(1)</script>", now=NOW)
    page = to_page(raw)
    reader = Tags()
    reader.feed(page)
    assert reader.loads == []
    assert "script" not in reader.tags
    assert reader.tags.count("polyline") == 1 + len(Kind)
    assert "url(" not in page
    assert json.loads(json.dumps(raw, allow_nan=False)) == raw


def test_the_text_fits_a_terminal(found: Calibration) -> None:
    lines = to_text(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("0.0% of nights" in line for line in lines)


def test_bins_of_the_bundle_and_of_the_rows_are_the_same_for_the_same_rows(tmp_path: Path) -> None:
    part = replace(World(requests=300).part(1), embeddings={})
    baseline = read_baseline(trained(tmp_path, part).path)
    assert baseline is not None
    assert repr(chosen_bins(part.model_input, CONTRACT)) == repr(baseline.counts.bins)


def test_the_verb_tries_the_checks_on_joined_exposures_and_says_what_to_do_without_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    simulate(EventStore(workspace.events), users=60, items=80, days=6, seed=5)
    build_features(workspace, every=timedelta(hours=24))
    feast_store.apply_definitions(workspace)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    assert run(["skew", "calibrate"]) == 1
    assert "--source join" in "".join(capsys.readouterr())
    assert run(["skew", "calibrate", "--source", "join", "--splits", "2", "--users", "40"]) == 0
    assert "of nights named any feature as changed" in capsys.readouterr().out
    (written,) = workspace.reports.glob("skew-calibration-*.json")
    raw = json.loads(written.read_text())
    assert (raw["splits"], raw["users"], raw["source"]) == (2, 40, "join")
    assert raw["features"] > 150
    assert written.with_suffix(".html").is_file()
