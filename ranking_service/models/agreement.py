"""How alike two scorings of one request are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
TOP = 10


def overlap(first: Floats, second: Floats, k: int = TOP) -> float:
    """Share of the first's top k that is in the second's top k too; of fewer than k candidates, all count."""
    k = min(k, len(first))
    return len(np.intersect1d(top(first, k), top(second, k))) / k


def top(scores: Floats, k: int) -> npt.NDArray[np.intp]:
    """Positions of the k best, best first; equal scores keep the request's order, as in an answer."""
    return np.argsort(-scores, kind="stable")[:k]


def kendall(first: Floats, second: Floats) -> float:
    """Kendall's tau-b over all pairs of candidates, -1 to 1; NaN where one of them scores all alike.

    Takes memory of the candidates squared: 12 MB for 2,000.
    """
    above_first, above_second = _above(first), _above(second)
    untied = np.sqrt(float(np.count_nonzero(above_first)) * float(np.count_nonzero(above_second)))
    agreeing = float(np.sum(above_first * above_second, dtype=np.int64))
    return agreeing / untied if untied else float("nan")


def _above(scores: Floats) -> npt.NDArray[np.int8]:
    """int8 [candidates, candidates]: 1 where the row's scores higher than the column's, -1 where lower."""
    higher = scores[:, None] > scores[None, :]
    return higher.astype(np.int8) - higher.T.astype(np.int8)


def spearman(first: Floats, second: Floats) -> float:
    """Correlation of ranks, ties sharing their mean; NaN where one of them scores all alike."""
    left, right = _centred_ranks(first), _centred_ranks(second)
    spread = np.sqrt(float(left @ left) * float(right @ right))
    return float(left @ right) / spread if spread else float("nan")


def _centred_ranks(scores: Floats) -> npt.NDArray[np.float64]:
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray(mean_rank[place] - (len(scores) - 1) / 2, np.float64)
