"""How much a ranking changes when some of its inputs are put right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranking_service.evaluation.metrics import RankedLists
from ranking_service.models.agreement import TOP, kendall, overlap, top
from skew_checks.result.parts import Effect

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Score = Callable[[Matrix], npt.NDArray[np.float32]]
"""float32 [rows, features] to float32 [rows]."""
SMALLEST_LIST = 2


@dataclass(frozen=True)
class Slate:
    """One request's candidates: the model's input as served, and with the values in question put right."""

    served: Matrix
    """float32 [candidates, features]"""
    right: Matrix
    """The same shape."""
    outcome: Floats
    """0 or 1; NaN where it is not known. float64 [candidates]"""


def effect(score: Score, slates: Sequence[Slate], *, touched: int, judged: int) -> Effect | None:
    """The mean change over `slates`, a sample of the `touched` of all `judged` requests; None without slates.

    Scores are compared as `score` gives them, so for a booster with its link applied: probabilities.
    """
    if not slates:
        return None
    pairs = list(zip(_scores(score, slates, "served"), _scores(score, slates, "right"), strict=True))
    moved = [not np.array_equal(top(served, TOP), top(right, TOP)) for served, right in pairs]
    taus = np.array([kendall(served, right) for served, right in pairs])
    return Effect(
        requests=len(slates),
        changed=float(np.mean(moved)) * touched / max(judged, 1),
        overlap_at_10=float(np.mean([overlap(served, right) for served, right in pairs])),
        kendall_tau=float(np.mean(taus[~np.isnan(taus)])) if not np.isnan(taus).all() else 1.0,
        score_shift=float(np.mean([np.abs(right - served).mean() for served, right in pairs])),
        ndcg_at_10=_gain(slates, pairs),
    )


def _scores(score: Score, slates: Sequence[Slate], side: str) -> list[Floats]:
    """In one call of the model; float64 [candidates] for each slate."""
    ends = np.cumsum([len(slate.served) for slate in slates])
    scores = score(np.concatenate([getattr(slate, side) for slate in slates]))
    return np.split(np.asarray(scores, np.float64), ends[:-1])


def _gain(slates: Sequence[Slate], pairs: Sequence[tuple[Floats, Floats]]) -> float | None:
    """Mean NDCG@10 with right values minus as served, over requests with outcomes of both kinds."""
    outcome = np.concatenate([slate.outcome for slate in slates])
    shown = ~np.isnan(outcome)
    lists = np.repeat(np.arange(len(slates)), [len(slate.outcome) for slate in slates])
    if not shown.any():
        return None
    sides = [np.concatenate(side)[shown] for side in zip(*pairs, strict=True)]
    judged = [RankedLists.of(outcome[shown], side, lists[shown], at_least=SMALLEST_LIST) for side in sides]
    if not len(judged[0].codes):
        return None
    served, right = (ranked.ndcg(TOP) for ranked in judged)
    return float(np.mean(right - served))
