"""Two columns are the same, by type, exactly when every value is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.columns import Ragged
from ranking_service.contract import Field, ModelFeature
from skew_checks.judging.compare import FLOAT32, FLOAT64, differ, model_tolerance, stored_tolerance

NAN, INFINITY = math.nan, math.inf
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
TEXTS = st.one_of(st.none(), st.text(max_size=3))


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def texts(*values: str | None) -> np.ndarray:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def one_by_one(served: float, offline: float, relative: float) -> bool:
    """The definition, for one pair, in plain Python."""
    if math.isnan(served) or math.isnan(offline):
        return math.isnan(served) != math.isnan(offline)
    if math.isinf(served) or math.isinf(offline):
        return served != offline
    room = 1e-9 + relative * max(abs(served), abs(offline))
    return not (abs(served - offline) <= room or served == offline)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20), st.sampled_from([0.0, FLOAT64, FLOAT32, 0.1, 0.5]))
def test_numbers_compare_as_defined(pairs: list[tuple[float, float]], relative: float) -> None:
    served, offline = (numbers(*column) for column in (zip(*pairs, strict=True) if pairs else ((), ())))
    expected = [one_by_one(left, right, relative) for left, right in pairs]
    assert differ(served, offline, relative).tolist() == expected
    assert differ(offline, served, relative).tolist() == expected


@given(st.lists(st.floats(width=32, allow_infinity=False), max_size=20))
def test_a_float32_is_the_same_after_a_round_trip_and_its_neighbour_too(values: list[float]) -> None:
    column = np.array(values, np.float32)
    neighbour = np.nextafter(column, np.float32(0))
    assert not differ(column, column.astype(np.float64)).any()
    assert not differ(column, neighbour, FLOAT32).any()


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=20))
def test_texts_are_the_same_only_when_equal_and_missing_is_not_empty(
    pairs: list[tuple[str | None, str | None]],
) -> None:
    served, offline = (texts(*column) for column in (zip(*pairs, strict=True) if pairs else ((), ())))
    assert differ(served, offline).tolist() == [left != right for left, right in pairs]


@given(
    st.lists(st.tuples(st.lists(NUMBERS, max_size=4), st.lists(NUMBERS, max_size=4)), max_size=10),
    st.sampled_from([0.0, FLOAT32]),
)
def test_lists_compare_entry_by_entry(pairs: list[tuple[list[float], list[float]]], relative: float) -> None:
    served = Ragged.from_lists([left for left, _ in pairs], np.float64)
    offline = Ragged.from_lists([right for _, right in pairs], np.float64)
    expected = [
        len(left) != len(right) or any(one_by_one(a, b, relative) for a, b in zip(left, right, strict=True))
        for left, right in pairs
    ]
    assert differ(served, offline, relative).tolist() == expected


@given(st.lists(st.tuples(st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3)), max_size=10))
def test_lists_of_texts_compare_exactly(pairs: list[tuple[list[str | None], list[str | None]]]) -> None:
    served = Ragged.from_lists([left for left, _ in pairs])
    offline = Ragged.from_lists([right for _, right in pairs])
    assert differ(served, offline).tolist() == [left != right for left, right in pairs]


def test_rows_that_share_a_list_are_compared_each_for_itself() -> None:
    served = Ragged.from_lists([[1.0, 2.0], [3.0]], np.float64).take(np.array([0, 1, 0]))
    offline = Ragged.from_lists([[1.0, 2.0], [3.0], [1.0, 5.0]], np.float64)
    assert differ(served, offline).tolist() == [False, False, True]


def test_infinity_is_only_infinity_even_under_a_tolerance() -> None:
    served = numbers(INFINITY, INFINITY, -INFINITY, INFINITY)
    offline = numbers(INFINITY, 1.0, INFINITY, NAN)
    assert differ(served, offline, 0.5).tolist() == [False, True, True, True]


def test_columns_of_different_kinds_differ_everywhere() -> None:
    assert differ(numbers(1, NAN), texts("1", None)).all()
    assert differ(Ragged.from_lists([[1.0], []], np.float64), numbers(1, NAN)).all()


def test_a_matrix_compares_with_a_tolerance_per_column() -> None:
    served = np.array([[1.0, 1.0], [2.0, NAN]])
    offline = np.array([[1.05, 1.05], [2.0, NAN]])
    assert differ(served, offline, np.array([0.1, 0.0])).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize(
    ("value_type", "declared", "expected"),
    [
        ("FLOAT", 0.0, FLOAT32),
        ("FLOAT", 0.01, 0.01),
        ("FLOAT_LIST", 0.0, FLOAT32),
        ("DOUBLE", 0.0, FLOAT64),
        ("INT64", 0.0, 0.0),
        ("BOOL", 0.0, 0.0),
        ("STRING", 0.0, 0.0),
    ],
)
def test_the_tolerance_follows_type_and_declaration(
    value_type: str, declared: float, expected: float
) -> None:
    assert stored_tolerance(Field("f", value_type, NAN, declared)) == expected


def test_an_instant_may_not_be_a_second_off() -> None:
    room = stored_tolerance(Field("seen_at", "DOUBLE", NAN))
    assert differ(numbers(1_750_000_000.0), numbers(1_750_000_001.0), room).all()


def test_codes_of_categories_are_exact_and_model_numbers_are_float32() -> None:
    text = ModelFeature(Field("kind", "STRING", ""), "view", "")
    number = ModelFeature(Field("age", "DOUBLE", NAN, 0.01), "view", "")
    plain = ModelFeature(Field("age", "DOUBLE", NAN), "view", "")
    assert [model_tolerance(feature) for feature in (text, number, plain)] == [0.0, 0.01, FLOAT32]
