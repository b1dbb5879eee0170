"""What the registry says of each stored view beside its columns: budget, freshness target, materializations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from feast import FeatureStore, FeatureView

from feature_repo.errors import FeatureError
from materialization.declared import parse_interval

BUDGET_TAG, FRESHNESS_TAG, CADENCE_TAG = "skew_budget", "freshness", "cadence"
LEAST_TARGET = 900.0
"""Seconds."""


@dataclass(frozen=True)
class ViewFacts:
    """Of one view."""

    budget: float | None
    """Largest share of wrong units that the view declares to be allowed; None where it declares none."""
    target_seconds: float
    """How late after its event time a row may become readable."""
    cadence_seconds: float
    """From one row of a key to the next; 0 where the view declares none."""
    watermarks: npt.NDArray[np.float64]
    """Unix seconds, ascending: up to where each materialization went."""
    applied_at: float
    """Unix seconds of the real clock: when the view was last materialized or applied; NaN if that is not known."""

    def watermark(self, received: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The last materialization's end before each instant; NaN where there is none."""
        places = np.searchsorted(self.watermarks, received, side="right") - 1
        known = np.append(self.watermarks, np.nan)
        return np.where(places >= 0, known[places], np.nan)


def view_facts(store: FeatureStore) -> dict[str, ViewFacts]:
    """By view. Raises FeatureError for a tag that cannot be read."""
    return {str(view.name): _facts(view) for view in store.list_batch_feature_views()}


def _facts(view: FeatureView) -> ViewFacts:
    tags = view.tags or {}
    ends = sorted(_seconds(end) for _, end in view.materialization_intervals)
    applied = view.last_updated_timestamp
    return ViewFacts(
        budget=_budget(view.name, tags[BUDGET_TAG]) if BUDGET_TAG in tags else None,
        target_seconds=_target(tags),
        cadence_seconds=_cadence(tags),
        watermarks=np.array(ends, np.float64),
        applied_at=_seconds(applied) if applied is not None else np.nan,
    )


def _seconds(instant: datetime) -> float:
    """Feast's times without a zone are in UTC."""
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def _target(tags: dict[str, str]) -> float:
    if FRESHNESS_TAG in tags:
        return parse_interval(tags[FRESHNESS_TAG]).total_seconds()
    return max(_cadence(tags) / 4, LEAST_TARGET)


def _cadence(tags: dict[str, str]) -> float:
    return parse_interval(tags.get(CADENCE_TAG, "0h")).total_seconds()


def _budget(view: str, text: str) -> float:
    try:
        budget = float(text)
    except ValueError:
        budget = np.nan
    if not 0 <= budget < 1:
        raise FeatureError(
            f"view {view}: tag {BUDGET_TAG} is {text!r}, expected a share such as 0.001; correct it"
        )
    return budget
