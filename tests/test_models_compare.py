"""Comparing two bundles: agreement against naive oracles, figures against hand-made ones, both sources, the verb."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from models_world import SETTINGS, add, asked, log, served, shadowed
from online_world import AT, CONTRACT, MODEL, NOW, OnlineWorld
from rich.console import Console

from feature_repo.errors import EventDataError
from feature_repo.workspace import HOME_VARIABLE
from marquee.__main__ import run
from ranking_service import bundle
from ranking_service.client import RankingClient
from ranking_service.contract import Contract, Field, ModelFeature
from ranking_service.models.agreement import kendall, overlap, spearman
from ranking_service.models.compare import compare
from ranking_service.models.compare_table import render
from ranking_service.models.paired import Paired, joined, paired_from_shadow
from ranking_service.models.replayed import paired_by_replay
from ranking_service.online.ranker import MODEL_FREE, Ranking
from ranking_service.server.server import RankingServer

SCORES = st.integers(2, 30).flatmap(
    lambda count: st.tuples(*[st.lists(st.integers(0, 6), min_size=count, max_size=count)] * 2)
)
"""Two scorings of as many candidates, with many ties."""


# --- agreement ------------------------------------------------------------------------------------------------


def naive_kendall(first: list[int], second: list[int]) -> float:
    """Pair by pair, by the definition of tau-b."""
    agreeing = only_first = only_second = 0
    for one, other in combinations(range(len(first)), 2):
        left = (first[one] > first[other]) - (first[one] < first[other])
        right = (second[one] > second[other]) - (second[one] < second[other])
        agreeing += left * right
        only_first += left != 0
        only_second += right != 0
    return agreeing / math.sqrt(only_first * only_second) if only_first and only_second else math.nan


def naive_spearman(first: list[int], second: list[int]) -> float:
    """Pearson's correlation of mean ranks, counted one by one."""

    def ranks(values: list[int]) -> list[float]:
        return [sum(v < value for v in values) + (values.count(value) - 1) / 2 for value in values]

    if len(set(first)) == 1 or len(set(second)) == 1:
        return math.nan
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


@given(SCORES)
def test_rank_correlations_are_those_counted_pair_by_pair(pair: tuple[list[int], list[int]]) -> None:
    arrays = [np.array(scores, np.float64) for scores in pair]
    assert kendall(*arrays) == pytest.approx(naive_kendall(*pair), nan_ok=True)
    assert spearman(*arrays) == pytest.approx(naive_spearman(*pair), nan_ok=True, abs=1e-9)


@given(SCORES, st.integers(1, 12))
def test_overlap_is_that_of_two_sorted_lists(pair: tuple[list[int], list[int]], k: int) -> None:
    tops = [set(sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:k]) for scores in pair]
    expected = len(tops[0] & tops[1]) / len(tops[0])
    assert overlap(np.array(pair[0]), np.array(pair[1]), k) == pytest.approx(expected)


# --- figures --------------------------------------------------------------------------------------------------


def by_hand() -> Paired:
    """Three requests of two users; the second bundle turns the first two round and agrees on the third."""
    first = [3.0, 2.0, 1.0, 3.0, 2.0, 1.0, 1.0, 0.0]
    second = [1.0, 2.0, 3.0, 1.5, 2.5, 3.5, 1.0, 0.0]
    return Paired(
        versions=("a", "b"),
        source="by hand",
        starts=np.array([0, 3, 6, 8]),
        requests=pa.table(
            {
                "request_id": ["r1", "r2", "r3"],
                "user_id": ["ann", "ann", "bob"],
                "surface": ["home", "search", "home"],
                "device": pa.array([None, None, "tv"], pa.string()),
            }
        ),
        item_ids=pa.chunked_array([["x", "y", "z", "x", "y", "z", "x", "y"]]),
        scores=(np.array(first), np.array(second)),
        micros=(np.array([1.0, 2.0, 3.0]), np.full(3, np.nan)),
        label=np.full(8, np.nan),
    )


