"""A few of a feature's mismatches, with the offline value at each of the three clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from feature_repo.columns import Column
from skew_checks.causes.case import Case
from skew_checks.causes.evidence import plain_value
from skew_checks.replay.event_times import Floats, row_times, rows_of_event
from skew_checks.result.report import EvidenceRow

EXAMPLES = 5
MOST_ENTRIES = 40
"""Of a list."""


def evidence_rows(case: Case, most: int = EXAMPLES) -> tuple[EvidenceRow, ...]:
    """The first by hash, of different requests where there are."""
    order = np.argsort(case.evidence.witnesses.hashes[case.rows], kind="stable")
    ids = case.served_ids[order].astype(str)
    first = np.sort(np.unique(ids, return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(order)), first, assume_unique=True)
    chosen = case.rows[order[np.concatenate((first, rest))[:most]]]
    at_watermark = _at_watermark(case, chosen)
    return tuple(_row(case, row, at_watermark[place]) for place, row in enumerate(chosen.tolist()))


def _row(case: Case, row: int, at_watermark: Any) -> EvidenceRow:
    evidence, subject = case.evidence, case.subject
    served = evidence.pair(subject)[0]
    offline: Column = evidence.expected[:, subject.column]
    own = newest = np.nan
    of_own = None
    if not subject.is_model_column:
        rows = case.view_rows
        offline, own, newest = evidence.offline[subject.feature], rows.own[row], rows.newest.event[row]
        if rows.has_stored[row]:
            of_own = _shown(plain_value(evidence.of_own_rows(subject.view, subject.feature), row))
    ids = {
        name: str(plain_value(evidence.served[name], row)) for name in ("request_id", "user_id", "item_id")
    }
    return EvidenceRow(
        request_id=ids["request_id"],
        user_id=ids["user_id"],
        item_id=ids["item_id"],
        request_time=datetime.fromtimestamp(float(evidence.at[row]), UTC),
        served=_of_category(case, _shown(plain_value(served, row))),
        offline=_of_category(case, _shown(plain_value(offline, row))),
        at_event_time=of_own,
        at_watermark=at_watermark,
        served_event_time=_instant(own),
        offline_event_time=_instant(newest),
    )


def _at_watermark(case: Case, rows: np.ndarray) -> list[Any]:
    """The value as of the last materialization that the server could know; None where none is known."""
    subject, evidence = case.subject, case.evidence
    found: list[Any] = [None] * len(rows)
    if subject.is_model_column:
        return found
    judge = evidence.judge
    plan, keys = judge.contract.view(subject.view), evidence.witnesses.offline.take(rows)
    watermark: Floats = judge.facts[subject.view].watermark(evidence.received[rows])
    event = row_times(judge.workspace, plan, keys, np.fmin(watermark, evidence.at[rows])).event
    event = np.where(np.isnan(watermark), np.nan, event)
    stored = rows_of_event(judge.workspace, plan, keys, event)
    column = stored.columns[subject.feature]
    for place, row in enumerate(stored.places.tolist()):
        found[row] = _shown(plain_value(column, place))
    return found


def _of_category(case: Case, value: Any) -> Any:
    """A code as the text it stands for."""
    if not case.subject.is_model_column or not isinstance(value, float):
        return value
    categories = case.evidence.judge.contract.features[case.subject.column].categories
    return categories[int(value)] if categories and 0 <= value < len(categories) else value


def _shown(value: Any) -> Any:
    return value[:MOST_ENTRIES] if isinstance(value, list) else value


def _instant(seconds: float) -> datetime | None:
    return None if np.isnan(seconds) else datetime.fromtimestamp(float(seconds), UTC)
