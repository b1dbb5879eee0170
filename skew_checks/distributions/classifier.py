"""Can a model tell two populations apart by all their features at once? It sees what no single feature shows.

Rows of both sides, one of a request, are scored by XGBoost fitted on rows of other users and other items: neither
candidates of one request, nor requests of one user, nor versions of one item are on both sides of a split. The
statistic is the area under the ROC curve of those scores: 0.5 where nothing tells the sides apart. Its error is a
jackknife over groups of users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost
from scipy.stats import rankdata

from feature_repo.columns import Array
from ranking_service.training.baseline.layout import Matrix
from ranking_service.training.baseline.rows import GROUPS, Hashes, Rows, group, mix
from ranking_service.training.baseline.sample import Sample
from skew_checks.distributions.resampling import Estimate
from skew_checks.distributions.settings import DriftSettings

ROUNDS = 30
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
Mask = npt.NDArray[np.bool_]


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
    sides = [
        side.rows(np.arange(min(len(side.user), settings.classifier_rows))) for side in (current, reference)
    ]
    rows = _both(*sides)
    is_current = np.arange(len(rows.user)) < len(sides[0].user)
    scored, scores, gains = _scores(rows, is_current, names=names, settings=settings)
    telling = sorted(gains, key=lambda name: (-gains[name], name))[:TELLING]
    users = min(len(np.unique(rows.user[scored & side])) for side in (is_current, ~is_current))
    return ToldApart(
        _estimate(scores[scored], is_current[scored], group(rows.user[scored])), tuple(telling), users
    )


def natural_auc(reference: Sample, *, names: Sequence[str], settings: DriftSettings) -> float:
    """How well the last day of the training is told from its other days; 0.5 where there are too few days."""
    day = reference.cell // QUARTERS
    days, counts = np.unique(day, return_counts=True)
    enough = days[counts >= settings.minimum_effective]
    if len(enough) < FEWEST_DAYS:
        return 0.5
    last = day == enough[-1]
    told = tell_apart(reference.rows(last), reference.rows(~last), names=names, settings=settings)
    return max(told.estimate.value, 0.5)


def auc(scores: Floats, is_current: Mask) -> float:
    """Area under the ROC curve: share of (current, reference) pairs in the right order, ties half (Mann-Whitney)."""
    ours, theirs = int(is_current.sum()), int((~is_current).sum())
    if not ours or not theirs:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[is_current].sum() - ours * (ours + 1) / 2) / (ours * theirs))


def _estimate(scores: Floats, is_current: Mask, groups: Rows) -> Estimate:
    value = auc(scores, is_current)
    kept = [groups != number for number in range(GROUPS) if (groups == number).any()]
    replicates = np.array([auc(scores[mask], is_current[mask]) for mask in kept])
    error = np.sqrt((len(kept) - 1) / len(kept) * ((replicates - replicates.mean()) ** 2).sum())
    return Estimate(value, 0.0, float(error), len(kept) - 1)


def _scores(
    rows: Sample, is_current: Mask, *, names: Sequence[str], settings: DriftSettings
) -> tuple[Mask, Floats, dict[str, float]]:
    """Rows that were scored; their scores, as ranks within the fold in [0, 1]; each feature's gain over the folds.

    Users and items fall into folds; of fold k are scored the rows whose user and item both are in it, by what was
    fitted on the rows of which neither is.
    """
    user, item = (_fold(hashes, settings.classifier_folds) for hashes in (rows.user, rows.item))
    scored, scores = np.zeros(len(user), bool), np.zeros(len(user))
    gains: dict[str, float] = {}
    for number in range(settings.classifier_folds):
        held, fitted = (user == number) & (item == number), (user != number) & (item != number)
        if not held.any() or len(np.unique(is_current[fitted])) < 2:
            continue
        booster = _fit(rows.matrix[fitted], is_current[fitted], names, settings)
        found = booster.predict(_columns(rows.matrix[held], names))
        scored |= held
        scores[held] = rankdata(found) / held.sum()
        for name, gain in booster.get_score(importance_type="total_gain").items():
            gains[name] = gains.get(name, 0.0) + float(gain)
    return scored, scores, gains


def _fold(hashes: Hashes, folds: int) -> Rows:
    return (mix(hashes, hashes) >> np.uint64(33)).astype(np.int64) % folds


def _columns(matrix: Matrix, names: Sequence[str], **more: Array) -> xgboost.DMatrix:
    """Infinities become the largest numbers, which XGBoost takes."""
    return xgboost.DMatrix(np.nan_to_num(matrix, nan=np.nan), feature_names=list(names), **more)


def _fit(matrix: Matrix, is_current: Mask, names: Sequence[str], settings: DriftSettings) -> xgboost.Booster:
    """Both sides weigh the same."""
    share = is_current.mean()
    weight = np.where(is_current, 0.5 / share, 0.5 / (1 - share))
    rows = _columns(matrix, names, label=is_current, weight=weight)
    return xgboost.train({**PARAMETERS, "seed": settings.seed, "nthread": 1}, rows, ROUNDS)


def _both(current: Sample, reference: Sample) -> Sample:
    """One side's rows behind the other's."""
    return Sample(
        *(
            np.concatenate([getattr(current, name), getattr(reference, name)])
            for name in ("order", "user", "item", "cell", "matrix")
        )
    )
