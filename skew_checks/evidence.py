"""The witnesses of a replay laid out for looking at: values, rows' event times, and the road between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Column, Columns, Ragged
from feature_repo.frames import columns_from_table
from feature_repo.workspace import Workspace
from materialization.data_plane.online.batched_fetch import Presence
from ranking_service.assemble import assemble, encode
from ranking_service.contract import ModelFeature
from ranking_service.serving_log.tables import EVENT_TIME_PREFIX, PRESENCE_PREFIX
from skew_checks.compare import Mask, differ
from skew_checks.event_times import offline_event_times
from skew_checks.replay import Replayed
from skew_checks.tally import Subject, Witnesses
from skew_checks.verdict import Kind

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """All columns have one value per witness; missing as `feature_repo.columns` says."""

    workspace: Workspace
    replayed: Replayed
    witnesses: Witnesses

    @cached_property
    def served(self) -> Columns:
        """Everything logged, the model's columns under the log's names."""
        return columns_from_table(self.witnesses.served)

    @cached_property
    def offline(self) -> Columns:
        """Ids, request fields and stored values as the training join gave them."""
        return columns_from_table(self.replayed.joined.take(self.witnesses.rows))

    @cached_property
    def expected_input(self) -> npt.NDArray[np.float32]:
        """The matrix made from the joined values."""
        return assemble(self.offline, self.replayed.contract)

    @cached_property
    def carried_input(self) -> npt.NDArray[np.float32]:
        """The matrix made, as the registry says, from the stored values that were served.

        Where the served matrix equals it, serving made the right thing of its values, and only the values can
        be wrong. Where it does not, the way from values to matrix was another one.
        """
        return assemble({**self.offline, **self.served}, self.replayed.contract)

    @cached_property
    def positions(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.replayed.contract.feature_names)}

    def pair(self, subject: Subject) -> tuple[Column, Column]:
        """The subject's served and offline values."""
        if subject.kind is Kind.RAW:
            return self.served[subject.feature], self.offline[subject.feature]
        index = self.positions[subject.feature]
        return self.witnesses.model_input[:, index], self.expected_input[:, index]

    def bad(self, subject: Subject) -> Mask:
        """bool [witnesses]: where the subject differs."""
        return differ(*self.pair(subject), subject.relative)

    def astray(self, subject: Subject) -> Mask:
        """bool [witnesses]: where a model column is not what its own served values make of it."""
        index = self.positions[subject.feature]
        return differ(self.witnesses.model_input[:, index], self.carried_input[:, index], subject.relative)

    def default(self, feature: ModelFeature) -> float:
        """The registered default as the model sees it: NaN for missing, and for a text no dictionary has."""
        if not feature.field.is_text:
            return float(feature.field.default)
        return float(encode(np.array([feature.field.default], object), feature)[0])

    def event_times(self, view: str) -> tuple[Floats, Floats]:
        """Unix seconds of the served and of the offline row; NaN where there is none. Kept: views are few."""
        if view not in self._event_times:
            plan = self.replayed.contract.view(view)
            rows = self.replayed.joined.take(self.witnesses.rows)
            served = np.asarray(self.served[EVENT_TIME_PREFIX + view], np.float64)
            self._event_times[view] = served, offline_event_times(self.workspace, plan, rows)
        return self._event_times[view]

    @cached_property
    def _event_times(self) -> dict[str, tuple[Floats, Floats]]:
        return {}

    def expired(self, view: str) -> Mask:
        """bool [witnesses]: where serving found a row past the view's ttl, and so took its values as missing."""
        presence = self.served[PRESENCE_PREFIX + view]
        assert not isinstance(presence, Ragged)
        return np.asarray(presence == Presence.EXPIRED.name.lower(), bool)


def plain_value(column: Column, row: int) -> object:
    """One value for people and JSON: missing is None, of a long list the first entries."""
    if isinstance(column, Ragged):
        return column.take(np.array([row])).to_lists()[0]
    value = column[row]
    if value is None or isinstance(value, str):
        return value
    return None if np.isnan(value) else float(value)
