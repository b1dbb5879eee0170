"""Columns by slices are the same columns as by number, and no run could be joined with the next."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ranking_service.column_runs import column_runs


@st.composite
def paired(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Some columns of twelve, in order, and as many of twelve in any order, often side by side."""
    here = sorted(draw(st.sets(st.integers(0, 11))))
    start = draw(st.integers(0, 12 - len(here)))
    side_by_side = st.just(list(range(start, start + len(here))))
    any_order = st.permutations(range(12)).map(lambda places: places[: len(here)])
    return here, draw(side_by_side | any_order)


@given(paired())
def test_copying_runs_is_copying_the_columns(pairs: tuple[list[int], list[int]]) -> None:
    here, there = pairs
    source = np.arange(24.0).reshape(2, 12)
    by_number, by_runs = np.full((2, 12), np.nan), np.full((2, 12), np.nan)
    by_number[:, there] = source[:, here]
    runs = column_runs(here, there)
    for mine, theirs in runs:
        by_runs[:, theirs] = source[:, mine]
    assert by_runs.tobytes() == by_number.tobytes()
    for (mine, theirs), (next_mine, next_theirs) in pairwise(runs):
        assert (mine.stop, theirs.stop) != (next_mine.start, next_theirs.start)


def test_columns_side_by_side_are_one_run() -> None:
    assert column_runs(range(3), range(5, 8)) == ((slice(0, 3), slice(5, 8)),)
    assert column_runs([0, 1, 4], [2, 3, 4]) == ((slice(0, 2), slice(2, 4)), (slice(4, 5), slice(4, 5)))
    assert column_runs([], []) == ()
