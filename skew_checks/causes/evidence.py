"""The witnesses of a replay laid out for looking at: values, rows' event times, and the road between them.

All columns have one value per witness; missing as `feature_repo.columns` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.columns import Column, Columns, Ragged, take
from feature_repo.frames import columns_from_table
from ranking_service.assemble import assemble
from skew_checks.judging.compare import Mask, differ, inputs_differ
from skew_checks.judging.comparing import Judge
from skew_checks.judging.subjects import Subject
from skew_checks.judging.witnesses import Witnesses
from skew_checks.replay.event_times import Floats, RowTimes, StoredRows, due_times, rows_of_event
from skew_checks.replay.lag import blanked, legitimate, patched, served_rows

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ViewRows:
    """The rows of one view behind the witnesses: served, at request time, and of the served row's event time."""

    own: Floats
    """Event time of the row that serving found, Unix seconds; NaN where there was none."""
    unused: Mask
    """There was none, or serving took it for expired."""
    newest: RowTimes
    """Of the row that is valid offline at request time, whatever its age."""
    lags: Mask
    """Where an older row is legitimate."""
    stored: StoredRows
    """Of the served row's event time."""

    @property
    def has_stored(self) -> Mask:
        result = np.zeros(len(self.own), bool)
        result[self.stored.places] = True
        return result


@dataclass(frozen=True)
class Evidence:
    """Looked up once and kept: views are few."""

    judge: Judge
    witnesses: Witnesses

    @cached_property
    def served(self) -> Columns:
        """Everything logged, the model's columns under the log's names."""
        return columns_from_table(self.witnesses.served)

    @cached_property
    def offline(self) -> Columns:
        """Ids, request fields and stored values as the training join gave them."""
        return columns_from_table(self.witnesses.offline)

    @cached_property
    def at(self) -> Floats:
        """Request times, Unix seconds."""
        return np.asarray(self.offline["request_timestamp"], np.float64)

    @cached_property
    def received(self) -> Floats:
        """When the server got the request, Unix seconds."""
        micros = self.witnesses.served["received_timestamp"].cast(pa.int64()).to_numpy()
        return np.asarray(micros, np.float64) / 1e6

    def rows(self, view: str) -> ViewRows:
        if view not in self._rows:
            plan = self.judge.contract.view(view)
            workspace, keys = self.judge.workspace, self.witnesses.offline
            own, unused = served_rows(plan, self.witnesses.served)
            target = self.judge.facts[view].target_seconds
            times = due_times(workspace, plan, keys, self.at, target=target)
            lags = legitimate(times, own=own, at=self.at, target=target)
            stored = rows_of_event(workspace, plan, keys, own)
            self._rows[view] = ViewRows(own, unused, times.newest, lags, stored)
        return self._rows[view]

    @cached_property
    def _rows(self) -> dict[str, ViewRows]:
        return {}

    def of_own_rows(self, view: str, field: str) -> Column:
        """The offline values of the served rows' own event times; those of request time where there are none."""
        stored = self.rows(view).stored
        return patched(self.offline[field], stored.places, stored.columns[field])

    @cached_property
    def reference(self) -> Columns:
        """What stored values should have been: of the row's own event time where its lag is legitimate."""
        result = dict(self.offline)
        for view in self.judge.views:
            rows = self.rows(view.name)
            if not rows.lags.any():
                continue
            ttl = view.ttl_seconds
            gone = rows.lags & (rows.unused | (ttl > 0) & (self.at - rows.own > ttl))
            kept = (rows.lags & ~rows.unused)[rows.stored.places]
            places = rows.stored.places[kept]
            for field in view.fields:
                values = take(rows.stored.columns[field.name], np.flatnonzero(kept))
                column = patched(result[field.name], places, values)
                result[field.name] = blanked(column, np.flatnonzero(gone))
        return result

    @cached_property
    def expected(self) -> Matrix:
        """The matrix made from the reference."""
        return assemble(self.reference, self.judge.contract)

    @cached_property
    def carried(self) -> Matrix:
        """The matrix made, as the registry says, from the stored values that were served."""
        return assemble({**self.reference, **self.served}, self.judge.contract)

    def pair(self, subject: Subject) -> tuple[Column, Column]:
        """What was served, and what should have been: for a model column, of the stored values served."""
        if subject.is_model_column:
            return self.witnesses.model_input[:, subject.column], self.carried[:, subject.column]
        return self.served[subject.feature], self.reference[subject.feature]

    def wrong(self, subject: Subject) -> Mask:
        """bool [witnesses]: where these two differ."""
        if subject.is_model_column:
            return self._wrong_inputs[:, subject.column]
        return differ(*self.pair(subject), subject.relative)

    @cached_property
    def _wrong_inputs(self) -> Mask:
        tolerances = self.judge.tolerances
        return inputs_differ(self.witnesses.model_input, self.carried, tolerances) & inputs_differ(
            self.witnesses.model_input, self.expected, tolerances
        )

    def kept(self, name: str, make: Callable[[], Mask]) -> Mask:
        """What a rule found for all cases, made once."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @cached_property
    def _kept(self) -> dict[str, Mask]:
        return {}

    @cached_property
    def transforms(self) -> frozenset[str]:
        """Names of what is computed at request time."""
        return frozenset(plan.name for plan in self.judge.contract.transforms)


def plain_value(column: Column, row: int) -> object:
    """One value for people and JSON: missing is None."""
    if isinstance(column, Ragged):
        return column.take(np.array([row])).to_lists()[0]
    value = column[row]
    if value is None or isinstance(value, str):
        return value
    return None if np.isnan(value) else float(value)
