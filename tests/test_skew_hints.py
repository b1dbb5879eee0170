"""A hint is given when all rows show the pattern, and withheld when one does not."""

from __future__ import annotations

import math

import numpy as np

from skew_checks.hints import default_hint, row_hint, shift_hint, swap_hint

NAN = math.nan
DAY = 86_400.0
AT = 1_750_000_000.0 // DAY * DAY


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


ALL = np.ones(4, bool)
NONE = ~ALL


def test_event_times_that_agree_tell_nothing() -> None:
    assert row_hint(numbers(AT, NAN), numbers(AT, NAN), ALL[:2], NONE[:2]) is None


def test_rows_that_do_not_differ_are_not_looked_at() -> None:
    assert row_hint(numbers(AT, AT - DAY), numbers(AT, AT), np.array([True, False]), NONE[:2]) is None


def test_older_newer_absent_and_surplus_rows_are_told_apart() -> None:
    served, offline = numbers(AT - DAY, AT + DAY, NAN, AT), numbers(AT, AT, AT, NAN)
    hint = row_hint(served, offline, ALL, NONE)
    assert hint is not None
    sentences = hint.split("; ")
    assert [sentence.split(" (")[0] for sentence in sentences] == [
        "no row in Redis, there is an offline row",
        "no offline row",
        "served row is older than the offline row",
        "served row is newer than what was known at the request's time",
    ]
    assert all(sentence.endswith("in 1 of 4 rows looked at") for sentence in sentences)


def test_a_row_that_expired_is_told_from_one_that_is_merely_older() -> None:
    served, offline = numbers(AT - 3 * DAY, AT - DAY), numbers(AT, AT)
    hint = row_hint(served, offline, ALL[:2], np.array([True, False]))
    assert hint is not None
    assert "served row had expired, there is a newer offline row" in hint.split("; ")[0]
    assert "served row is older than the offline row" in hint.split("; ")[1]


def test_a_swap_needs_both_directions_on_every_row() -> None:
    one, other = numbers(1, 2, 3, 4), numbers(5, 6, 7, 8)
    assert swap_hint((one, other), {"other": (other, one)}, ALL, 0.0) == "values look swapped with other"
    assert swap_hint((one, other), {"other": (other, numbers(1, 2, 3, 0))}, ALL, 0.0) is None
    assert swap_hint((one, other), {"other": (numbers(0, 0, 0, 0), one)}, ALL, 0.0) is None


def test_a_swap_of_constants_is_not_called_one() -> None:
    one, other = numbers(1, 1, 1, 1), numbers(2, 2, 2, 2)
    assert swap_hint((one, other), {"other": (other, one)}, ALL, 0.0) is None


def test_texts_can_be_swapped_too() -> None:
    one, other = (np.array(list(letters), object) for letters in ("abcd", "efgh"))
    assert swap_hint((one, other), {"other": (other, one)}, ALL, 0.0) == "values look swapped with other"


def test_another_default_is_one_value_in_place_of_the_declared_one() -> None:
    served, right = numbers(5, 5, 5, 5), numbers(0, 0, 0, 0)
    assert default_hint(served, right, ALL, 0.0) == "another default: served 5 where the registry says 0"
    assert default_hint(numbers(5, 5, 5, 6), right, ALL, 0.0) is None
    missing = numbers(NAN, NAN, NAN, NAN)
    assert (
        default_hint(served, missing, ALL, NAN) == "another default: served 5 where the registry says missing"
    )


def test_a_default_in_place_of_values_is_told() -> None:
    hint = default_hint(numbers(0, 0, 0, 0), numbers(1, 2, 3, 4), ALL, 0.0)
    assert hint == "served the declared default 0 although there is a value"


def test_instants_shifted_by_a_time_zone_are_told_in_hours() -> None:
    right = AT + numbers(0, 10, 20, 30)
    assert shift_hint(right + 5.5 * 3600, right, ALL) == "constant shift of +5.5 hours: another time zone?"
    assert shift_hint(right + 100, right, ALL) == "constant shift of +0.02778 hours"
    assert shift_hint(right + numbers(3600, 3600, 3600, 7200), right, ALL) is None


def test_hours_shifted_on_the_clock_are_told() -> None:
    right = numbers(1, 10, 20, 23)
    hint = shift_hint((right + 8) % 24, right, ALL)
    assert hint == "constant shift of +8 on the circle of 24 hours: another time zone?"


def test_a_shift_needs_several_different_values() -> None:
    assert shift_hint(numbers(2, 2, 2, 2), numbers(1, 1, 1, 1), ALL) is None
    assert shift_hint(numbers(2, 3, 4, 5), numbers(1, 2, 3, 4), ALL) == "constant shift of +1"


def test_missing_values_are_no_shift() -> None:
    assert shift_hint(numbers(2, 3, 4, NAN), numbers(1, 2, 3, 4), ALL) is None
