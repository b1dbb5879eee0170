"""Embeddings: a vector of another version, or of another length."""

from __future__ import annotations

import numpy as np

from feature_repo.columns import Ragged
from skew_checks.causes.case import Case, Seen, share_told

SAME = 1e-3
"""Relative."""


def embedding_version(case: Case) -> Seen | None:
    """Lists of numbers, each as long as the right one: scaled as a whole, or turned."""
    served, right = case.served, case.right
    if not (isinstance(served, Ragged) and isinstance(right, Ragged)) or served.values.dtype == object:
        return None
    scaled, turned, resized = (np.zeros(len(case), bool) for _ in range(3))
    for row, (one, other) in enumerate(zip(served.to_lists(), right.to_lists(), strict=True)):
        left, truth = np.array(one, np.float64), np.array(other, np.float64)
        if not case.is_wrong_row[row] or not len(left) or not len(truth):
            continue
        if len(left) != len(truth):
            resized[row] = _has_no_zero(left, truth)
            continue
        norms = float(np.linalg.norm(left)), float(np.linalg.norm(truth))
        if not min(norms):
            continue
        cosine = float(left @ truth) / (norms[0] * norms[1])
        is_same_norm = abs(norms[0] - norms[1]) <= SAME * norms[1]
        scaled[row] = not is_same_norm and cosine >= 1 - SAME**2
        turned[row] = is_same_norm and cosine < 1 - SAME**2
    facts = _told(scaled, turned, resized)
    return Seen(scaled | turned | resized, facts) if facts else None


def _has_no_zero(left: np.ndarray, right: np.ndarray) -> bool:
    """Counts by category have zeros and whole numbers; vectors have neither."""
    return bool(np.all(left % 1) and np.all(right % 1))


def _told(scaled: np.ndarray, turned: np.ndarray, resized: np.ndarray) -> tuple[str, ...]:
    kinds = (
        (scaled, "the vector has another norm and the same direction"),
        (turned, "the vector has the same norm and another direction: another version"),
        (resized, "the vector has another number of entries: another version"),
    )
    return tuple(f"{sentence} in {share_told(mask)} mismatches" for mask, sentence in kinds if mask.any())
