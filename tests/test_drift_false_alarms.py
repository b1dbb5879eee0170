"""False alarms stay at their nominal rate, by simulation, however much the candidates of a request are alike."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats

from ranking_service.training.baseline.bins import Kind, Over, number_bins
from ranking_service.training.baseline.layout import grouped
from ranking_service.training.baseline.rows import GROUPS, group, hash_texts, mix
from skew_checks.distributions.resampling import Sides
from skew_checks.distributions.statistics import kolmogorov_smirnov

USERS, REQUESTS, CANDIDATES, ITEMS = 400, 800, 10, 300
TRIALS = 400
BINS = number_bins(
    np.random.default_rng(0).normal(size=20_000).astype(np.float32), name="x", origin="v", kind=Kind.PAIR
)


class Side:
    """Values of candidates that are the user's, the item's and their own in given shares of the variance."""

    def __init__(
        self, rng: np.random.Generator, *, of_user: float, of_item: float, shift: float = 0.0
    ) -> None:
        user = rng.integers(0, USERS, REQUESTS)[np.repeat(np.arange(REQUESTS), CANDIDATES)]
        item = rng.integers(0, ITEMS, len(user))
        items = np.random.default_rng(7).normal(size=ITEMS)
        parts = (rng.normal(size=USERS)[user], items[item], rng.normal(size=len(user)))
        weights = (of_user, of_item, 1 - of_user - of_item)
        self.values = sum(np.sqrt(weight) * part for weight, part in zip(weights, parts, strict=True)) + shift
        salt = int(rng.integers(1 << 40))
        self.user = mix(user.astype(np.uint64), np.full(1, salt, np.uint64))
        self.item = mix(item.astype(np.uint64), np.full(1, 3, np.uint64))

    def counts(self) -> dict[Over, np.ndarray]:
        codes = BINS.codes(self.values.astype(np.float32))
        hashes = {Over.USER: self.user, Over.ITEM: self.item, Over.PAIR: mix(self.user, self.item)}
        return {kind: grouped(codes, group(each), GROUPS, BINS.size) for kind, each in hashes.items()}


def sides(seed: int, *, of_user: float, of_item: float = 0.0, shift: float = 0.0) -> tuple[Side, Side]:
    rng = np.random.default_rng(seed)
    return (
        Side(rng, of_user=of_user, of_item=of_item, shift=shift),
        Side(rng, of_user=of_user, of_item=of_item),
    )


def rejected(p_values: list[float], level: float) -> float:
    return float((np.array(p_values) <= level).mean())


@pytest.mark.parametrize(
    ("of_user", "of_item"), [(0.0, 0.0), (0.5, 0.0), (0.99, 0.0), (0.4, 0.4), (0.0, 0.9)]
)
def test_p_values_of_any_difference_hold_their_level(of_user: float, of_item: float) -> None:
    drawn = (sides(seed, of_user=of_user, of_item=of_item) for seed in range(TRIALS))
    p_values = [Sides(one.counts(), other.counts()).p_any for one, other in drawn]
    for level in (0.01, 0.05, 0.2):
        sure = stats.binom.ppf(0.9999, TRIALS, level) / TRIALS
        assert rejected(p_values, level) <= sure, f"{level} of {of_user} by user, {of_item} by item"


def test_the_same_test_over_rows_would_cry_wolf_every_night() -> None:
    """What the world above does to a test that takes candidate rows for independent."""
    alarms = []
    for seed in range(50):
        one, other = sides(seed, of_user=0.99)
        counts = [side.counts()[Over.USER].sum(axis=0) for side in (one, other)]
        seen = np.stack(counts)[:, sum(counts) > 0]
        alarms.append(float(stats.chi2_contingency(seen).pvalue))
    assert rejected(alarms, 0.05) > 0.95


def test_users_all_alike_within_give_uniform_p_values_not_merely_large_ones() -> None:
    p_values = []
    for seed in range(TRIALS):
        one, other = sides(seed, of_user=0.99)
        p_values.append(
            Sides({Over.USER: one.counts()[Over.USER]}, {Over.USER: other.counts()[Over.USER]}).p_any
        )
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def true_distance(shift: float) -> float:
    """Kolmogorov-Smirnov of two normal distributions that far apart, at the places of the bins."""
    rng = np.random.default_rng(1)
    p, q = (
        np.bincount(BINS.codes((rng.normal(size=2_000_000) + by).astype(np.float32)), minlength=BINS.size)
        / 2e6
        for by in (shift, 0.0)
    )
    return float(kolmogorov_smirnov(p, q, BINS.places))


@pytest.mark.parametrize("of_user", [0.0, 0.95])
def test_a_change_of_just_the_tolerance_is_news_no_more_often_than_the_level_says(of_user: float) -> None:
    tolerance = true_distance(0.4)
    distance = partial(kolmogorov_smirnov, places=BINS.places)
    p_values = []
    for seed in range(TRIALS):
        one, other = sides(seed, of_user=of_user, shift=0.4)
        p_values.append(Sides(one.counts(), other.counts()).estimate(distance).p_value(tolerance))
    for level in (0.01, 0.05):
        assert rejected(p_values, level) <= stats.binom.ppf(0.9999, TRIALS, level * 1.5) / TRIALS
    assert rejected(p_values, 0.05) > 0.01


def test_a_change_of_twice_the_tolerance_is_found() -> None:
    tolerance = true_distance(0.4)
    distance = partial(kolmogorov_smirnov, places=BINS.places)
    found = []
    for seed in range(50):
        one, other = sides(seed, of_user=0.5, shift=0.8)
        found.append(Sides(one.counts(), other.counts()).estimate(distance).p_value(tolerance))
    assert rejected(found, 0.01) > 0.95


def test_the_effective_sample_size_is_users_where_candidates_are_alike_and_rows_where_they_are_not() -> None:
    def effective(of_user: float) -> float:
        sizes = []
        for seed in range(20):
            one, other = sides(seed, of_user=of_user)
            by_user = [{Over.USER: side.counts()[Over.USER]} for side in (one, other)]
            sizes.append(Sides(*by_user).effective[0])
        return float(np.median(sizes))

    assert effective(0.0) == pytest.approx(REQUESTS * CANDIDATES, rel=0.15)
    # Users are drawn with repetition: sum of squares of how often, 1 / USERS + 1 / REQUESTS.
    assert effective(1.0) == pytest.approx(1 / (1 / USERS + 1 / REQUESTS), rel=0.15)


def test_what_is_shared_by_both_sides_adds_no_uncertainty() -> None:
    """The same items stand on both sides, so that what differs between items is no reason for doubt."""
    one, other = sides(0, of_user=0.0, of_item=0.9)
    kept = Sides(one.counts(), other.counts())
    moved = Sides(one.counts(), {kind: np.roll(each, 5, axis=0) for kind, each in other.counts().items()})
    distance = partial(kolmogorov_smirnov, places=BINS.places)
    assert kept.estimate(distance).error < 0.7 * moved.estimate(distance).error


def test_hashes_of_ids_fall_evenly_into_groups() -> None:
    sizes = np.bincount(group(hash_texts(np.array([f"user-{n}" for n in range(32_000)], object))))
    assert len(sizes) == GROUPS
    assert stats.chisquare(sizes).pvalue > 1e-4
