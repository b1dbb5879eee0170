"""Legitimate lag: a row that is older than the offline one, while the newer one is not yet due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import Column, Columns, Ragged
from feature_repo.workspace import Workspace
from materialization.data_plane.online.batched_fetch import Presence
from ranking_service.contract import ViewPlan
from ranking_service.serving_log.tables import EVENT_TIME_PREFIX, PRESENCE_PREFIX
from skew_checks.replay.event_times import DueTimes, Floats, due_times, rows_of_event
from skew_checks.replay.join import OfflinePart
from skew_checks.replay.served import Served
from skew_checks.replay.view_facts import ViewFacts

EXPIRED = Presence.EXPIRED.name.lower()
CLOSE_SECONDS = 1e-3

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lag:
    """How far the views of one bundle may lag, and where their rows are."""

    workspace: Workspace
    views: Sequence[ViewPlan]
    facts: Mapping[str, ViewFacts]

    def with_own_rows(
        self, served: Served, offline: OfflinePart, *, right: Columns, bad: Mapping[str, Mask]
    ) -> Columns:
        """`right` with the values of the served row's own event time wherever its lag is legitimate."""
        result = dict(right)
        for view in self.views:
            masks = [bad[field.name] for field in view.fields if field.name in bad]
            if not masks:
                continue
            rows = np.flatnonzero(np.logical_or.reduce(masks))
            log, joined = _tables(view, served, offline)
            asked = joined.select([*view.join_keys, "request_timestamp"]).take(pa.array(rows))
            at = np.asarray(asked["request_timestamp"].to_numpy(), np.float64)
            own, is_gone = served_rows(view, log, rows)
            target = self.facts[view.name].target_seconds
            times = due_times(self.workspace, view, asked, at, target=target)
            lags = legitimate(times, own=own, at=at, target=target)
            gone = rows[lags & (is_gone | (view.ttl_seconds > 0) & (at - own > view.ttl_seconds))]
            kept = np.flatnonzero(lags & ~is_gone & ~np.isnan(own))
            stored = rows_of_event(self.workspace, view, asked.take(pa.array(kept)), own[kept])
            for field in view.fields:
                result[field.name] = patched(
                    result[field.name], rows[kept[stored.places]], stored.columns[field.name]
                )
                result[field.name] = blanked(result[field.name], gone)
        return result


def served_rows(
    view: ViewPlan, log: pa.Table, rows: npt.NDArray[np.int64] | None = None
) -> tuple[Floats, Mask]:
    """Event time of the row that serving found (NaN: none), and where serving used none; of some rows or all."""
    event, presence = log[EVENT_TIME_PREFIX + view.name], log[PRESENCE_PREFIX + view.name]
    if rows is not None:
        event, presence = event.take(pa.array(rows)), presence.take(pa.array(rows))
    seconds = np.asarray(event.cast(pa.int64()).to_numpy(), np.float64) / 1e6
    is_expired = pc.equal(presence.cast(pa.string()), EXPIRED).fill_null(False)
    return seconds, np.isnan(seconds) | is_expired.to_numpy()


def legitimate(times: DueTimes, *, own: Floats, at: Floats, target: float) -> Mask:
    """bool [rows]: an older row than the offline one, or none, while every newer row is younger than the target."""
    newest, due = times.newest.event, times.due.event
    has_newer = ~np.isnan(newest) & ~(own >= newest - CLOSE_SECONDS)
    in_time = (newest > at - target) & (np.isnan(due) | (own >= due - CLOSE_SECONDS))
    return np.asarray(has_newer & in_time, bool)


def patched(column: Column, rows: npt.NDArray[np.int64], values: Column) -> Column:
    """`column` with other values in some rows."""
    if not len(rows):
        return column
    if isinstance(column, Ragged):
        assert isinstance(values, Ragged)
        return _patched_lists(column, rows, values)
    result = column.copy()
    result[rows] = values
    return result


def blanked(column: Column, rows: npt.NDArray[np.int64]) -> Column:
    """`column` with some rows missing."""
    if isinstance(column, Ragged):
        return patched(column, rows, Ragged.from_lists([None] * len(rows), column.values.dtype))
    missing = None if column.dtype == object else np.nan
    return patched(column, rows, np.full(len(rows), missing, column.dtype))


def _patched_lists(column: Ragged, rows: npt.NDArray[np.int64], values: Ragged) -> Ragged:
    offsets = np.concatenate((column.offsets, column.offsets[-1] + values.offsets[1:]))
    places = column.rows.copy()
    places[rows] = len(column.offsets) - 1 + values.rows
    kind = object if object in (column.values.dtype, values.values.dtype) else None
    flat = (column.values[: column.offsets[-1]], values.values)
    return Ragged(offsets, np.concatenate(flat, dtype=kind), places)


def _tables(view: ViewPlan, served: Served, offline: OfflinePart) -> tuple[pa.Table, pa.Table]:
    if view.join_keys == ("user_id",):
        return served.requests, offline.requests
    return served.candidates, offline.candidates
