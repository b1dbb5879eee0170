"""A short `marquee bench skew`: some defects found and named, some controls silent; its figures by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from feature_repo.errors import FeatureError
from marquee.__main__ import run as marquee
from ranking_service.assemble import assemble
from ranking_service.online import ranker
from skew_checks.bench import lagging
from skew_checks.bench.catalogue import DEFECTS, NAMES
from skew_checks.bench.comparison import compared
from skew_checks.bench.controls import CONTROLS
from skew_checks.bench.elsewhere import PLACES, elsewhere
from skew_checks.bench.evidently_process import present
from skew_checks.bench.judged import UNTOUCHED, Judged, Said
from skew_checks.bench.others import OtherNight, TfdvStyle, is_right
from skew_checks.bench.rows_changed import Touched
from skew_checks.bench.run import COMPARED, Plan, chosen, fresh, run, run_defect, timed_check
from skew_checks.bench.score import figures
from skew_checks.bench.speed import MILLION, SpeedRun, speed_figures
from skew_checks.bench.tfdv import jensen_shannon, numeric_distance, text_distance
from skew_checks.bench.world import World
from skew_checks.result.cause import Cause

SHORT = ("unit", "eviction", "column-order", "new-items", "a-a")
SHARE = 0.3


@pytest.fixture(scope="module")
def world(skew_bench_world: World) -> World:
    return skew_bench_world


def test_a_few_defects_are_found_and_named_and_healthy_nights_are_silent(
    world: World, tmp_path: Path
) -> None:
    plan = chosen(SHORT, replace(Plan(), shares=(SHARE,), nights=1))
    said: list[str] = []
    nights = list(run(world, tmp_path, plan, step=said.append))
    assert {night.name for night in nights} == {*SHORT}
    assert len(said) == len(nights)
    seeded = [night for night in nights if night.share]
    assert [night.name for night in seeded if not (night.found and night.named and night.right_view)] == []
    assert [night.name for night in nights if night.share is None and night.found] == []
    assert sum(night.wrong for night in nights) == 0


def test_there_are_thirty_kinds_of_defects_and_ten_controls() -> None:
    assert len(DEFECTS) >= 30
    assert len(CONTROLS) == 10
    assert len(set(NAMES)) == len(NAMES)
    assert all(defect.why_more for defect in DEFECTS if len(defect.causes) > 1 or defect.when_all)


@pytest.mark.parametrize("name", PLACES)
def test_drawn_places_are_declared_ones_each_once_and_never_the_usual_one(world: World, name: str) -> None:
    defect = next(defect for defect in DEFECTS if defect.name == name)
    contract = world.bundle.contract
    drawn = list(elsewhere(defect, contract))
    assert len(drawn) > 1
    assert len({place.name for place in drawn}) == len(drawn)
    for place in drawn:
        assert place.causes == defect.causes
        assert (place.views, {*place.features}) != (defect.views, {*defect.features})
        assert place.name.startswith(f"{name}: ")
        fields = {field.name for view in place.views for field in contract.view(view).fields}
        assert {*place.features} <= fields
    assert [place.name for place in elsewhere(defect, contract)] == [place.name for place in drawn]
    others = [place.name for place in elsewhere(defect, contract, seed=1)]
    assert others != [place.name for place in drawn]


def test_defects_of_requests_logs_and_models_have_no_other_place(world: World) -> None:
    fixed = {defect.name for defect in DEFECTS if not list(elsewhere(defect, world.bundle.contract))}
    assert {"key-padding", "wrong-model", "duplicated-log-rows"} <= fixed
    assert not fixed & PLACES.keys()


def test_a_defect_in_drawn_places_is_found_and_named(world: World, tmp_path: Path) -> None:
    plan = replace(chosen(("eviction",), Plan(shares=(SHARE,))), drawn=2)
    nights = list(run(world, tmp_path, plan))
    assert len({night.name for night in nights}) == 2
    assert [(night.found, night.named, night.right_view, night.wrong) for night in nights] == [
        (True, True, True, 0)
    ] * 2


def test_a_defect_that_would_change_nothing_counts_nowhere(world: World, tmp_path: Path) -> None:
    unit = next(defect for defect in DEFECTS if defect.name == "unit")
    idle = replace(unit, inject=lambda night, _share: Touched(0, len(night.arrivals)))
    night = run_defect(world, tmp_path, idle, SHARE)
    assert (night.outcome, night.found, night.said) == (UNTOUCHED, False, ())
    assert figures([night]) == ()
    assert figures([night, judged("unit", SHARE)]) == figures([judged("unit", SHARE)])


def test_a_matrix_whose_rows_are_one_candidate_further_is_named(world: World, tmp_path: Path) -> None:
    """Stored values are logged right: only what the model got is another candidate's."""
    turns = count()

    def rolled(*arguments: Any) -> np.ndarray:
        return np.roll(assemble(*arguments), int(next(turns) % 5 == 0), axis=0)

    with fresh(world, tmp_path, seed=1) as tonight:
        with patch.object(ranker, "assemble", rolled):
            tonight.serve()
        report, _ = timed_check(tonight, COMPARED)
    assert {defect.cause for defect in report.defects} == {Cause.OTHER_ROW}
    assert {"item_popularity", "item_attributes", "user_item"} <= {defect.view for defect in report.defects}
    assert not {"user_activity", "user_totals"} & {defect.view for defect in report.defects}


