"""One part of the log beside what the training join gives for it, value by value.

A served row that is older than the offline one is no mismatch as long as the newer one is not due: it is compared
with the row of its own event time (`reference`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import FeatureStore

from feature_repo.columns import Column, Columns, take
from feature_repo.errors import EventDataError
from feature_repo.frames import columns_from_table
from feature_repo.workspace import Workspace
from ranking_service.assemble import assemble, encode
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract, ModelFeature, ViewPlan
from skew_checks.judging.compare import Mask, differ, inputs_differ
from skew_checks.judging.subjects import Subject
from skew_checks.judging.units import matrix_hashes
from skew_checks.replay.join import OfflinePart, replay_part
from skew_checks.replay.lag import Lag
from skew_checks.replay.served import Served
from skew_checks.replay.view_facts import ViewFacts

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judge:
    """By what one bundle's requests are judged."""

    workspace: Workspace
    store: FeatureStore
    bundle: Bundle
    contract: Contract
    facts: Mapping[str, ViewFacts]
    subjects: tuple[Subject, ...]

    @cached_property
    def tolerances(self) -> npt.NDArray[np.float64]:
        """float64 [features]."""
        return np.array([subject.relative for subject in self.subjects if subject.is_model_column])

    @cached_property
    def views(self) -> tuple[ViewPlan, ...]:
        """Registered views that the bundle's plan reads, and that the log therefore knows."""
        read = {view.name for view in self.bundle.contract.views}
        return tuple(view for view in self.contract.views if view.name in read)

    @cached_property
    def default_inputs(self) -> npt.NDArray[np.float32]:
        """float32 [features]: what the model sees for a missing value; NaN where it stays missing."""
        return np.array([default_input(feature) for feature in self.contract.features], np.float32)

    def compare(self, served: Served) -> Compared:
        """Raises EventDataError if the part does not fit the bundle."""
        self._check(served)
        offline = replay_part(self.store, self.bundle, self.contract, served)
        logged = _columns(served.requests, served.candidates, self._stored_names)
        right = {**columns_from_table(offline.candidates), **columns_from_table(offline.requests)}
        bad = {
            subject.feature: differ(logged[subject.feature], right[subject.feature], subject.relative)
            for subject in self.subjects
            if not subject.is_model_column
        }
        bad = {name: mask for name, mask in bad.items() if mask.any()}
        lag = Lag(self.workspace, self.views, self.facts)
        reference = lag.with_own_rows(served, offline, right=right, bad=bad)
        for subject in self.subjects:
            name = subject.feature
            changed = not subject.is_model_column and reference.get(name) is not right.get(name)
            if name in bad and changed:
                bad[name] = differ(logged[name], reference[name], subject.relative)
        bad = {name: mask for name, mask in bad.items() if mask.any()}
        return Compared(self, served, offline, logged, reference, bad)

    @cached_property
    def _stored_names(self) -> frozenset[str]:
        return frozenset(subject.feature for subject in self.subjects if not subject.is_model_column)

    def _check(self, served: Served) -> None:
        """The log must have what the bundle's plan reads and one model column for each of the booster's."""
        expected = len(self.contract.features)
        absent = sorted(self._stored_names - {*served.candidates.column_names, *served.requests.column_names})
        if absent or served.model_input.shape[1] != expected:
            raise EventDataError(
                f"the serving log of bundle {self.bundle.version} does not fit it: it has "
                f"{served.model_input.shape[1]} model columns, expected {expected}; lacks "
                f"{', '.join(absent) or 'no feature'}; choose a window without it"
            )


def default_input(feature: ModelFeature) -> float:
    """The registered default as the model sees it: NaN for missing, and for a text no dictionary has."""
    if not feature.field.is_text:
        return float(feature.field.default)
    return float(encode(np.array([feature.field.default], object), feature)[0])


