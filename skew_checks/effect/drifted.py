"""What a drifted population does to the ranking: requests scored again as if the feature had not moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ranking_service.bundle import Bundle
from skew_checks.effect.corrected import mapped_back
from skew_checks.effect.effects import bounds_of, only, some
from skew_checks.effect.rescoring import Slate, effect
from skew_checks.replay.served import Segment
from skew_checks.result.parts import Effect, Status
from skew_checks.result.population import Drift

TRAINING = "training"
REQUESTS = 200
"""That many are scored again at most."""
STEPS = np.linspace(0, 1, 201)

Matrix = npt.NDArray[np.float32]


def with_drift_effects(
    bundle: Bundle, segments: Sequence[Segment], training: Matrix, drift: Sequence[Drift]
) -> tuple[Drift, ...]:
    """Each feature that drifted from training with what that does to the ranking; see `drift_effects`."""
    moved = [each.feature for each in drift if _has_drifted(each)]
    measured = drift_effects(bundle, segments, training, moved)
    return tuple(
        replace(each, effect=measured.get(each.feature)) if _has_drifted(each) else each for each in drift
    )


def _has_drifted(drift: Drift) -> bool:
    return drift.against == TRAINING and drift.status in (Status.WARN, Status.FAIL)


def drift_effects(
    bundle: Bundle, segments: Sequence[Segment], training: Matrix, features: Iterable[str]
) -> dict[str, Effect]:
    """By feature: each number moved to its quantile of `training`, float32 [rows, features of the bundle].

    A category has no order to move along, and neither has a feature without finite numbers in training: these are
    left out. What moves together is moved one feature at a time.
    """
    served = _sampled(segments)
    places = {feature.name: place for place, feature in enumerate(bundle.contract.features)}
    found: dict[str, Effect] = {}
    for name in features:
        place = places.get(name)
        if place is None or bundle.contract.features[place].categories or not served:
            continue
        known = training[:, place][np.isfinite(training[:, place])].astype(np.float64)
        if not len(known):
            continue
        slates = _moved(served, place, np.quantile(known, STEPS))
        measured = effect(bundle.booster.inplace_predict, slates, touched=len(slates), judged=len(slates))
        if measured is not None:
            found[name] = measured
    return found


def _sampled(segments: Sequence[Segment]) -> list[Matrix]:
    """The model's input of some requests, each float32 [candidates, features]."""
    ids = [served_id for segment in segments for served_id in segment.head["served_id"].to_pylist()]
    found: list[Matrix] = []
    for segment in only(segments, some(ids, REQUESTS)):
        served = segment.read()
        found += [served.model_input[rows] for rows in bounds_of(served).values()]
    return found


def _moved(served: Sequence[Matrix], place: int, training: npt.NDArray[np.float64]) -> list[Slate]:
    now = np.concatenate([matrix[:, place] for matrix in served])
    moved = np.split(
        mapped_back(now, now=now, training=training), np.cumsum([len(one) for one in served])[:-1]
    )
    slates = []
    for matrix, column in zip(served, moved, strict=True):
        right = matrix.copy()
        right[:, place] = column
        slates.append(Slate(matrix, right, np.full(len(matrix), np.nan)))
    return slates
