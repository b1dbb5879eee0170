"""Ranking metrics on flat arrays: labels and scores of rows, and a code per row that says which list it is in.

Labels are 0 or 1. Ties in scores are broken by row order for the cut-off metrics, and count half for AUC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


def auc(label: Floats, score: Floats, weight: Floats | None = None) -> float:
    """Probability that a positive row scores above a negative one, ties half; NaN with one class only.

    Mann-Whitney U over the product of the class weights.
    """
    weight = np.ones(len(label)) if weight is None else weight
    order = np.argsort(score, kind="stable")
    positive, negative = (weight * label)[order], (weight * (1 - label))[order]
    tie = np.concatenate(([0], np.cumsum(np.diff(score[order]) != 0)))
    tied_positive = np.bincount(tie, weights=positive)
    tied_negative = np.bincount(tie, weights=negative)
    below = np.cumsum(tied_negative) - tied_negative
    pairs = positive.sum() * negative.sum()
    return float((tied_positive * (below + tied_negative / 2)).sum() / pairs) if pairs else float("nan")


def list_aucs(label: Floats, score: Floats, lists: Codes) -> Floats:
    """AUC within each list, float64 [lists]; NaN for lists with one class only."""
    count = int(lists.max()) + 1
    order = np.lexsort((score, lists))
    sorted_list, sorted_score, sorted_label = lists[order], score[order], label[order]
    new_tie = np.concatenate(([True], (np.diff(sorted_list) != 0) | (np.diff(sorted_score) != 0)))
    tie = np.cumsum(new_tie) - 1
    negatives = np.bincount(tie, weights=1 - sorted_label)
    positives = np.bincount(tie, weights=sorted_label)
    tie_list = sorted_list[new_tie]
    list_negatives = np.bincount(tie_list, weights=negatives, minlength=count)
    before = np.cumsum(negatives) - negatives
    first = np.concatenate(([True], np.diff(tie_list) != 0))
    list_start = np.zeros(count)
    list_start[tie_list[first]] = before[first]
    below = before - list_start[tie_list]
    wins = np.bincount(tie_list, weights=positives * (below + negatives / 2), minlength=count)
    pairs = np.bincount(tie_list, weights=positives, minlength=count) * list_negatives
    return np.asarray(np.divide(wins, pairs, out=np.full(count, np.nan), where=pairs > 0), np.float64)


def grouped_auc(label: Floats, score: Floats, lists: Codes) -> float:
    """GAUC: the lists' AUCs weighted by their rows, over lists with both classes (Zhou et al., KDD 2018)."""
    aucs = list_aucs(label, score, lists)
    sizes = np.bincount(lists, minlength=len(aucs)).astype(np.float64)
    known = ~np.isnan(aucs)
    return float(np.average(aucs[known], weights=sizes[known])) if known.any() else float("nan")


@dataclass(frozen=True)
class RankedLists:
    """The judged lists, each row with its rank by score; rows of other lists are gone."""

    label: Floats
    rank: Codes
    """0 is best."""
    lists: Codes
    """0..count-1."""
    codes: Codes
    """The original code of each judged list, int64 [count]."""

    @classmethod
    def of(cls, label: Floats, score: Floats, lists: Codes, *, at_least: int = 5) -> RankedLists:
        """Judge lists of `at_least` rows that hold both labels."""
        sizes, hits = np.bincount(lists), np.bincount(lists, weights=label)
        judged = (sizes >= at_least) & (hits > 0) & (hits < sizes)
        keep = judged[lists]
        codes, compact = np.unique(lists[keep], return_inverse=True)
        label, score = label[keep], score[keep]
        order = np.lexsort((-score, compact))
        starts = np.searchsorted(compact[order], np.arange(len(codes)))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - starts[compact[order]]
        return cls(label, rank, compact.astype(np.int64), codes.astype(np.int64))

    def ndcg(self, k: int = 10) -> Floats:
        """NDCG@k of each list with gain = label and discount 1 / log2(rank + 2), float64 [lists]."""
        discount = 1 / np.log2(np.arange(2, k + 2))
        gain = np.where(self.rank < k, discount[np.minimum(self.rank, k - 1)] * self.label, 0.0)
        ideal = np.cumsum(discount)[np.minimum(self._hits(), k) - 1]
        return np.asarray(self._sum(gain) / ideal, np.float64)

    def precision(self, k: int = 5) -> Floats:
        """Share of the top k that are positive; k counts in full, float64 [lists]."""
        return self._sum((self.rank < k) * self.label) / k

    def recall(self, k: int = 10) -> Floats:
        """Share of the positives that are in the top k, float64 [lists]."""
        return self._sum((self.rank < k) * self.label) / self._hits()

    def _hits(self) -> Codes:
        return self._sum(self.label).astype(np.int64)

    def _sum(self, values: Floats) -> Floats:
        return np.bincount(self.lists, weights=values, minlength=len(self.codes)).astype(np.float64)


def calibration(label: Floats, score: Floats, bins: int = 10) -> list[dict[str, float]]:
    """Rows in `bins` equal parts by score: mean predicted and observed rate of each, and its rows."""
    parts = np.array_split(np.argsort(score, kind="stable"), bins)
    return [
        {"rows": len(part), "predicted": float(score[part].mean()), "observed": float(label[part].mean())}
        for part in parts
        if len(part)
    ]


def calibration_error(table: list[dict[str, float]]) -> float:
    """Expected calibration error: mean over rows of |predicted - observed| of their bin."""
    rows = sum(part["rows"] for part in table)
    return sum(part["rows"] * abs(part["predicted"] - part["observed"]) for part in table) / rows
