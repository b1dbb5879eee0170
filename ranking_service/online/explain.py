"""Why an item scored as it did: exact SHAP contributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost

from ranking_service.bundle import Bundle
from ranking_service.contract import ModelFeature


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to an item's margin."""

    feature: ModelFeature
    value: float
    """What the model saw; NaN when missing, the code of a category."""
    contribution: float

    @property
    def category(self) -> str:
        """The category of a text feature; empty for numbers and missing values."""
        return self.feature.categories[int(self.value)] if self.feature.categories and self.value >= 0 else ""


@dataclass(frozen=True)
class Explanation:
    """margin = base + sum of top + others."""

    margin: float
    base: float
    top: tuple[Contribution, ...]
    """Largest first by absolute contribution."""
    others: float


def explain(bundle: Bundle, rows: npt.NDArray[np.float32], top: int) -> tuple[Explanation, ...]:
    """One explanation per row of model input, in order, listing `top` contributions each."""
    matrix = xgboost.DMatrix(rows, feature_names=bundle.booster.feature_names)
    contributions = bundle.booster.predict(matrix, pred_contribs=True)
    features = bundle.contract.features
    return tuple(
        _explanation(row, values, features, top) for row, values in zip(contributions, rows, strict=True)
    )


def _explanation(
    contributions: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32],
    features: tuple[ModelFeature, ...],
    top: int,
) -> Explanation:
    """The last of `contributions` is the base."""
    by_feature = contributions[:-1]
    largest = np.argsort(-np.abs(by_feature), kind="stable")[:top]
    return Explanation(
        margin=float(contributions.sum()),
        base=float(contributions[-1]),
        top=tuple(
            Contribution(features[index], float(values[index]), float(by_feature[index])) for index in largest
        ),
        others=float(by_feature.sum() - by_feature[largest].sum()),
    )