def test_the_figures_are_those_worked_out_by_hand() -> None:
    found = compare(by_hand())
    assert (found.requests, found.users, found.candidates) == (3, 2, 8)
    assert found.overlap.value == 1.0, "three candidates are all in the top 10"
    assert found.same_first.value == pytest.approx(1 / 3)
    assert found.kendall.value == pytest.approx((-1 - 1 + 1) / 3)
    assert found.spearman.value == pytest.approx((-1 - 1 + 1) / 3)
    assert found.shift.value == pytest.approx((0 + 0.5 + 0) / 3)
    assert (found.shift.low, found.shift.high) == (0.0, 0.25), "only bob drawn, or only ann"
    assert found.micros == ({"median": 2.0, "p99": pytest.approx(2.98)}, {})
    assert found.worth is None
    told = {(s.by, s.value): (s.requests, s.users, s.shift.value) for s in found.segments}
    assert told == {
        ("surface", "home"): (2, 2, 0.0),
        ("surface", "search"): (1, 1, 0.5),
        ("device", "(unknown)"): (2, 1, 0.25),
        ("device", "tv"): (1, 1, 0.0),
        ("user activity", "2 to 4 requests"): (2, 1, 0.25),
        ("user activity", "1 request"): (1, 1, 0.0),
    }


@pytest.mark.parametrize("resamples", [0, 1])
def test_a_segment_that_no_resampling_drew_keeps_its_figures(resamples: int) -> None:
    whole = compare(by_hand())
    for seed in range(20):
        found = compare(by_hand(), resamples=resamples, seed=seed)
        assert found.overlap.value == whole.overlap.value
        assert [s.shift.value for s in found.segments] == [s.shift.value for s in whole.segments]
        ends = np.array([(s.shift.low, s.shift.high) for s in found.segments])
        drawn = ~np.isnan(ends)
        assert (drawn[:, 0] == drawn[:, 1]).all()
        assert drawn.any() == bool(resamples)
    json.dumps(found.to_json(), allow_nan=False)


def test_the_table_says_unknown_where_nothing_is_known() -> None:
    one = by_hand()
    flat = replace(one, scores=(np.full(8, 0.5), np.full(8, 0.5)))
    console = Console(width=120)
    for resamples, cell in ((0, "1.0000"), (200, "1.0000 (1.0000 to 1.0000)")):
        with console.capture() as capture:
            console.print(render(compare(flat, resamples=resamples)))
        told = dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in capture.get().splitlines()[1:6])
        assert "nan" not in capture.get()
        assert told["Kendall's tau-b"] == told["Spearman"] == "unknown"
        assert told["overlap of the top 10"] == cell


def test_outcomes_give_the_ndcg_of_both() -> None:
    """Request r1: x clicked, y not; the first bundle puts x before y, the second y before x."""
    exposures = pa.table(
        {
            "request_id": ["r1", "r1", "r3", "r9", "r2"],
            "user_id": ["ann", "ann", "bob", "ann", "bob"],
            "item_id": ["x", "y", "x", "x", "x"],
            "label": [True, False, True, True, True],
        }
    )
    labelled = by_hand().with_labels(exposures)
    np.testing.assert_array_equal(labelled.label, [1, 0, *[np.nan] * 4, 1, np.nan])
    worth = compare(labelled).worth
    assert worth is not None
    assert worth.lists == 1, "r3 has one outcome only, r2 was another user's"
    assert worth.first.value == 1.0
    assert worth.second.value == pytest.approx(1 / math.log2(3))
    assert worth.difference.value == pytest.approx(1 / math.log2(3) - 1)


def test_the_same_twice_differs_in_nothing() -> None:
    one = by_hand()
    found = compare(replace(one, scores=(one.scores[0], one.scores[0])))
    for figure in (found.overlap, found.same_first, found.kendall, found.spearman):
        assert (figure.value, figure.low, figure.high) == pytest.approx((1.0, 1.0, 1.0))
    assert (found.shift.value, found.shift.low, found.shift.high) == (0.0, 0.0, 0.0)


