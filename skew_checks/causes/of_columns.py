"""Other features' values: of another window, or exchanged."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from feature_repo.columns import Column, Ragged, take
from skew_checks.causes.case import LEAST_DIFFERENT, Case, Seen, different, is_told_by, share_told
from skew_checks.judging.compare import Mask, differ
from skew_checks.judging.subjects import Subject

WINDOW = re.compile(r"_\d+(?:s|m|min|h|d|w)$")


def window_length(case: Case) -> Seen | None:
    """The value of the same feature over another window."""
    stem = WINDOW.sub("", case.subject.feature)
    if case.subject.is_model_column or stem == case.subject.feature:
        return None
    relatives = [one for one in _of_view(case) if WINDOW.sub("", one.feature) == stem]
    found = [(one, _holds(case, one) & ~_crossed(case, one)) for one in relatives]
    return _most(case, found, "the value is that of {}", lambda mask: is_told_by(case, mask))


def swapped_columns(case: Case) -> Seen | None:
    """Two features of the view have each other's values; one of them may be the same everywhere."""
    if case.subject.is_model_column:
        return None
    found = [(one, _holds(case, one) & _crossed(case, one)) for one in _of_view(case)]
    return _most(
        case,
        found,
        "values are exchanged with those of {}",
        lambda mask: _is_varied(case.right, mask) or _is_varied(case.served, mask),
    )


def other_column(case: Case) -> Seen | None:
    """A feature has the values of another one of its view, which has its own."""
    if case.subject.is_model_column:
        return None
    found = [(one, _holds(case, one)) for one in _of_view(case)]
    return _most(case, found, "the value is that of {}", lambda mask: _is_varied(case.right, mask))


def _is_varied(values: Column, mask: Mask) -> bool:
    """Any feature may equal another one that is the same everywhere."""
    return different(take(values, np.flatnonzero(mask))) >= LEAST_DIFFERENT


def _of_view(case: Case) -> list[Subject]:
    """Other stored features of the view."""
    return [
        one
        for one in case.evidence.judge.subjects
        if not one.is_model_column and one.view == case.subject.view and one != case.subject
    ]


def _holds(case: Case, other: Subject) -> Mask:
    """Where the served value is the right one of the other feature."""
    right = case.right_of(other)
    if isinstance(right, Ragged) != case.is_list or isinstance(right, Ragged):
        return np.zeros(len(case), bool)
    return case.is_wrong_row & ~differ(case.served, right, max(case.subject.relative, other.relative))


def _crossed(case: Case, other: Subject) -> Mask:
    """Where the other feature has this one's right value, and not its own."""
    served, relative = case.served_of(other), max(case.subject.relative, other.relative)
    has_this = ~differ(served, case.right, relative)
    return has_this & differ(served, case.right_of(other), relative)


def _most(
    case: Case, found: list[tuple[Subject, Mask]], told: str, is_enough: Callable[[Mask], bool]
) -> Seen | None:
    enough = [
        (other, mask)
        for other, mask in found
        if mask.any() and not isinstance(case.right, Ragged) and is_enough(mask)
    ]
    if not enough:
        return None
    other, mask = max(enough, key=lambda one: int(one[1].sum()))
    return Seen(mask, (f"{told.format(other.feature)} in {share_told(mask)} mismatches",))
