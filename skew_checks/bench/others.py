"""Distribution checks of other tools on the same nights: which columns they say have drifted.

They get what they are made for: the model's columns as served, against those of a healthy night of the same
population. That is kinder than training data, which differs from every night a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranking_service.contract import Contract
from ranking_service.serving_log.places import closed_segments
from skew_checks.bench.defect import Defect
from skew_checks.bench.night import Night
from skew_checks.bench.tfdv import numeric_distance, text_distance
from skew_checks.bench.view_names import REQUEST_VIEWS
from skew_checks.replay.served import read_log
from skew_checks.result.parts import Window

TFDV, EVIDENTLY = "TFDV-style", "Evidently"
TFDV_THRESHOLD = 0.01
"""Of the guide's example, for both statistics; TFDV itself has no default."""

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class OtherNight:
    """What one tool says of one night."""

    tool: str
    name: str
    share: float | None
    columns: tuple[str, ...]
    """That it says have drifted."""
    is_right: bool
    """Any of them is wrong because of the defect, and has not drifted in the same night without it."""


def served_matrix(night: Night) -> Matrix:
    """The model's columns of every candidate of the night, float32 [rows, features]."""
    if not closed_segments(night.workspace.serving_log):
        return np.empty((0, len(night.world.bundle.contract.features)), np.float32)
    log = read_log(night.workspace.serving_log, Window())
    return np.concatenate([segment.read().model_input for segment in log.segments])


def is_right(defect: Defect | None, contract: Contract, columns: Sequence[str]) -> bool:
    """Whether a column is one that the defect makes wrong, or is computed from stored values at request time."""
    if defect is None:
        return False
    if not defect.views:
        return bool(columns)
    origin = {feature.name: feature.origin for feature in contract.features}
    expected = [name for name in columns if not defect.features or name in defect.features]
    return any(origin[name] in REQUEST_VIEWS for name in columns) or any(
        origin[name] in defect.views for name in expected
    )


@dataclass
class TfdvStyle:
    """The two statistics that TFDV documents: L-infinity for categories, Jensen-Shannon for numbers."""

    reference: Matrix
    contract: Contract
    threshold: float = TFDV_THRESHOLD

    def __call__(self, served: Matrix) -> tuple[str, ...]:
        """Columns whose distance is over the threshold."""
        return tuple(name for name, value in self.distances(served).items() if value > self.threshold)

    def distances(self, served: Matrix) -> Mapping[str, float]:
        """By column."""
        return {
            feature.name: (text_distance if feature.field.is_text else numeric_distance)(
                self.reference[:, place], served[:, place]
            )
            for place, feature in enumerate(self.contract.features)
        }
