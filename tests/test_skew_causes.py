"""A rule of cause explains the rows that show its pattern, no others, and says nothing where there are too few."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.columns import Column, Ragged
from ranking_service.contract import Field
from skew_checks.causes import of_clocks, of_columns, of_numbers, of_vectors
from skew_checks.causes.case import Case, Seen, different
from skew_checks.causes.rules import LAST_RULES, RULES
from skew_checks.judging.compare import FLOAT32, FLOAT64, Mask, differ
from skew_checks.judging.subjects import Subject
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Unit

NAN = math.nan
AT = 1_750_000_000.0
HEALTHY = np.arange(100.0)


@dataclass(frozen=True)
class Figures:
    """What the rules of values ask of the evidence: the served column, mismatches and healthy rows together."""

    served: Column

    def pair(self, _subject: Subject) -> tuple[Column, Column]:
        return self.served, self.served


class Values(Case):
    """A case of one stored feature, of values alone: the row served is the right one everywhere."""

    def __init__(
        self,
        served: Column,
        right: Column,
        *,
        name: str = "item_share",
        value_type: str = "FLOAT",
        healthy: np.ndarray = HEALTHY,
        siblings: dict[str, tuple[Column, Column]] | None = None,
    ) -> None:
        relative = {"FLOAT": FLOAT32, "DOUBLE": FLOAT64}.get(value_type, 0.0)
        subject = Subject(name, "item_view", False, Unit.ITEM_ROWS, relative, 0.001)
        everything = served if isinstance(served, Ragged) else np.concatenate((served, healthy))
        count = len(served)
        rows = np.arange(count)
        every = np.arange(count, count + (0 if isinstance(served, Ragged) else len(healthy)))
        super().__init__(Figures(everything), subject, rows, every, (), None, {})  # type: ignore[arg-type]
        self.__dict__.update(
            served=served,
            right=right,
            is_wrong_row=differ(served, right, relative),
            field=Field(name, value_type, 0.0),
            siblings=siblings or {},
        )

    def right_of(self, subject: Subject) -> Column:
        return self.__dict__["siblings"][subject.feature][1]

    def served_of(self, subject: Subject) -> Column:
        return self.__dict__["siblings"][subject.feature][0]


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def mask(seen: Seen | None) -> list[bool]:
    return [] if seen is None else seen.mask.tolist()


def explained(
    rule: Callable[[Case], Seen | None], served: Column, right: Column, **options: Any
) -> Mask | None:
    seen = rule(Values(served, right, **options))
    return None if seen is None else seen.mask


def test_every_cause_has_a_rule_or_is_seen_without_a_mismatch() -> None:
    by_rule = {cause for cause, _ in (*RULES, *LAST_RULES)}
    elsewhere = {Cause.DUPLICATE_LOG_ROWS, Cause.KEY_MISMATCH, Cause.WRONG_MODEL, Cause.UNEXPLAINED}
    assert by_rule | elsewhere == set(Cause)
    assert not by_rule & elsewhere


RIGHT = numbers(1.7, 33.3, 1234.5678, 0.00123, 250.1)


@pytest.mark.parametrize(
    ("told", "served"),
    [
        ("float16", RIGHT.astype(np.float16).astype(np.float64)),
        ("a whole number, cut off", np.trunc(RIGHT)),
    ],
)
def test_roundings_are_told_apart(told: str, served: np.ndarray) -> None:
    seen = of_numbers.precision(Values(served, RIGHT))
    assert seen is not None
    assert seen.mask.all()
    assert told in seen.facts[0]


def test_an_integer_that_wrapped_is_told_with_its_size() -> None:
    right = numbers(128, 200, 300, 1000)
    seen = of_numbers.precision(Values((right + 128) % 256 - 128, right))
    assert seen is not None
    assert seen.mask.all()
    assert "a signed byte" in seen.facts[0]


def test_an_instant_through_float32_is_rounding_and_no_shift() -> None:
    right = AT + numbers(1, 20, 50, 77.25, 101)
    served = right.astype(np.float32).astype(np.float64)
    assert explained(of_numbers.precision, served, right, value_type="DOUBLE", name="seen_at").all()
    assert of_clocks.clock(_with_rows(Values(served, right, value_type="DOUBLE", name="seen_at"))) is None


@given(
    st.lists(st.floats(0.0625, 2.0**20, width=32), min_size=4, max_size=30, unique=True),
    st.sampled_from([0.001, 0.5, 3.7, 60, 1000]),
)
@settings(max_examples=60, deadline=None)
def test_a_common_factor_is_found_and_told(values: list[float], factor: float) -> None:
    right = np.array(values)
    served = (right * factor).astype(np.float32).astype(np.float64)
    seen = of_numbers.unit(Values(served, right))
    assert seen is not None
    assert seen.mask.all()
    assert f"{factor:g} x offline" in seen.facts[0]


def test_a_logarithm_is_told() -> None:
    right = numbers(1, 7, 30, 200, 5000)
    seen = of_numbers.unit(Values(np.log1p(right).astype(np.float32).astype(np.float64), right))
    assert seen is not None
    assert seen.mask.all()
    assert "log(1 + x)" in seen.facts[0]


def test_rows_off_the_pattern_are_not_explained() -> None:
    right = numbers(1, 2, 3, 4, 5, 6)
    served = right * 1000
    served[5] = 7.5
    assert explained(of_numbers.unit, served, right).tolist() == [True] * 5 + [False]


def test_a_factor_over_two_values_may_be_chance() -> None:
    assert of_numbers.unit(Values(numbers(2, 2, 4, 4), numbers(1, 1, 2, 2))) is None


def test_unrelated_values_have_no_unit_and_no_rounding() -> None:
    random = np.random.default_rng(3)
    served, right = random.normal(10, 3, 40), random.normal(10, 3, 40)
    found = of_numbers.unit(Values(served, right))
    assert found is None or found.mask.mean() < 0.2
    assert of_numbers.precision(Values(served, right)) is None


def test_one_value_for_all_beyond_it_is_clipping_unless_healthy_rows_go_beyond_too() -> None:
    right = numbers(120, 130, 170, 400)
    served = np.full(4, 100.0)
    assert explained(of_numbers.clipping, served, right).all()
    assert of_numbers.clipping(Values(served, right, healthy=np.arange(300.0))) is None
    assert of_numbers.clipping(Values(served, numbers(120, 80, 90, 130))) is None


@pytest.mark.parametrize("hours", [8, -8, 5.5, 1])
def test_instants_shifted_by_a_time_zone_are_told_in_hours(hours: float) -> None:
    right = AT + numbers(0, 10, 20, 30)
    seen = of_clocks.clock(
        _with_rows(Values(right + hours * 3600, right, value_type="DOUBLE", name="seen_at"))
    )
    assert seen is not None
    assert seen.mask.all()
    assert seen.facts[0].startswith(f"{hours:+g} hours")


def test_hours_shifted_on_the_circle_are_told() -> None:
    right = numbers(1, 10, 20, 23)
    seen = of_clocks.clock(_with_rows(Values((right + 8) % 24, right, name="user_mean_hour")))
    assert seen is not None
    assert "+8 hours on the circle of 24 hours" in seen.facts[0]


def test_a_shift_by_seconds_or_by_a_week_is_no_clock() -> None:
    right = AT + numbers(0, 10, 20, 30)
    for by in (100.0, 7 * 86_400.0):
        case = Values(right + by, right, value_type="DOUBLE", name="seen_at")
        assert of_clocks.clock(_with_rows(case)) is None


def test_vectors_scaled_and_turned_are_told_apart() -> None:
    right = Ragged.from_lists([[3.0, 4.0], [1.0, 2.0, 2.0]], np.float64)
    scaled = Ragged.from_lists([[6.0, 8.0], [2.0, 4.0, 4.0]], np.float64)
    turned = Ragged.from_lists([[4.0, 3.0], [2.0, 2.0, 1.0]], np.float64)
    for served, told in ((scaled, "another norm"), (turned, "another version")):
        seen = of_vectors.embedding_version(Values(served, right, value_type="FLOAT_LIST"))
        assert seen is not None
        assert seen.mask.all()
        assert told in seen.facts[0]


def test_counts_of_another_number_of_categories_are_no_other_version() -> None:
    right = Ragged.from_lists([[3.0, 4.0]], np.float64)
    served = Ragged.from_lists([[3.0, 4.0, 1.0]], np.float64)
    assert of_vectors.embedding_version(Values(served, right, value_type="FLOAT_LIST")) is None


def _with_rows(case: Values) -> Values:
    """The rows served are those of the right event time."""
    same = np.full(len(case), AT)
    case.__dict__.update(own=same, newest=same, view_rows=_Rows(np.ones(len(case) + 100, bool)))
    case.evidence.__dict__["judge"] = _JUDGE
    return case


@dataclass(frozen=True)
class _Rows:
    has_stored: Mask


@dataclass(frozen=True)
class _Facts:
    target_seconds: float = 5_400.0
    cadence_seconds: float = 6 * 3_600.0


@dataclass(frozen=True)
class _Judge:
    facts: dict[str, _Facts]
    subjects: tuple[Subject, ...] = ()


_JUDGE = _Judge({"item_view": _Facts()})


def _siblings(name: str, others: dict[str, tuple[Column, Column]], served: Column, right: Column) -> Values:
    case = Values(served, right, name=name, siblings=others)
    subjects = tuple(
        Subject(other, "item_view", False, Unit.ITEM_ROWS, FLOAT32, 0.001) for other in (name, *others)
    )
    case.evidence.__dict__["judge"] = _Judge(_JUDGE.facts, subjects)
    return case


def test_the_value_of_another_window_is_told_from_an_exchange() -> None:
    week, days = numbers(10, 20, 30, 40), numbers(1, 2, 3, 4)
    one_way = _siblings("clicks_7d", {"clicks_3d": (days, days)}, days, week)
    seen = of_columns.window_length(one_way)
    assert mask(seen) == [True] * 4
    assert of_columns.swapped_columns(one_way) is None
    both_ways = _siblings("clicks_7d", {"clicks_3d": (week, days)}, days, week)
    assert of_columns.window_length(both_ways) is None
    assert mask(of_columns.swapped_columns(both_ways)) == [True] * 4


def test_an_exchange_of_texts_is_seen_and_one_of_constants_is_not() -> None:
    one, other = (np.array(list(letters), object) for letters in ("abcd", "efgh"))
    case = _siblings("left", {"right": (one, other)}, other, one)
    assert mask(of_columns.swapped_columns(case)) == [True] * 4
    one, other = numbers(1, 1, 1, 1), numbers(2, 2, 2, 2)
    assert of_columns.swapped_columns(_siblings("left", {"right": (one, other)}, other, one)) is None


def test_an_exchange_with_a_constant_is_seen_from_both_sides_and_is_no_default() -> None:
    """A count whose row got the zeros of another one, which got the count."""
    count, zeros = numbers(3, 5, 8, 2), numbers(0, 0, 0, 0)
    emptied = _siblings("views", {"remembered": (count, zeros)}, zeros, count)
    filled = _siblings("remembered", {"views": (zeros, count)}, count, zeros)
    assert mask(of_columns.swapped_columns(emptied)) == [True] * 4
    assert mask(of_columns.swapped_columns(filled)) == [True] * 4
    order = [cause for cause, _ in RULES]
    assert order.index(Cause.SWAPPED_COLUMNS) < order.index(Cause.DEFAULT_FILL)


def test_missing_values_do_not_count_as_different() -> None:
    assert different(numbers(1, NAN, NAN, 1)) == 1
    assert different(np.array(["a", None, "b"], object)) == 2


def test_a_pattern_over_one_value_counts_only_where_there_is_no_other_value() -> None:
    """One user's value in six requests."""
    right = np.full(6, 5.0)
    logs = np.full(6, np.float64(np.float32(np.log1p(5.0))))
    assert explained(of_numbers.unit, logs, right).all()
    assert explained(of_numbers.unit, right * 1000, right).all()
    assert of_numbers.unit(Values(np.full(6, 17.3), right)) is None
    seen_at = np.full(6, AT)
    assert explained_clock(seen_at - 8 * 3600, seen_at).all()
    mixed = numbers(5, 5, 5, 5, 6, 7)
    assert of_numbers.unit(Values(numbers(5000, 5000, 5000, 5000, 1, 3), mixed)) is None


@pytest.mark.parametrize(("hours", "is_clock"), [(5.0, True), (6.0, False), (12.0, False)])
def test_a_row_of_another_run_is_no_clock_whatever_freshness_the_view_declares(
    hours: float, is_clock: bool
) -> None:
    """Event times off by whole cadences are an older row; the target has nothing to say about it."""
    served, right = numbers(1, 2, 3, 4), numbers(5, 6, 7, 9)
    case = _with_rows(Values(served, right))
    case.__dict__.update(own=np.full(4, AT + hours * 3600), view_rows=_Rows(np.zeros(len(case) + 100, bool)))
    case.evidence.__dict__["judge"] = _Judge({"item_view": _Facts(target_seconds=7_000.0)})
    assert (of_clocks.clock(case) is not None) == is_clock


def explained_clock(served: np.ndarray, right: np.ndarray) -> Mask:
    seen = of_clocks.clock(_with_rows(Values(served, right, value_type="DOUBLE", name="seen_at")))
    assert seen is not None
    return seen.mask
