"""Packed rows as the columns of Feast's answer, written in protobuf's wire format. Imports no Feast.

A Python object per value is what makes Feast's own answer slow: 500 entities x 190 features are 95,000 of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from materialization.data_plane.online.batched_fetch import WITHOUT_TIME, FetchedView, Presence
from materialization.data_plane.rows.value_wire import (
    NULL,
    column_on_wire,
    delimited,
    timestamps_on_wire,
    with_values,
)

STATUSES, TIMESTAMPS = 0x12, 0x1A
"""Tags of a FeatureVector's statuses and event times: length-delimited fields 2 and 3. Values are field 1."""
PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE = 1, 2, 3, 4
"""`feast.serving.FieldStatus`."""
STATUS_OF = {
    Presence.FOUND: PRESENT,
    Presence.NOT_FOUND: NOT_FOUND,
    Presence.EXPIRED: OUTSIDE_MAX_AGE,
    Presence.DAMAGED: NOT_FOUND,
}


@dataclass(frozen=True)
class ViewVectors:
    """One view's part of an answer."""

    fetched: FetchedView
    count: int
    """Rows of the answer; a single row that was fetched stands for all of them."""

    def wire(self, feature: str) -> bytes:
        """The serialized FeatureVector of one feature; all null for one the view does not have."""
        wire, nulls = self._column(feature)
        statuses = np.where(nulls, np.maximum(self.statuses, np.uint8(NULL_VALUE)), self.statuses)
        packed = statuses.astype(np.uint8).tobytes() * self.repeats
        return wire * self.repeats + delimited(STATUSES, packed) + self.timestamps * self.repeats

    def values(self, feature: str) -> bytes:
        """The same without statuses and times, for the rows that were fetched."""
        return self._column(feature)[0]

    @cached_property
    def repeats(self) -> int:
        """How often the fetched rows stand in the answer."""
        return self.count if len(self.fetched.presence) == 1 else 1

    @cached_property
    def statuses(self) -> npt.NDArray[np.uint8]:
        """uint8 [rows], of rows; null values are known column by column."""
        known = np.array([STATUS_OF[presence] for presence in Presence], np.uint8)
        return known[self.fetched.presence]

    @cached_property
    def timestamps(self) -> bytes:
        """Event times, also of expired rows; 0 where there is no row."""
        micros = np.where(np.isin(self.fetched.presence, WITHOUT_TIME), 0, self.fetched.event_micros)
        return timestamps_on_wire(TIMESTAMPS, micros.tolist())

    def _column(self, feature: str) -> tuple[bytes, npt.NDArray[np.bool_]]:
        """The values on the wire, and where they are null."""
        rows = self.fetched.rows
        place = rows.layout.places.get(feature)
        if place is None:
            return NULL * len(rows), np.ones(len(rows), np.bool_)
        nulls = rows.nulls[:, place]
        wire = column_on_wire(rows, rows.layout.columns[place], nulls)
        boxes = self.boxes.get(place)
        if not boxes:
            return wire, nulls
        nulls = nulls.copy()
        nulls[[*boxes]] = False
        return with_values(wire, boxes), nulls

    @cached_property
    def boxes(self) -> dict[int, dict[int, bytes]]:
        """Values of other types than declared, by column and row."""
        found: dict[int, dict[int, bytes]] = {}
        for box in self.fetched.rows.boxes():
            found.setdefault(box.column, {})[box.row] = box.value
        return found


def known_vector(values: bytes, count: int) -> bytes:
    """The FeatureVector of values on the wire that were not read: all present, event time 0."""
    statuses = delimited(STATUSES, bytes([PRESENT]) * count)
    return values + statuses + delimited(TIMESTAMPS, b"") * count