def test_the_verb_keeps_every_night_even_where_a_later_one_fails(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("skew_checks.bench.world.made_world", lambda _folder, _size: nullcontext(world))
    told = tmp_path / "nights.json"
    line = [
        "bench",
        "skew",
        "--only",
        "eviction,late-data",
        "--shares",
        "0.3",
        "--no-others",
        "--json",
        str(told),
    ]
    with patch.object(lagging, "choose", _once(lagging.choose)):
        assert marquee(line) == 1
    assert "no more" in capsys.readouterr().err
    left = json.loads(told.read_text())
    assert [night["name"] for night in left["nights"]] == ["late-data"]
    assert left["notes"] == ["not finished"]
    assert marquee(line) == 0
    done = json.loads(told.read_text())
    assert [(night["name"], night["named"]) for night in done["nights"]] == [
        ("late-data", True),
        ("eviction", True),
    ]
    assert (done["notes"], done["setting"]["events"]) == ([], "simulated")


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which fails from its second call on."""
    calls = count()

    def called(*arguments: Any, **named: Any) -> Any:
        if next(calls):
            raise FeatureError("no more")
        return function(*arguments, **named)

    return called


def judged(name: str, share: float | None, **changes: object) -> Judged:
    fine = Judged(
        name,
        share,
        Touched(1, 10),
        "fail",
        found=True,
        right_view=True,
        named=True,
        said=(Said("a_view", "unit", ("a",), 1, 10, True),),
        warned=(),
        drifted=(),
        seconds=1.0,
    )
    return replace(fine, **changes)  # type: ignore[arg-type]


def test_figures_are_shares_of_nights() -> None:
    wrong = Said("b_view", "unit", ("b",), 1, 10, False)
    nights = [
        judged("one", 0.01),
        judged("two", 0.01, found=False, named=False, right_view=False, said=()),
        judged("one", 0.05, named=False),
        judged("two", 0.05, said=(*judged("two", 0.05).said, wrong)),
        judged("lag", None, found=False, said=()),
        *(judged("a-a", None, found=number == 0, said=()) for number in range(100)),
    ]
    told = {figure.what: figure for figure in figures(nights)}
    assert told["defects found at 1.0% of rows"].value == 0.5
    assert told["defects found at 1% of rows and more"].value == 0.75
    assert told["defects found at 5% of rows and more"].reached
    assert told["fails that are right, of all"].value == 0.75
    assert told["cause in first place right, of those found"].value == pytest.approx(2 / 3)
    assert told["first fail on a right view"].value == 1
    assert told["controls that are not silent"].value == 0
    assert told["false fails, share of 100 A/A nights"].value == 0.01
    assert told["false fails, share of 100 A/A nights"].reached


def test_too_few_quiet_nights_prove_no_rate() -> None:
    (figure,) = figures([judged("a-a", None, found=False, said=())])
    assert figure.bar is None


def test_tools_are_compared_on_the_nights_that_all_were_asked_about() -> None:
    nights = [
        judged("unit", 0.01),
        judged("unit", 0.05),
        judged("lag", None, found=False, said=()),
        judged("a-a", None, found=False, said=()),
        judged("a-a", None, found=True, said=()),
    ]
    others = [
        OtherNight("TFDV-style", "unit", 0.01, ("x",), is_right=False),
        OtherNight("TFDV-style", "lag", None, ("x", "y", "z"), is_right=False),
        OtherNight("TFDV-style", "a-a-0", None, (), is_right=False),
    ]
    told = {(row.tool, row.nights): (row.found, row.of, row.columns) for row in compared(nights, others)}
    assert told == {
        ("TFDV-style", "A/A nights"): (0, 1, 0.0),
        ("TFDV-style", "controls"): (1, 1, 3.0),
        ("TFDV-style", "defects at 1.0%"): (0, 1, 1.0),
        ("marquee skew check", "A/A nights"): (0, 1, None),
        ("marquee skew check", "controls"): (0, 1, None),
        ("marquee skew check", "defects at 1.0%"): (1, 1, None),
    }


def test_jensen_shannon_is_scipys_squared() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        left, right = random.dirichlet(np.ones(10)), random.dirichlet(np.ones(10) / 5)
        assert jensen_shannon(left, right) == pytest.approx(
            jensenshannon(left, right, base=2) ** 2, abs=1e-12
        )


def test_distances_of_hand_counted_columns() -> None:
    missing = np.float32(np.nan)
    left = np.array([0, 0, 1, missing], np.float32)
    right = np.array([0, 1, 1, 1], np.float32)
    assert text_distance(left, right) == 0.5
    assert numeric_distance(left, left) == 0
    assert numeric_distance(np.array([0, 0], np.float32), np.array([9, 9], np.float32)) == 1
    assert numeric_distance(left, np.full(4, missing)) == 1
    assert numeric_distance(np.full(4, missing), np.full(4, missing)) == 0


def test_a_right_column_is_the_wrong_feature_or_one_computed_from_it(world: World) -> None:
    contract = world.bundle.contract
    unit = next(defect for defect in DEFECTS if defect.name == "unit")
    assert is_right(unit, contract, ["item_duration_seconds"])
    assert is_right(unit, contract, ["match_duration_ratio"])
    assert not is_right(unit, contract, ["item_width", "user_exposures"])
    assert not is_right(None, contract, ["item_duration_seconds"])


def test_the_same_matrix_has_no_distance(world: World) -> None:
    matrix = (
        np.random.default_rng(0).normal(size=(200, len(world.bundle.contract.features))).astype(np.float32)
    )
    tool = TfdvStyle(matrix, world.bundle.contract)
    assert tool(matrix) == ()
    moved = matrix.copy()
    moved[:, 3] += 5
    assert tool(moved) == (world.bundle.contract.feature_names[3],)


def test_missing_and_infinite_values_are_left_out_for_evidently() -> None:
    import pandas

    column = pandas.Series([1.0, np.inf, np.nan, -np.inf, 2.0])
    assert present(column).tolist() == [1.0, 2.0]


def test_speed_has_its_bars_at_a_million_rows() -> None:
    small = SpeedRun(100_000, 1_000, 190, seconds=10, processor_seconds=9, peak_gigabytes=1, exit_code=0)
    large = replace(small, rows=MILLION, seconds=150, peak_gigabytes=4.5)
    told = {figure.what: figure for figure in speed_figures([small, large])}
    assert told["1,000,000 rows: seconds"].reached
    assert not told["1,000,000 rows: peak memory, GB"].reached
    assert told["100,000 rows: seconds"].bar is None
    assert not told["time per row, 1,000,000 rows over 100,000"].reached
