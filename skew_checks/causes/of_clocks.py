"""Times that are off by hours: instants, hours on the clock, event times."""

from __future__ import annotations

import numpy as np

from skew_checks.causes.case import LEAST_DIFFERENT, Case, Seen, different, is_told_by, share_told
from skew_checks.judging.compare import Mask
from skew_checks.replay.event_times import Floats

HOUR, QUARTER = 3600.0, 900.0
INSTANT = 1e8
"""Numbers beyond are Unix seconds: 1973 and later."""
FARTHEST = 14 * HOUR
"""Time zones differ by quarters of an hour, up to 14 hours from UTC."""
CLOSE = 1.0
AGES = {"hour": 1.0, "day": 1 / 24}
"""Units of ages, told by a feature's name, in which an hour is so much."""


def clock(case: Case) -> Seen | None:
    """A shift by a multiple of a quarter of an hour, over time or on the circle of 24 hours."""
    found = [] if case.subject.is_model_column else [_of_event_times(case)]
    if case.is_number:
        found += [_of_instants(case), _on_the_circle(case), _of_ages(case)]
    seen = [each for each in found if each is not None]
    return max(seen, key=lambda each: int(each.mask.sum()), default=None)


def _of_event_times(case: Case) -> Seen | None:
    """The served row has an event time that no offline row has, hours from the right one."""
    step = case.own - case.newest
    strange = ~np.isnan(step) & ~case.view_rows.has_stored[case.rows]
    cadence = case.evidence.judge.facts[case.subject.view].cadence_seconds
    shifted = _shifted(step, strange, exact=CLOSE)
    if shifted is None or (cadence and shifted[1] % cadence == 0):
        return None
    mask, by = shifted
    return Seen(
        mask,
        (f"event times are {by / HOUR:+g} hours off in {share_told(mask)} mismatches: another time zone?",),
    )


def _of_instants(case: Case) -> Seen | None:
    served, right = case.numbers
    rows = case.value_rows & (right > INSTANT)
    shifted = _shifted(served - right, rows, exact=CLOSE)
    if shifted is None or not is_told_by(case, shifted[0]):
        return None
    mask, by = shifted
    return Seen(mask, (f"{by / HOUR:+g} hours in {share_told(mask)} mismatches: another time zone?",))


def _on_the_circle(case: Case) -> Seen | None:
    served, right = case.numbers
    rows = case.value_rows
    inside = (served >= 0) & (served < 24) & (right >= 0) & (right < 24)
    if "hour" not in case.subject.feature or not inside[rows].all():
        return None
    shifted = _shifted(((served - right + 12) % 24 - 12) * HOUR, rows, exact=HOUR * 1e-3)
    if shifted is None or different(right[shifted[0]]) < LEAST_DIFFERENT:
        return None
    mask, by = shifted
    told = (
        f"{by / HOUR:+g} hours on the circle of 24 hours in {share_told(mask)} mismatches: another time zone?"
    )
    return Seen(mask, (told,))


def _of_ages(case: Case) -> Seen | None:
    """An age computed at request time."""
    hour = next((size for word, size in AGES.items() if word in case.subject.feature), None)
    if hour is None or not case.subject.is_model_column:
        return None
    served, right = case.numbers
    shifted = _shifted((served - right) / hour * HOUR, case.value_rows, exact=HOUR * 1e-2)
    if shifted is None or different(right[shifted[0]]) < LEAST_DIFFERENT:
        return None
    mask, by = shifted
    return Seen(
        mask, (f"ages are {by / HOUR:+g} hours off in {share_told(mask)} mismatches: another clock?",)
    )


def _shifted(seconds: Floats, rows: Mask, *, exact: float) -> tuple[Mask, float] | None:
    """Of `rows` those with the commonest shift, if it is one that time zones make, and the shift in seconds."""
    if not rows.any():
        return None
    steps = np.round(seconds[rows] / QUARTER)
    values, counts = np.unique(steps, return_counts=True)
    by = float(values[counts.argmax()]) * QUARTER
    if by == 0 or abs(by) > FARTHEST:
        return None
    with np.errstate(invalid="ignore"):
        mask = rows & (np.abs(seconds - by) <= exact)
    return (mask, by) if mask.any() else None
