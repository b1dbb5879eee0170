"""Distances between distributions, against scipy and naive loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import distance

from skew_checks.distributions import statistics
from skew_checks.distributions.discovery import adjusted
from skew_checks.distributions.statistics import FLOOR, Floats, shares

BINS = 7
PLACES = np.array([math.nan, 3.0, -2.0, 0.0, 0.5, 10.0, math.nan])
counts = arrays(np.int64, BINS, elements=st.integers(0, 1_000)).filter(lambda each: each[1:6].sum() > 0)
together = settings(max_examples=60, deadline=None)


@given(counts, counts)
@together
def test_psi_is_the_naive_sum(left: np.ndarray, right: np.ndarray) -> None:
    p, q = shares(left), shares(right)
    expected = 0.0
    for mine, theirs in zip(p.tolist(), q.tolist(), strict=True):
        mine, theirs = (mine + FLOOR) / (1 + BINS * FLOOR), (theirs + FLOOR) / (1 + BINS * FLOOR)
        expected += (mine - theirs) * math.log(mine / theirs)
    assert statistics.psi(p, q) == pytest.approx(expected, abs=1e-12)


@given(counts, counts)
@together
def test_jensen_shannon_is_scipys_squared(left: np.ndarray, right: np.ndarray) -> None:
    p, q = shares(left), shares(right)
    assert statistics.jensen_shannon(p, q) == pytest.approx(distance.jensenshannon(p, q, 2) ** 2, abs=1e-9)


@given(counts, counts)
@together
def test_wasserstein_is_scipys_over_the_spread(left: np.ndarray, right: np.ndarray) -> None:
    has_place = np.isfinite(PLACES)
    line = PLACES[has_place]
    expected = stats.wasserstein_distance(line, line, left[has_place] + 0.0, right[has_place] + 0.0)
    found = statistics.wasserstein(shares(left), shares(right), PLACES, 2.5)
    assert found == pytest.approx(expected / 2.5, abs=1e-9)
    spread = statistics.spread(shares(right), PLACES)
    assert spread == pytest.approx(np.sqrt(np.cov(line, aweights=right[has_place], ddof=0)), abs=1e-9)


@given(counts, counts)
@together
def test_kolmogorov_smirnov_is_scipys_on_the_places(left: np.ndarray, right: np.ndarray) -> None:
    has_place = np.isfinite(PLACES)
    mine, theirs = (np.repeat(PLACES[has_place], side[has_place]) for side in (left, right))
    expected = stats.ks_2samp(mine, theirs, method="asymp").statistic
    assert statistics.kolmogorov_smirnov(shares(left), shares(right), PLACES) == pytest.approx(expected)


@given(counts, counts)
@together
def test_share_distances_are_naive_loops(left: np.ndarray, right: np.ndarray) -> None:
    p, q = shares(left), shares(right)
    apart = [abs(mine - theirs) for mine, theirs in zip(p.tolist(), q.tolist(), strict=True)]
    assert statistics.l_infinity(p, q) == pytest.approx(max(apart))
    assert statistics.total_variation(p, q) == pytest.approx(sum(apart) / 2)
    assert statistics.share_difference(p, q, slice(1, 3)) == pytest.approx(abs(p[1] + p[2] - q[1] - q[2]))


@pytest.mark.parametrize(
    "measure",
    [
        statistics.psi,
        statistics.jensen_shannon,
        statistics.l_infinity,
        lambda p, q: statistics.kolmogorov_smirnov(p, q, PLACES),
        lambda p, q: statistics.wasserstein(p, q, PLACES, 1.5),
    ],
)
def test_many_distances_at_once_are_each_one(measure: Callable[[Floats, Floats], Floats]) -> None:
    rng = np.random.default_rng(0)
    left, right = (shares(rng.integers(1, 50, (5, BINS))) for _ in range(2))
    found = measure(left, right)
    assert found.shape == (5,)
    np.testing.assert_allclose(found, [measure(p, q) for p, q in zip(left, right, strict=True)])


def test_equal_sides_are_no_distance_apart_and_disjoint_ones_at_the_end() -> None:
    p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    places = np.array([0.0, 1.0])
    assert statistics.psi(p, p) == statistics.jensen_shannon(p, p) == statistics.l_infinity(p, p) == 0
    assert statistics.jensen_shannon(p, q) == pytest.approx(1)
    assert statistics.kolmogorov_smirnov(p, q, places) == statistics.l_infinity(p, q) == 1
    assert statistics.wasserstein(p, q, places, 1.0) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.booleans())
@together
def test_q_values_are_scipys(p_values: list[float], arbitrary: bool) -> None:
    expected = stats.false_discovery_control(p_values, method="by" if arbitrary else "bh")
    np.testing.assert_allclose(adjusted(p_values, arbitrary_dependence=arbitrary), expected, atol=1e-300)
