"""One server process against the others."""

from __future__ import annotations

import numpy as np

from feature_repo.columns import take
from skew_checks.causes.case import Case, Seen
from skew_checks.judging.dimensions import WRITER_HOURS

LEAST_CHANCE = 1e-6
LEAST_OTHERS = 20
"""Values that the others served in the same hours."""


def one_replica(case: Case) -> Seen | None:
    """All mismatches come from one process, while in the same hours others served enough without any."""
    counts = case.tally.bad.get(WRITER_HOURS)
    codes = case.codes.get(WRITER_HOURS)
    if counts is None or codes is None:
        return None
    bad: dict[str, int] = {}
    total: dict[str, int] = {}
    hours: dict[str, dict[str, tuple[int, int]]] = {}
    totals = codes.requests if case.subject.is_per_request else codes.rows
    for text, number in codes.numbers.items():
        replica, _, hour = text.rpartition("|")
        wrong = int(counts[number]) if number < len(counts) else 0
        bad[replica] = bad.get(replica, 0) + wrong
        hours.setdefault(hour, {})[replica] = (wrong, int(totals[number]))
    guilty = [replica for replica, count in bad.items() if count]
    if len(guilty) != 1 or len(bad) < 2:
        return None
    for shares in hours.values():
        if shares.get(guilty[0], (0, 0))[0]:
            for replica, (_, count) in shares.items():
                total[replica] = total.get(replica, 0) + count
    others = sum(total.values()) - total[guilty[0]]
    chance = (total[guilty[0]] / max(sum(total.values()), 1)) ** case.tally.requests
    if others < LEAST_OTHERS or chance > LEAST_CHANCE:
        return None
    mask = np.asarray(take(case.evidence.served["replica"], case.rows) == guilty[0], bool)
    told = (
        f"all {bad[guilty[0]]:,} mismatches are of {guilty[0]}, which served {total[guilty[0]]:,} values in those "
        f"hours; the others served {others:,} without any"
    )
    return Seen(mask, (told,))
