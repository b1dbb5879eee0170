"""A default where there is a value, or another default than the declared one."""

from __future__ import annotations

import math

import numpy as np

from feature_repo.columns import Array, Column, Ragged
from skew_checks.causes.case import LEAST_DIFFERENT, Case, Seen, different, share_told
from skew_checks.figures.hours import missing
from skew_checks.judging.compare import Mask, differ
from skew_checks.judging.comparing import default_input

USUAL = (0.0, -1.0)
"""Numbers that stand for "unknown" in many a writer."""


def default_fill(case: Case) -> Seen | None:
    return _of_column(case) if case.subject.is_model_column else _of_stored(case)


def _of_column(case: Case) -> Seen | None:
    """The model's column: by what stands in for a missing value."""
    feature = case.evidence.judge.contract.features[case.subject.column]
    default = float(np.float32(default_input(feature)))
    served, right = case.numbers
    raw = case.evidence.served.get(case.subject.feature)
    absent = np.zeros(len(case), bool) if raw is None else missing(raw)[case.rows]
    if raw is None:
        absent = _equal(right, default)
    other = absent & _constant(served, absent)
    instead = ~absent & _equal(served, default)
    facts = []
    if other.any():
        value = _number(served[other][0])
        facts.append(f"another default: served {value} where the registry says {_number(default)}")
    if instead.any():
        facts.append(
            f"the default {_number(default)} stands where there is a value in {share_told(instead)} mismatches"
        )
    return Seen(other | instead, tuple(facts)) if facts else None


def _of_stored(case: Case) -> Seen | None:
    """The stored value: the row is the right one, and a stand-in lies in it."""
    is_there = case.is_wrong_row & ~case.view_rows.unused[case.rows] & case.view_rows.has_stored[case.rows]
    if isinstance(case.served, Ragged):
        empty = is_there & missing(case.served)
        return Seen(empty, (f"an empty list in {share_told(empty)} mismatches",)) if empty.any() else None
    filled = is_there & _stands_in(case, case.served)
    absent = is_there & missing(case.right)
    filled |= absent & _constant(case.served, absent)
    if not filled.any():
        return None
    value = case.served[np.flatnonzero(filled)[0]]
    shown = value if isinstance(value, str) else _number(math.nan if value is None else float(value))
    return Seen(
        filled,
        (f"{shown!s:.40} stands in the row where there is another value in {share_told(filled)} mismatches",),
    )


def _stands_in(case: Case, served: Column) -> Mask:
    """The declared default, nothing, or a usual number in place of many different ones."""
    if case.field.is_text:
        return np.asarray(missing(served) | (served == case.field.default), bool)
    found = missing(served) | _equal(np.asarray(served), float(case.field.default))
    for value in USUAL:
        alike = _equal(np.asarray(served), value)
        if different(np.asarray(case.right)[alike]) >= LEAST_DIFFERENT:
            found |= alike
    return found


def _constant(served: Column, mask: Mask) -> Mask:
    """bool: the one value that the rows of `mask` have in common, if they have one."""
    if isinstance(served, Ragged) or not mask.any():
        return np.zeros(len(mask), bool)
    is_one = different(served[mask]) == 1 and not missing(served)[mask].any()
    return mask & is_one


def _equal(values: Array, value: float) -> Mask:
    numbers = np.asarray(values, np.float64)
    same: Mask = np.logical_not(differ(numbers, np.full(len(numbers), value), 1e-7))
    return same


def _number(value: float) -> str:
    return "missing" if np.isnan(value) else f"{value:g}"