def test_parts_make_the_whole() -> None:
    whole = joined([by_hand(), by_hand()])
    assert whole.starts.tolist() == [0, 3, 6, 8, 11, 14, 16]
    assert compare(whole).kendall.value == pytest.approx(-1 / 3)
    assert json.loads(json.dumps(compare(whole).to_json()))["requests"] == 6


# --- sources --------------------------------------------------------------------------------------------------

USERS = ["ann", "bob", "nobody", "ann"]


@pytest.fixture
def rankings(online_world: OnlineWorld) -> list[Ranking]:
    return served(online_world, asked(online_world, USERS))


def naive(world: OnlineWorld, version: str) -> np.ndarray:
    """What a bundle scores for the requests of USERS, from the rows written; float64 [requests x items]."""
    booster = bundle.load(world.models / version).booster
    parts = []
    for number, user in enumerate(USERS):
        context = {"surface": "search", "bandwidth": 1.5, "request_timestamp": AT}
        rows = world.naive_input(user, world.items, {**context, "session_position": float(number)})
        parts.append(booster.inplace_predict(rows))
    return np.concatenate(parts).astype(np.float64)


def check_sources(paired: Paired | None, world: OnlineWorld) -> Paired:
    assert paired is not None
    items = len(world.items)
    assert paired.starts.tolist() == [0, items, 2 * items, 3 * items, 4 * items]
    assert paired.requests["user_id"].to_pylist() == USERS
    assert paired.requests["surface"].to_pylist() == ["search"] * 4
    assert paired.item_ids.to_pylist() == list(world.items) * 4
    np.testing.assert_array_equal(paired.scores[0], naive(world, "v1"))
    np.testing.assert_array_equal(paired.scores[1], naive(world, "v2"))
    assert np.nanmin(paired.micros) > 0
    return paired


def test_the_shadow_log_gives_both_scores_whoever_answered(
    online_world: OnlineWorld, rankings: list[Ranking], tmp_path: Path
) -> None:
    shadowed(online_world, add(online_world, "v2"), rankings, tmp_path / "shadow")
    check_sources(paired_from_shadow(tmp_path / "shadow", "v1", "v2", sample=100), online_world)
    turned = paired_from_shadow(tmp_path / "shadow", "v2", "v1", sample=100)
    assert turned is not None
    np.testing.assert_array_equal(turned.scores[0], naive(online_world, "v2"))
    newest = paired_from_shadow(tmp_path / "shadow", "v1", "v2", sample=1)
    assert newest is not None
    assert newest.requests["request_id"].to_pylist() == ["r3"]
    np.testing.assert_array_equal(newest.scores[0], naive(online_world, "v1")[-len(online_world.items) :])
    assert paired_from_shadow(tmp_path / "shadow", "v1", "v3", sample=100) is None
    assert paired_from_shadow(tmp_path / "nowhere", "v1", "v2", sample=100) is None


def test_a_replay_scores_what_was_logged_and_proves_it_on_what_was_served(
    online_world: OnlineWorld, rankings: list[Ranking], tmp_path: Path
) -> None:
    add(online_world, "v2")
    log(tmp_path / "log", rankings)
    first, second = (bundle.load(online_world.models / version) for version in ("v1", "v2"))
    paired = check_sources(paired_by_replay(tmp_path / "log", first, second, sample=100), online_world)
    rows = 4 * len(online_world.items)
    assert paired.notes == (
        f"the replay gives exactly the served score for {rows} of {rows} candidates of v1",
    )
    newest = paired_by_replay(tmp_path / "log", first, second, sample=1)
    assert newest is not None
    assert newest.requests["request_id"].to_pylist() == ["r3"]


def test_what_a_server_logged_is_replayed_bit_for_bit(online_world: OnlineWorld, tmp_path: Path) -> None:
    server = RankingServer.start(
        online_world.bundle, redis_url=online_world.redis_url, settings=SETTINGS, log_folder=tmp_path / "log"
    )
    with RankingClient.connect(server.address) as client:
        for user in USERS:
            answer = client.rank(user_id=user, candidate_ids=online_world.items, at=NOW, timeout=10.0)
            assert answer.level == 0
    server.stop()
    first = bundle.load(online_world.bundle)
    paired = paired_by_replay(tmp_path / "log", first, first, sample=100)
    assert paired is not None
    assert paired.requests["user_id"].to_pylist() == USERS
    rows = 4 * len(online_world.items)
    assert paired.notes == (
        f"the replay gives exactly the served score for {rows} of {rows} candidates of v1",
    )


