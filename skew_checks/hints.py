"""What a mismatch looks like. A pattern is named only when every witness shows it."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from feature_repo.columns import Array, Column, Ragged
from ranking_service.transform_code import changed_transforms
from skew_checks.compare import Mask, differ
from skew_checks.evidence import Evidence, Floats
from skew_checks.replay import changed_views
from skew_checks.tally import Subject
from skew_checks.verdict import Kind

HOUR = 3600.0
INSTANT = 1e8
"""Numbers beyond are Unix seconds: 1973 and later."""
LEAST_DIFFERENT = 3
"""A shift or a swap shown by fewer different values may be chance."""


def stored_hint(evidence: Evidence, subject: Subject, others: list[Subject]) -> str:
    """For a stored value; `others` are the subjects that differ too."""
    bad = evidence.bad(subject)
    served, offline = evidence.pair(subject)
    age = row_hint(*evidence.event_times(subject.view), bad, evidence.expired(subject.view))
    if age:
        return age
    same_view = [other for other in others if other.kind is Kind.RAW and other.view == subject.view]
    partners = {other.feature: evidence.pair(other) for other in same_view if other != subject}
    seen = swap_hint((served, offline), partners, bad, subject.relative) or shift_hint(served, offline, bad)
    told = [seen or "same row (event time), another value: computed or written differently since"]
    if subject.view in changed_views(evidence.replayed.bundle, evidence.replayed.contract):
        told.append(f"{subject.view}'s declaration or SQL changed since the model was trained")
    return "; ".join(told)


def model_hint(evidence: Evidence, subject: Subject, others: list[Subject]) -> tuple[str, bool]:
    """For a column of the model's matrix: the hint, and whether it merely follows from the stored values."""
    astray = evidence.astray(subject)
    if not astray.any():
        return "right for the stored values that were served", True
    index = evidence.positions[subject.feature]
    served, right = evidence.witnesses.model_input, evidence.carried_input
    others = [other for other in others if other.kind is Kind.MODEL and other != subject]
    columns = [evidence.positions[other.feature] for other in others]
    names = evidence.replayed.contract.feature_names
    partners: dict[str, tuple[Column, Column]] = {
        names[column]: (served[:, column], right[:, column]) for column in columns
    }
    pair = served[:, index], right[:, index]
    default = evidence.default(evidence.replayed.contract.features[index])
    seen = (
        swap_hint(pair, partners, astray, subject.relative)
        or default_hint(*pair, astray, default)
        or shift_hint(*pair, astray)
    )
    told = [seen or "its stored values agree, what was made of them does not"]
    if subject.view in changed_transforms(evidence.replayed.bundle.contract):
        told.append(f"{subject.view} runs other code than the model was trained on")
    return "; ".join(told), False


def row_hint(served: Floats, offline: Floats, bad: Mask, expired: Mask) -> str | None:
    """From the event times of the rows that were read; None where they agree on every witness."""
    served, offline, expired = served[bad], offline[bad], expired[bad]
    absent, gone = np.isnan(served) & ~np.isnan(offline), ~np.isnan(served) & np.isnan(offline)
    older = served < offline
    cases = (
        (absent, "no row in Redis, there is an offline row"),
        (gone, "no offline row (or it expired), there is one in Redis"),
        (older & expired, "served row had expired, there is a newer offline row"),
        (older & ~expired, "served row is older than the offline row"),
        (served > offline, "served row is newer than what was known at the request's time"),
    )
    told = [
        f"{sentence}{_instants(served, offline, rows)}{_part(rows)}" for rows, sentence in cases if rows.any()
    ]
    return "; ".join(told) or None


def swap_hint(
    pair: tuple[Column, Column], partners: dict[str, tuple[Column, Column]], bad: Mask, relative: float
) -> str | None:
    """Whether served and offline values of two features are each other's."""
    for name, partner in partners.items():
        crossed = _crossed(pair, partner, bad, relative)
        if crossed:
            return f"values look swapped with {name}"
    return None


def _crossed(pair: tuple[Column, Column], partner: tuple[Column, Column], bad: Mask, relative: float) -> bool:
    scalars = [column[bad] for column in (*pair, *partner) if not isinstance(column, Ragged)]
    if len(scalars) < 4:
        return False
    served, offline, its_served, its_offline = scalars
    wrong = differ(served, its_offline, relative) | differ(its_served, offline, relative)
    return not wrong.any() and _different(offline) >= LEAST_DIFFERENT


def default_hint(served: Array, right: Array, bad: Mask, default: float) -> str | None:
    """Whether the registered default was replaced by another value, or a value by the default."""
    served, right = served[bad].astype(np.float64), right[bad].astype(np.float64)
    expected = np.full(len(served), default, np.float32).astype(np.float64)
    if not differ(right, expected).any() and not differ(served, np.full(len(served), served[0])).any():
        return f"another default: served {_number(served[0])} where the registry says {_number(default)}"
    if not differ(served, expected).any():
        return f"served the declared default {_number(default)} although there is a value"
    return None


def shift_hint(served: Column, offline: Column, bad: Mask) -> str | None:
    """Whether all differ by the same amount, over time or on the circle of 24 hours."""
    if isinstance(served, Ragged) or isinstance(offline, Ragged) or served.dtype == object:
        return None
    left, right = served[bad].astype(np.float64), offline[bad].astype(np.float64)
    if np.isnan(left + right).any() or _different(right) < LEAST_DIFFERENT:
        return None
    step = left - right
    room = 1e-6 * np.abs(np.concatenate((left, right))).max()
    if np.ptp(step) <= min(room, 1.0):
        return _shift(float(np.median(step)), is_instant=bool((right > INSTANT).all()))
    wrapped = (step + 12) % 24 - 12
    on_clock = bool(((left >= 0) & (left < 24) & (right >= 0) & (right < 24)).all())
    if on_clock and np.ptp(wrapped) <= room:
        return f"constant shift of {np.median(wrapped):+.4g} on the circle of 24 hours: another time zone?"
    return None


def _shift(step: float, *, is_instant: bool) -> str:
    if not is_instant:
        return f"constant shift of {step:+.6g}"
    quarters = abs(step / HOUR * 4 - round(step / HOUR * 4)) < 1e-3
    return f"constant shift of {step / HOUR:+.4g} hours" + (": another time zone?" if quarters else "")


def _different(values: Array) -> int:
    return len({value for value in values.tolist() if value is not None and value == value})


def _part(rows: Mask) -> str:
    return "" if rows.all() else f" in {int(rows.sum())} of {len(rows)} rows looked at"


def _instants(served: Floats, offline: Floats, rows: Mask) -> str:
    """Event times of the first row of the kind; whichever side has one."""
    first = int(np.flatnonzero(rows)[0])
    named = (("served", served[first]), ("offline", offline[first]))
    told = [
        f"{name} {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for name, at in named if not np.isnan(at)
    ]
    return f" ({', '.join(told)})"


def _number(value: float) -> str:
    return "missing" if np.isnan(value) else f"{value:g}"
