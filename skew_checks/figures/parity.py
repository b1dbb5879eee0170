"""Served against offline, point by point, for a scatter."""

from __future__ import annotations

import numpy as np

from feature_repo.columns import Ragged
from skew_checks.causes.case import Case
from skew_checks.result.population import Parity

MOST = 400
MOST_WRONG = 200


def parity_of(case: Case) -> Parity | None:
    """Mismatches first, then rows drawn from all; None for texts and lists. Missing values have no point."""
    served, right = case.evidence.pair(case.subject)
    if isinstance(served, Ragged) or isinstance(right, Ragged) or served.dtype == object:
        return None
    wrong = case.evidence.wrong(case.subject)
    rows = np.concatenate((case.rows[:MOST_WRONG], case.every[~wrong[case.every]]))
    left, truth = (np.asarray(side, np.float64)[rows] for side in (served, right))
    known = np.flatnonzero(np.isfinite(left) & np.isfinite(truth))[:MOST]
    return Parity(
        case.subject.feature,
        tuple(left[known].tolist()),
        tuple(truth[known].tolist()),
        tuple(wrong[rows[known]].tolist()),
    )
