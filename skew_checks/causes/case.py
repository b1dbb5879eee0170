"""One feature's mismatches, as a rule of cause gets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Column, Ragged, take
from ranking_service.contract import Field
from skew_checks.causes.evidence import Evidence, ViewRows
from skew_checks.judging.compare import Mask, differ
from skew_checks.judging.dimensions import Codes
from skew_checks.judging.subjects import Subject
from skew_checks.judging.tally import Tally
from skew_checks.replay.event_times import Floats

Rows = npt.NDArray[np.int64]
LEAST_DIFFERENT = 3
"""A pattern over fewer different values may be chance."""


@dataclass(frozen=True)
class Seen:
    """What a rule explains, and what it saw."""

    mask: Mask
    """bool [witnesses of the case]"""
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """Columns have one value per mismatch looked at."""

    evidence: Evidence
    subject: Subject
    rows: Rows
    """Of the evidence: where the subject differs."""
    every: Rows
    """Of the evidence: rows drawn from all."""
    partners: tuple[Subject, ...]
    """Other subjects of the same kind that differ too."""
    tally: Tally
    codes: Mapping[str, Codes]
    """How many requests and rows each text of each dimension has."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def served(self) -> Column:
        return take(self.evidence.pair(self.subject)[0], self.rows)

    @cached_property
    def right(self) -> Column:
        """For a stored value that of the served row's own event time where there is one, so that age plays no part."""
        return self.right_of(self.subject)

    def right_of(self, subject: Subject) -> Column:
        """Of another subject, in these rows."""
        if subject.is_model_column:
            return take(self.evidence.carried[:, subject.column], self.rows)
        return take(self.evidence.of_own_rows(subject.view, subject.feature), self.rows)

    def served_of(self, subject: Subject) -> Column:
        return take(self.evidence.pair(subject)[0], self.rows)

    @cached_property
    def is_wrong_row(self) -> Mask:
        """bool: where the value is not that of its own row either; all of a model column's."""
        return differ(self.served, self.right, self.subject.relative)

    @cached_property
    def view_rows(self) -> ViewRows:
        """Of the subject's view, for all of the evidence; a stored value has one."""
        return self.evidence.rows(self.subject.view)

    @cached_property
    def own(self) -> Floats:
        return self.view_rows.own[self.rows]

    @cached_property
    def newest(self) -> Floats:
        """Event time of the row valid at request time, NaN where there is none or it is past its ttl."""
        event = self.view_rows.newest.event[self.rows]
        return np.where((self.ttl > 0) & (self.at - event > self.ttl), np.nan, event)

    @cached_property
    def ttl(self) -> float:
        """Seconds; 0 is no limit."""
        return self.evidence.judge.contract.view(self.subject.view).ttl_seconds

    @cached_property
    def at(self) -> Floats:
        return self.evidence.at[self.rows]

    @cached_property
    def is_list(self) -> bool:
        return isinstance(self.served, Ragged)

    @cached_property
    def is_number(self) -> bool:
        return not isinstance(self.served, Ragged) and self.served.dtype != object

    @cached_property
    def numbers(self) -> tuple[Floats, Floats]:
        """Served and right, float64; only where `is_number`."""
        return np.asarray(self.served, np.float64), np.asarray(self.right, np.float64)

    @cached_property
    def value_rows(self) -> Mask:
        """bool: both sides present, and not each other's: what rules of values look at."""
        served, right = self.numbers
        return self.is_wrong_row & ~np.isnan(served) & ~np.isnan(right)

    @cached_property
    def field(self) -> Field:
        """As declared."""
        contract = self.evidence.judge.contract
        if self.subject.is_model_column:
            return contract.features[self.subject.column].field
        return contract.raw_fields[self.subject.feature]

    @cached_property
    def served_ids(self) -> npt.NDArray[np.object_]:
        return np.asarray(take(self.evidence.served["served_id"], self.rows), object)


def is_told_by(case: Case, mask: Mask, least: int = LEAST_DIFFERENT) -> bool:
    """Whether the pattern of `mask` holds over enough different values; where the case has not as many, over all."""
    found = different(take(case.right, np.flatnonzero(mask)))
    return found >= least or (found > 0 and bool(mask[case.is_wrong_row].all()))


def different(values: Column) -> int:
    """How many different values there are; missing ones do not count."""
    if isinstance(values, Ragged):
        return len({tuple(entry) for entry in values.to_lists()})
    return len({value for value in values.tolist() if value is not None and value == value})


def share_told(mask: Mask) -> str:
    return f"{int(mask.sum())} of {len(mask)}"
