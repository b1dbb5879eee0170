"""Causes that the rows' event times tell: was a row there, which one, and when did it become known?"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from feature_repo.columns import take
from skew_checks.causes.case import Case, Seen, share_told
from skew_checks.judging.compare import Mask, differ
from skew_checks.replay.event_times import Floats, rows_of_event

CLOSE_SECONDS = 1e-3
KNOWN_LATE = 60.0
"""Seconds from a row's event to when it became known, past which it counts as late."""
LEAST_FOUND = 20
MOST_VERSIONS = 4


def never_materialized(case: Case) -> Seen | None:
    """No row in Redis, and offline there is one that was due."""
    if case.subject.is_model_column:
        return None
    absent = np.isnan(case.own) & ~np.isnan(case.newest) & ~_expired_in_store(case)
    if not absent.any():
        return None
    return Seen(
        absent,
        (f"no row in Redis in {share_told(absent)} mismatches; {_instant('offline', case.newest, absent)}",),
    )


def materialization_gap(case: Case) -> Seen | None:
    """An older row than was due; its values are right for its age."""
    if case.subject.is_model_column:
        return None
    gap = _is_older(case) & ~_is_late(case) & (~case.is_wrong_row | _is_unused(case))
    if not gap.any():
        return None
    facts = case.evidence.judge.facts[case.subject.view]
    watermark = facts.watermark(case.evidence.received[case.rows])
    done = gap & (case.newest <= watermark)
    told = [
        f"the row served is older than the offline row in {share_told(gap)} mismatches "
        f"({_instant('served', case.own, gap)}, {_instant('offline', case.newest, gap)})"
    ]
    if len(facts.watermarks):
        why = (
            "a materialization had gone past the newer row and left it out"
            if done.sum() * 2 > gap.sum()
            else "no materialization had gone as far as the newer row"
        )
        told.append(f"{why} ({_instant('last', watermark, gap)})")
    return Seen(gap, tuple(told))


def late_data(case: Case) -> Seen | None:
    """An older row than was due; the newer one became known only when materialization had gone past its time."""
    if case.subject.is_model_column:
        return None
    late = _is_late(case) & (~case.is_wrong_row | _is_unused(case) | np.isnan(case.own))
    if not late.any():
        return None
    created = case.view_rows.newest.created[case.rows]
    hours = float(np.median((created - case.newest)[late])) / 3600
    return Seen(
        late,
        (
            f"the offline row became known {hours:.2g} hours after its event time in {share_told(late)} mismatches",
        ),
    )


def correction_not_applied(case: Case) -> Seen | None:
    """The row served has the event time of the offline row, and the values of an earlier version of it."""
    if case.subject.is_model_column or not _is_same(case).any():
        return None
    versions = np.zeros(len(case.evidence.at), np.int64)
    stored = case.view_rows.stored
    versions[stored.places] = stored.versions
    asked = np.flatnonzero(_is_same(case) & (versions[case.rows] > 1))
    plan = case.evidence.judge.contract.view(case.subject.view)
    keys = case.evidence.witnesses.offline.take(case.rows[asked])
    explained = np.zeros(len(case), bool)
    for back in range(1, min(MOST_VERSIONS, int(versions.max(initial=0)))):
        found = rows_of_event(case.evidence.judge.workspace, plan, keys, case.own[asked], back=back)
        places = asked[found.places]
        earlier = found.columns[case.subject.feature]
        explained[places] |= ~differ(take(case.served, places), earlier, case.subject.relative)
    if not explained.any():
        return None
    told = f"the value served is that of an earlier version of the same row in {share_told(explained)} mismatches"
    return Seen(explained, (told,))


def ttl(case: Case) -> Seen | None:
    """A row past the declared ttl was used, or one within it was not."""
    if case.subject.is_model_column or not case.ttl:
        return None
    age = case.at - case.own
    unused = _is_unused(case)
    loose = ~unused & (age > case.ttl)
    strict = (unused & (age <= case.ttl)) | _expired_in_store(case)
    if not (loose | strict).any():
        return None
    facts = [f"ttl {case.ttl / 3600:g} hours"]
    if loose.any():
        facts.append(f"rows of {_hours(age, loose)} were used in {share_told(loose)} mismatches")
    if strict.any():
        known = np.where(np.isnan(age), case.at - case.newest, age)
        facts.append(f"rows of {_hours(known, strict)} counted as expired in {share_told(strict)} mismatches")
    return Seen(loose | strict, tuple(facts))


def _is_unused(case: Case) -> Mask:
    """There was a row, and serving took it for expired."""
    return np.asarray(case.view_rows.unused[case.rows] & ~np.isnan(case.own), bool)


def _is_older(case: Case) -> Mask:
    return np.asarray(case.own < case.newest - CLOSE_SECONDS, bool)


def _is_same(case: Case) -> Mask:
    return np.asarray(np.abs(case.own - case.newest) <= CLOSE_SECONDS, bool)


def _is_late(case: Case) -> Mask:
    """The newer row became known late, when a run had gone past its event time already, if runs are known."""
    created = case.view_rows.newest.created[case.rows]
    late = (created > case.newest + KNOWN_LATE) & (_is_older(case) | np.isnan(case.own))
    facts = case.evidence.judge.facts[case.subject.view]
    passed = facts.watermark(created) >= case.newest - CLOSE_SECONDS
    return np.asarray(late & (passed | (not len(facts.watermarks))), bool)


def _expired_in_store(case: Case) -> Mask:
    """No row, and every one that is missing would be older than every one that was found, also later on: a key's
    time to live in Redis is too short.
    """
    absent = np.isnan(case.own) & ~np.isnan(case.newest)
    found = case.every[~np.isnan(case.view_rows.own[case.every])]
    if not absent.any() or len(found) < LEAST_FOUND:
        return np.zeros(len(case), bool)
    age = (case.evidence.at - case.view_rows.own)[found]
    is_older = (case.at - case.newest)[absent].min() > age.max()
    is_mixed = case.evidence.at[found].max() > case.at[absent].min()
    return absent & bool(is_older and is_mixed)


def _instant(name: str, seconds: Floats, mask: Mask) -> str:
    known = seconds[mask & ~np.isnan(seconds)]
    return f"{name} {datetime.fromtimestamp(known[0], UTC):%Y-%m-%d %H:%M}" if len(known) else f"{name} none"


def _hours(seconds: Floats, mask: Mask) -> str:
    low, high = np.nanmin(seconds[mask]) / 3600, np.nanmax(seconds[mask]) / 3600
    return f"{low:.3g} to {high:.3g} hours"
