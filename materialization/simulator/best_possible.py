"""How good a ranking can be at all: NDCG of ordering by the true probability."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.errors import EventDataError


def best_ndcg(truth: pa.Table, lists: pa.Table, *, label: str, k: int, by: str = "probability") -> float:
    """Mean NDCG@k over the requests of `lists` when each is ordered by the truth.

    `lists` has `exposure_id`, `request_id` and the boolean or 0/1 column `label`. `by` is `probability` (the
    position known too: the best that anything can expect on logged lists) or `appeal` (position taken out).
    Raises EventDataError when the truth lacks an exposure of the lists, or is about another label.
    """
    labels = set(truth["label"].unique().to_pylist())
    if labels - {label}:
        raise EventDataError(f"the truth is about {', '.join(sorted(labels))}, asked for {label}")
    known = truth.select(["exposure_id", by]).to_pandas().set_index("exposure_id")[by]
    score = known.reindex(lists["exposure_id"].to_pandas()).to_numpy()
    if np.isnan(score).any():
        raise EventDataError(
            f"the truth lacks {np.isnan(score).sum():,} exposures of the lists; simulate again"
        )
    outcome = lists[label].cast(pa.float64()).to_numpy()
    return mean_ndcg(score, outcome, lists["request_id"].to_pandas().to_numpy(), k=k)


def mean_ndcg(
    score: npt.NDArray[Any], outcome: npt.NDArray[Any], request: npt.NDArray[Any], *, k: int
) -> float:
    """Mean over the requests with a positive outcome of DCG@k / ideal DCG@k; nan when there are none.

    Gain = outcome, discount = 1 / log2(rank + 2), ties broken by a fixed shuffle.
    """
    _, group = np.unique(request, return_inverse=True)
    achieved = _dcg(score, outcome, group, k)
    ideal = _dcg(outcome, outcome, group, k)
    useful = ideal > 0
    return float(np.mean(achieved[useful] / ideal[useful])) if useful.any() else float("nan")


def _dcg(
    score: npt.NDArray[Any], outcome: npt.NDArray[Any], group: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.float64]:
    """[groups]"""
    shuffle = np.random.default_rng(0).permutation(len(score))
    order = np.lexsort((shuffle, -score.astype(np.float64), group))
    sizes = np.bincount(group)
    rank = np.arange(len(score)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    gain = np.where(rank < k, outcome[order].astype(np.float64) / np.log2(rank + 2.0), 0.0)
    return np.asarray(np.bincount(group[order], weights=gain), np.float64)
