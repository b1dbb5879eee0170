"""The straight line that costs are compared with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking_service.bench.line import Line


@given(st.floats(0.001, 100), st.floats(1, 1000), st.sets(st.integers(1, 10_000), min_size=2, max_size=10))
def test_points_on_a_line_give_the_line(slope: float, intercept: float, counts: set[int]) -> None:
    values = [intercept + slope * count for count in counts]
    line = Line.through(sorted(counts), [intercept + slope * count for count in sorted(counts)])
    assert line.slope == pytest.approx(slope, rel=1e-6, abs=1e-9 * max(values))
    assert line.r_squared == pytest.approx(1.0, abs=1e-3)
    assert line.departure < 1e-6


def test_a_cost_that_grows_with_the_square_departs_from_the_line() -> None:
    counts = [100, 250, 500, 1000, 2000]
    line = Line.through(counts, [count**2 / 1000 for count in counts])
    assert line.r_squared < 0.97
    assert line.departure > 0.5


def test_a_cost_that_does_not_grow_is_linear_although_nothing_explains_its_noise() -> None:
    line = Line.through([1, 2, 3, 4], [2.0, 2.05, 1.95, 2.0])
    assert line.r_squared < 0.5
    assert line.departure < 0.05
    assert Line.through([1, 2, 3], [2.0, 2.0, 2.0]).r_squared == 1.0


def test_one_count_makes_no_line() -> None:
    with pytest.raises(ValueError, match="two different counts"):
        Line.through([5, 5], [1.0, 2.0])