@dataclass(frozen=True)
class Compared:
    """Columns of users and requests have one value per request, all others one per candidate."""

    judge: Judge
    served: Served
    offline: OfflinePart
    logged: Columns
    """Stored values as served, before defaults."""
    reference: Columns
    """Ids, request fields, and what stored values should have been."""
    bad: Mapping[str, Mask]
    """Stored features that differ anywhere: where."""

    @cached_property
    def expected(self) -> Matrix:
        """The matrix made from the reference."""
        columns = {name: self.per_candidate(name, column) for name, column in self.reference.items()}
        return assemble(columns, self.judge.contract)

    @cached_property
    def bad_inputs(self) -> Mask:
        """bool [candidates, features]: where the model's input is not the expected one."""
        return inputs_differ(self.served.model_input, self.expected, self.judge.tolerances)

    @cached_property
    def astray(self) -> Mask:
        """bool [candidates, features]: where it is not what the stored values that were served make of it either.

        What is computed at request time has defaults among its inputs: it is right for those that were filled in.
        """
        result = self.bad_inputs.copy()
        rows = np.flatnonzero(result.any(axis=1))
        if len(rows):
            result[rows] &= self._is_other(rows, self.carried(rows))
        made = np.array([feature.origin in self._transforms for feature in self.judge.contract.features])
        rows = np.flatnonzero(result[:, made].any(axis=1) & result[:, ~made].any(axis=1))
        if len(rows):
            carried = assemble(self._as_filled(rows), self.judge.contract)
            result[rows] &= self._is_other(rows, carried) | ~made
        return result

    @cached_property
    def is_of_another(self) -> Mask:
        """bool [candidates]: where the model's row is astray, and is what another candidate's stored values make.

        Told by the columns that come from stored values as they are, to the bit.
        """
        result = np.zeros(len(self.served.request), bool)
        rows = np.flatnonzero(self.astray.any(axis=1))
        if not len(rows):
            return result
        beside = np.flatnonzero(np.isin(self.served.request, self.served.request[rows]))
        origins = [feature.origin for feature in self.judge.contract.features]
        stored = np.flatnonzero([origin not in self._transforms for origin in origins])
        made = matrix_hashes(self.carried(beside)[:, stored], self.served.request[beside])
        given = matrix_hashes(self.served.model_input[np.ix_(rows, stored)], self.served.request[rows])
        own = made[np.searchsorted(beside, rows)]
        result[rows] = (given != own) & np.isin(given, made)
        return result

    @cached_property
    def is_due_to_values(self) -> Mask:
        """bool [candidates, features]: inputs that differ by more than what tolerances of stored values come to."""
        wrong_values = np.zeros(len(self.served.request), bool)
        for name, mask in self.bad.items():
            wrong_values |= mask[self.served.request] if self.is_of_requests(name) else mask
        return np.asarray(self.bad_inputs & (self.astray | wrong_values[:, None]), bool)

    def carried(self, rows: npt.NDArray[np.int64]) -> Matrix:
        """The matrix that the registry's way makes of the stored values that were served, of some candidates."""
        return assemble(self.at({**self.reference, **self.logged}, rows), self.judge.contract)

    def _is_other(self, rows: npt.NDArray[np.int64], matrix: Matrix) -> Mask:
        return inputs_differ(self.served.model_input[rows], matrix, self.judge.tolerances)

    def _as_filled(self, rows: npt.NDArray[np.int64]) -> dict[str, Column]:
        """Stored values as served; those that were missing as the model got them."""
        columns = self.at({**self.reference, **self.logged}, rows)
        for place, feature in enumerate(self.judge.contract.features):
            column = columns.get(feature.name)
            if isinstance(column, np.ndarray) and column.dtype != object:
                filled = self.served.model_input[rows, place]
                columns[feature.name] = np.where(np.isnan(column), filled, column)
        return columns

    @cached_property
    def _transforms(self) -> frozenset[str]:
        return frozenset(plan.name for plan in self.judge.contract.transforms)

    def at(self, columns: Columns, rows: npt.NDArray[np.int64]) -> dict[str, Column]:
        """Some candidates' values of every column."""
        return {
            name: take(column, self.served.request[rows] if self.is_of_requests(name) else rows)
            for name, column in columns.items()
        }

    def per_candidate(self, name: str, column: Column) -> Column:
        return take(column, self.served.request) if self.is_of_requests(name) else column

    def is_of_requests(self, name: str) -> bool:
        """Whether a column has one value per request."""
        return name in self._request_names

    @cached_property
    def _request_names(self) -> frozenset[str]:
        return frozenset(self.offline.requests.column_names)


def _columns(requests: pa.Table, candidates: pa.Table, names: frozenset[str]) -> Columns:
    found: dict[str, Column] = {}
    for table in (candidates, requests):
        found |= columns_from_table(table.select([name for name in table.column_names if name in names]))
    return found
