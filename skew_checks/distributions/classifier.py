"""Can a model tell two populations apart by all their features at once? It sees what no single feature shows.

Rows of both sides, one of a request, go into folds by user, so that neither candidates of one request nor requests of
one user are ever on both sides of a split. Each fold is scored by XGBoost fitted on the others; the statistic is the
area under the ROC curve of those scores: 0.5 where nothing tells the sides apart. Its error is a jackknife over groups
of users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost
from scipy.stats import rankdata

from ranking_service.training.baseline.rows import GROUPS, Hashes, Rows, group
from ranking_service.training.baseline.sample import Sample
from skew_checks.distributions.resampling import Estimate
from skew_checks.distributions.settings import DriftSettings

ROUNDS = 40
PARAMETERS = {
    "objective": "binary:logistic",
    "max_depth": 4,
    "eta": 0.2,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "min_child_weight": 5,
    "max_bin": 64,
}
TELLING = 5
"""So many features are named as what tells the sides apart."""
FEWEST_DAYS = 3
QUARTERS = 4
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ToldApart:
    """What came of it."""

    estimate: Estimate
    """Of the area under the curve."""
    telling: tuple[str, ...]
    """Features by gain, most first."""
    users: int
    """On the side that has fewer."""


def tell_apart(
    current: Sample, reference: Sample, *, names: Sequence[str], settings: DriftSettings
) -> ToldApart:
    """`names` are those of the samples' columns. Both sides must have rows."""
    limit = settings.classifier_rows
    matrix = np.concatenate([current.matrix[:limit], reference.matrix[:limit]])
    user = np.concatenate([current.user[:limit], reference.user[:limit]])
    is_current = np.arange(len(matrix)) < len(current.matrix[:limit])
    users = min(len(np.unique(user[is_current])), len(np.unique(user[~is_current])))
    scores, gains = _scores(matrix, is_current, user, names=names, settings=settings)
    telling = sorted(gains, key=lambda name: (-gains[name], name))[:TELLING]
    return ToldApart(_estimate(scores, is_current, group(user)), tuple(telling), users)


def natural_auc(reference: Sample, *, names: Sequence[str], settings: DriftSettings) -> float:
    """How well the last day of the training is told from its other days; 0.5 where there are too few days."""
    day = reference.cell // QUARTERS
    days, counts = np.unique(day, return_counts=True)
    enough = days[counts >= settings.minimum_effective]
    if len(enough) < FEWEST_DAYS:
        return 0.5
    last = day == enough[-1]
    told = tell_apart(_rows(reference, last), _rows(reference, ~last), names=names, settings=settings)
    return max(told.estimate.value, 0.5)


def auc(scores: Floats, is_current: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: share of (current, reference) pairs in the right order, ties half (Mann-Whitney)."""
    ours, theirs = int(is_current.sum()), int((~is_current).sum())
    if not ours or not theirs:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[is_current].sum() - ours * (ours + 1) / 2) / (ours * theirs))


def _estimate(scores: Floats, is_current: npt.NDArray[np.bool_], groups: Rows) -> Estimate:
    value = auc(scores, is_current)
    kept = [groups != number for number in range(GROUPS) if (groups == number).any()]
    replicates = np.array([auc(scores[mask], is_current[mask]) for mask in kept])
    error = np.sqrt((len(kept) - 1) / len(kept) * ((replicates - replicates.mean()) ** 2).sum())
    return Estimate(value, 0.0, float(error), len(kept) - 1)


def _scores(
    matrix: npt.NDArray[np.float32],
    is_current: npt.NDArray[np.bool_],
    user: Hashes,
    *,
    names: Sequence[str],
    settings: DriftSettings,
) -> tuple[Floats, dict[str, float]]:
    """Out of fold, float64 [rows], as ranks within the fold in [0, 1]; and each feature's gain, over the folds."""
    fold = (user >> np.uint64(7)).astype(np.int64) % settings.classifier_folds
    scores = np.full(len(matrix), 0.5)
    gains: dict[str, float] = {}
    for number in range(settings.classifier_folds):
        held = fold == number
        if not held.any() or len(np.unique(is_current[~held])) < 2:
            continue
        booster = _fit(matrix[~held], is_current[~held], names, settings)
        found = booster.predict(
            xgboost.DMatrix(np.nan_to_num(matrix[held], nan=np.nan), feature_names=list(names))
        )
        scores[held] = rankdata(found) / held.sum()
        for name, gain in booster.get_score(importance_type="total_gain").items():
            gains[name] = gains.get(name, 0.0) + float(gain)
    return scores, gains


def _fit(
    matrix: npt.NDArray[np.float32],
    is_current: npt.NDArray[np.bool_],
    names: Sequence[str],
    settings: DriftSettings,
) -> xgboost.Booster:
    """Both sides weigh the same. Infinities become the largest numbers, which XGBoost takes."""
    share = is_current.mean()
    rows = xgboost.DMatrix(
        np.nan_to_num(matrix, nan=np.nan),
        is_current,
        weight=np.where(is_current, 0.5 / share, 0.5 / (1 - share)),
        feature_names=list(names),
    )
    return xgboost.train({**PARAMETERS, "seed": settings.seed, "nthread": 2}, rows, ROUNDS)


def _rows(sample: Sample, chosen: npt.NDArray[np.bool_]) -> Sample:
    return Sample(sample.order[chosen], sample.user[chosen], sample.cell[chosen], sample.matrix[chosen])