def test_degraded_answers_are_left_out_and_told(
    online_world: OnlineWorld, rankings: list[Ranking], tmp_path: Path
) -> None:
    log(tmp_path / "log", [*rankings[:3], replace(rankings[3], level=MODEL_FREE, model_input=None)])
    first = bundle.load(online_world.bundle)
    paired = paired_by_replay(tmp_path / "log", first, first, sample=100)
    assert paired is not None
    assert paired.count == 3
    assert "1 requests answered with replaced values (level above 0) are left out" in paired.notes


def grown() -> Contract:
    """One more stored feature and one more request field than the log has."""
    user, *others = CONTRACT.views
    mood = Field("user_mood", "FLOAT", 0.5)
    views = (replace(user, fields=(*user.fields, mood)), *others)
    fields = (*CONTRACT.request_fields, Field("weather", "STRING", "dry"))
    features = (*CONTRACT.features[1:], ModelFeature(mood, "user_stats", "how the user feels"))
    return replace(CONTRACT, views=views, request_fields=fields, features=features)


def test_features_the_log_lacks_take_their_defaults_and_are_named(
    online_world: OnlineWorld, rankings: list[Ranking], tmp_path: Path
) -> None:
    names = [*MODEL[1:], "user_mood"]
    rows = np.random.default_rng(1).normal(size=(300, len(names)))
    data = xgboost.DMatrix(rows, label=rows[:, -1] + rows[:, 1], feature_names=names)
    booster = xgboost.train({"max_depth": 3}, data, 5)
    path = bundle.publish(online_world.models, version="v3", booster=booster, contract=grown(), manifest={})
    log(tmp_path / "log", rankings[:1])
    first, second = bundle.load(online_world.bundle), bundle.load(path)
    paired = paired_by_replay(tmp_path / "log", first, second, sample=100)
    assert paired is not None
    assert "the log lacks user_mood, weather, which v3 reads: defaults took their place" in paired.notes
    expected = rankings[0].model_input
    assert expected is not None
    columns = [*expected[:, 1:].T, np.full(len(expected), 0.5, np.float32)]
    np.testing.assert_array_equal(paired.scores[1], booster.inplace_predict(np.stack(columns, axis=1)))


def test_damaged_logs_are_named(online_world: OnlineWorld, rankings: list[Ranking], tmp_path: Path) -> None:
    log(tmp_path / "log", rankings)
    (candidates,) = (tmp_path / "log").glob("date=*/*/candidates.parquet")
    candidates.write_bytes(candidates.read_bytes()[:100])
    first = bundle.load(online_world.bundle)
    with pytest.raises(EventDataError, match=r"candidates\.parquet is damaged"):
        paired_by_replay(tmp_path / "log", first, first, sample=100)
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(EventDataError, match=r"x\.parquet is damaged"):
        paired_from_shadow(tmp_path / "shadow", "v1", "v2", sample=1)


def test_the_verb_takes_the_shadow_log_else_the_serving_log(
    online_world: OnlineWorld,
    rankings: list[Ranking],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert online_world.models == tmp_path / "models"
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    path = add(online_world, "v2")
    assert run(["model", "compare", "v1", "v2"]) == 1
    assert "has no requests to compare v1 and v2 on" in capsys.readouterr().err
    log(tmp_path / "serving_log", rankings)
    assert run(["model", "compare", "v1", "v2"]) == 0
    told = capsys.readouterr().out
    for expected in ("v2 beside v1, replay of the serving log: 4 requests of 3 users", "surface search"):
        assert expected in told
    shadowed(online_world, path, rankings, tmp_path / "shadow")
    assert run(["model", "compare", "v1", "v2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "shadow log"
    assert run(["model", "compare", "v1", "v2", "--source", "replay", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == "replay of the serving log"
    assert found["overlap"]["value"] < 1
