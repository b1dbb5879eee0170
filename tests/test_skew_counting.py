"""Counting and drawing: bounds of rates, units, witnesses, parts of lists; each against a plain way to do it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from feature_repo.columns import Ragged
from skew_checks.figures.ages import FIRST, STEP, AgeCounts
from skew_checks.judging.rates import rate_of, status_of
from skew_checks.judging.units import Marks, Register, instant_bits, matrix_hashes, mixed
from skew_checks.judging.witnesses import Draw
from skew_checks.replay.lag import blanked, patched
from skew_checks.result.parts import Status

COUNTS = st.integers(1, 5_000).flatmap(lambda units: st.tuples(st.integers(0, units), st.just(units)))


@given(COUNTS, st.sampled_from([0.9, 0.99, 0.999]))
@settings(deadline=None)
def test_the_bounds_are_quantiles_of_beta_distributions(counts: tuple[int, int], confidence: float) -> None:
    bad, units = counts
    rate = rate_of(bad, units, budget=0.001, confidence=confidence)
    lower = beta.ppf(1 - confidence, bad, units - bad + 1) if bad else 0.0
    upper = beta.ppf(confidence, bad + 1, units - bad) if bad < units else 1.0
    assert rate.lower == pytest.approx(lower, rel=1e-9, abs=1e-12)
    assert rate.upper == pytest.approx(upper, rel=1e-9, abs=1e-12)
    assert rate.lower <= rate.share <= rate.upper


@pytest.mark.parametrize(("bad", "units"), [(1, 50), (3, 1000), (60, 100)])
def test_at_its_bounds_the_binomial_tail_is_what_is_left_of_the_confidence(bad: int, units: int) -> None:
    rate = rate_of(bad, units, budget=0.001)
    assert binom.sf(bad - 1, units, rate.lower) == pytest.approx(0.001, rel=1e-6)
    assert binom.cdf(bad, units, rate.upper) == pytest.approx(0.001, rel=1e-6)


def test_a_share_within_its_budget_warns_and_one_beyond_it_for_sure_fails() -> None:
    assert status_of(rate_of(0, 1000, budget=0.001)) is Status.OK
    assert status_of(rate_of(1, 1000, budget=0.001)) is Status.WARN
    assert status_of(rate_of(20, 1000, budget=0.001)) is Status.FAIL
    assert status_of(rate_of(20, 1000, budget=0.05)) is Status.WARN
    assert status_of(rate_of(0, 0, budget=0.001)) is Status.INSUFFICIENT


@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=6))
@settings(deadline=None)
def test_units_keep_their_numbers_over_parts(parts: list[list[int]]) -> None:
    register, marks = Register(), Marks()
    known: dict[int, int] = {}
    marked: set[int] = set()
    for part in parts:
        numbers = register.numbers(mixed(np.array(part, np.uint64), np.zeros(len(part), np.uint64)))
        for unit, number in zip(part, numbers.tolist(), strict=True):
            assert known.setdefault(unit, number) == number
        odd = numbers[[unit % 2 == 1 for unit in part]] if part else numbers
        marks.mark(odd)
        marked |= {unit for unit in part if unit % 2}
    assert len(register) == len(known) == len(set(known.values()))
    assert set(known.values()) == set(range(len(known)))
    assert marks.count == len(marked)


def test_instants_that_are_missing_are_one_unit_and_others_their_own() -> None:
    bits = instant_bits(np.array([np.nan, 0.0, 1.5, 1.500001, np.nan]))
    assert len(set(bits.tolist())) == 4
    assert bits[0] == bits[4]


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=40), max_size=8), st.integers(1, 20))
@settings(deadline=None)
def test_witnesses_are_the_smallest_hashes_of_the_whole_window(parts: list[list[int]], limit: int) -> None:
    draw = Draw(limit)
    for part in parts:
        draw.offer(np.array(part, np.uint64))
    everything = sorted({one for part in parts for one in part})
    assert draw.kept.tolist() == everything[:limit]


LISTS = st.lists(st.lists(st.integers(0, 9).map(float), max_size=4), min_size=1, max_size=8)


@given(LISTS, LISTS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_lists_are_patched_row_by_row(
    lists: list[list[float]], others: list[list[float]], random: object
) -> None:
    count = min(len(lists), len(others))
    rows = random.sample(range(len(lists)), count)  # type: ignore[attr-defined]
    column = Ragged.from_lists(lists, np.float64)
    result = patched(column, np.array(rows, np.int64), Ragged.from_lists(others[:count], np.float64))
    expected = [list(each) for each in lists]
    for row, other in zip(rows, others, strict=False):
        expected[row] = other
    assert isinstance(result, Ragged)
    assert result.to_lists() == expected
    assert column.to_lists() == lists, "the column itself stays as it is"
    gone = blanked(column, np.array(rows, np.int64))
    assert isinstance(gone, Ragged)
    assert [not each for each in gone.to_lists()] == [
        row in rows or not each for row, each in enumerate(lists)
    ]


def test_numbers_and_texts_are_patched_and_blanked() -> None:
    rows = np.array([2, 0])
    assert patched(np.array([1.0, 2.0, 3.0]), rows, np.array([9.0, 8.0])).tolist() == [8.0, 2.0, 9.0]
    assert blanked(np.array(["a", "b", "c"], object), rows).tolist() == [None, "b", None]
    assert np.isnan(blanked(np.array([1.0, 2.0, 3.0]), rows)).tolist() == [True, False, True]


@given(st.lists(st.floats(1, 1e7), min_size=1, max_size=200))
@settings(deadline=None)
def test_quantiles_of_ages_are_right_within_a_bin(ages: list[float]) -> None:
    counts = AgeCounts()
    bins = np.floor(np.log(np.array(ages) / FIRST) / np.log(STEP)).astype(int)
    np.add.at(counts.counts, bins, 1)
    counts.oldest = max(ages)
    ordered = np.sort(ages)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("max", 1.0)):
        exact = ordered[int(np.ceil(share * len(ages))) - 1]
        assert counts.quantiles()[name] == pytest.approx(exact, rel=STEP - 1 + 1e-9)
    curve = counts.curve()
    assert curve[-1][1] == 1.0
    assert list(curve) == sorted(curve)


def test_rows_of_a_matrix_are_one_hash_where_they_are_equal() -> None:
    odd_nan = np.array([0xFFC00001], np.uint32).view(np.float32)[0]
    matrix = np.array([[1, np.nan], [1, odd_nan], [1, 2], [-0.0, 2], [0.0, 2], [1, 2]], np.float32)
    hashes = matrix_hashes(matrix, np.array([0, 0, 0, 0, 0, 1])).tolist()
    assert hashes[0] == hashes[1]
    assert hashes[3] == hashes[4]
    assert len({*hashes}) == 4


def test_units_that_several_bundles_served_count_once() -> None:
    registers = [Register(), Register(), Register()]
    registers[0].numbers(np.array([7, 3, 7], np.uint64))
    registers[1].numbers(np.array([3, 9], np.uint64))
    assert Register.together(registers) == 3
    assert Register.together([]) == 0
