"""Ranking metrics against brute force over every pair and every list."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking_service.evaluation.evaluate import METRICS, evaluate
from ranking_service.evaluation.evaluate import TestRows as JudgedRows
from ranking_service.evaluation.metrics import (
    RankedLists,
    auc,
    calibration,
    calibration_error,
    grouped_auc,
    list_aucs,
)

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Labels, scores with many ties, lists (some codes unused), weights."""
    count = draw(st.integers(1, 30))
    label = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    score = draw(st.lists(st.integers(-3, 3).map(lambda n: n / 2), min_size=count, max_size=count))
    lists = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    weight = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return np.array(label, float), np.array(score, float), np.array(lists), np.array(weight, float)


def brute_auc(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    wins = pairs = 0.0
    for one, other in itertools.product(np.flatnonzero(label == 1), np.flatnonzero(label == 0)):
        pair = weight[one] * weight[other]
        wins += pair * (1.0 if score[one] > score[other] else 0.5 if score[one] == score[other] else 0.0)
        pairs += pair
    return wins / pairs if pairs else math.nan


def brute_lists(label: np.ndarray, score: np.ndarray, lists: np.ndarray, at_least: int) -> list[list[float]]:
    """Labels of each judged list, best first; ties in row order."""
    found = []
    for code in sorted(set(lists.tolist())):
        members = [row for row in range(len(lists)) if lists[row] == code]
        hits = sum(label[row] for row in members)
        if len(members) >= at_least and 0 < hits < len(members):
            found.append([float(label[row]) for row in sorted(members, key=lambda row: -score[row])])
    return found


def dcg(labels: list[float], k: int) -> float:
    return sum(value / math.log2(place + 2) for place, value in enumerate(labels[:k]))


@given(rows())
def test_auc_counts_pairs(world: Rows) -> None:
    label, score, _, weight = world
    np.testing.assert_allclose(auc(label, score), brute_auc(label, score, np.ones(len(label))))
    np.testing.assert_allclose(auc(label, score, weight), brute_auc(label, score, weight))


@given(rows())
def test_list_aucs_are_the_aucs_of_the_lists(world: Rows) -> None:
    label, score, lists, _ = world
    expected = [
        brute_auc(label[lists == code], score[lists == code], np.ones(int((lists == code).sum())))
        for code in range(int(lists.max()) + 1)
    ]
    np.testing.assert_allclose(list_aucs(label, score, lists), expected)
    known = [
        (value, int((lists == code).sum())) for code, value in enumerate(expected) if not math.isnan(value)
    ]
    grouped = (
        sum(value * size for value, size in known) / sum(size for _, size in known) if known else math.nan
    )
    np.testing.assert_allclose(grouped_auc(label, score, lists), grouped)


@given(rows(), st.integers(1, 6), st.integers(1, 6))
def test_cut_off_metrics_are_those_of_each_list(world: Rows, k: int, at_least: int) -> None:
    label, score, lists, _ = world
    judged = RankedLists.of(label, score, lists, at_least=at_least)
    expected = brute_lists(label, score, lists, at_least)
    ideals = [dcg(sorted(labels, reverse=True), k) for labels in expected]
    ndcg = [dcg(labels, k) / ideal for labels, ideal in zip(expected, ideals, strict=True)]
    np.testing.assert_allclose(judged.ndcg(k), ndcg)
    np.testing.assert_allclose(judged.precision(k), [sum(labels[:k]) / k for labels in expected])
    np.testing.assert_allclose(judged.recall(k), [sum(labels[:k]) / sum(labels) for labels in expected])


def test_a_perfect_a_reversed_and_an_indifferent_ranking() -> None:
    label = np.array([1.0, 0, 1, 0])
    assert auc(label, np.array([4.0, 1, 3, 2])) == 1
    assert auc(label, np.array([1.0, 4, 2, 3])) == 0
    assert auc(label, np.ones(4)) == 0.5
    assert math.isnan(auc(np.ones(4), np.arange(4.0)))


def test_ndcg_by_hand() -> None:
    """Labels in rank order 0 1 1: (1 / log2 3 + 1 / 2) over (1 + 1 / log2 3)."""
    judged = RankedLists.of(np.array([1.0, 0, 1]), np.array([1.0, 3, 2]), np.zeros(3, int), at_least=1)
    assert judged.ndcg(10)[0] == pytest.approx((1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3)))
    assert judged.rank.tolist() == [2, 0, 1]


@given(rows(), st.integers(1, 12))
def test_calibration_holds_every_row_once(world: Rows, bins: int) -> None:
    label, score, _, _ = world
    table = calibration(label, score, bins)
    assert sum(part["rows"] for part in table) == len(label)
    assert sum(part["rows"] * part["observed"] for part in table) == pytest.approx(label.sum())
    assert [part["predicted"] for part in table] == sorted(part["predicted"] for part in table)


def test_calibration_error_by_hand() -> None:
    table = calibration(np.array([0.0, 0, 1, 1]), np.array([0.1, 0.3, 0.5, 0.9]), 2)
    assert calibration_error(table) == pytest.approx((0.2 + 0.3) / 2)


@pytest.fixture(scope="module")
def judged_rows() -> tuple[JudgedRows, dict[str, np.ndarray]]:
    random = np.random.default_rng(3)
    user = np.repeat(np.arange(40), 15)
    label = (random.random(600) < 0.3).astype(float)
    scores = {"good": label + random.normal(size=600), "bad": random.normal(size=600)}
    return JudgedRows(label, user, user * 2 + np.tile(np.arange(15) % 2, 40)), scores


def test_the_bootstrap_is_determined_by_its_seed(
    judged_rows: tuple[JudgedRows, dict[str, np.ndarray]],
) -> None:
    world, scores = judged_rows
    first = evaluate(world, scores, resamples=20, seed=1)
    assert first == evaluate(world, scores, resamples=20, seed=1)
    assert first != evaluate(world, scores, resamples=20, seed=2)
    alone = evaluate(world, {"bad": scores["bad"]}, resamples=20, seed=1)
    assert alone["bad"] == first["bad"], "every ranker is judged on the same users"


def test_intervals_enclose_their_values_and_tell_good_from_bad(
    judged_rows: tuple[JudgedRows, dict[str, np.ndarray]],
) -> None:
    report = evaluate(*judged_rows, resamples=100)
    for ranker in report.values():
        assert set(ranker) == set(METRICS)
        assert all(one.low <= one.value <= one.high for one in ranker.values())
    assert report["good"]["auc"].low > report["bad"]["auc"].high


def test_point_values_are_the_plain_metrics(judged_rows: tuple[JudgedRows, dict[str, np.ndarray]]) -> None:
    world, scores = judged_rows
    report = evaluate(world, scores, resamples=2)["good"]
    lists = RankedLists.of(world.label, scores["good"], world.user_day, at_least=5)
    assert report["auc"].value == pytest.approx(auc(world.label, scores["good"]))
    assert report["gauc_user"].value == pytest.approx(grouped_auc(world.label, scores["good"], world.user))
    assert report["ndcg@10"].value == pytest.approx(float(lists.ndcg(10).mean()))
    assert report["recall@10"].value == pytest.approx(float(lists.recall(10).mean()))


def test_a_missing_score_ranks_as_the_mean(judged_rows: tuple[JudgedRows, dict[str, np.ndarray]]) -> None:
    world, scores = judged_rows
    holes = scores["good"].copy()
    holes[::7] = np.nan
    filled = np.where(np.isnan(holes), np.nanmean(holes), holes)
    assert evaluate(world, {"x": holes}, resamples=2) == evaluate(world, {"x": filled}, resamples=2)
