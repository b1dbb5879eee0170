"""What is wrong with rows in Redis, told from the rows the offline source has. Pure functions, no I/O, no Feast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.reading import FindLayout, read


class Cause(StrEnum):
    """What one online row is, beside the newest offline row of its entity in the window."""

    SAME = "same"
    NEWER = "newer"
    """Online only knows more: written after the watermark, or pushed. Never touched."""
    MISSING = "missing"
    """Offline has a row, Redis has none: never loaded, or lost."""
    LATE = "late"
    """Online holds an older event: the newer one arrived after its time had been materialized."""
    CORRECTED = "corrected"
    """The same event, but offline knows it later or otherwise."""
    DAMAGED = "damaged"
    """Cut short, altered, or of a definition nobody knows."""
    OLDER_SCHEMA = "older schema"
    """Written under another definition of the view, or in a row format without checksum."""
    GONE = "gone"
    """Redis has a row whose entity offline has no row of any more."""
    EXPIRED = "expired"
    """Redis has a row older than the view's ttl."""


FOUND = tuple(cause for cause in Cause if cause not in (Cause.SAME, Cause.NEWER))
"""The causes that call for a repair."""
DELETED = (Cause.GONE, Cause.EXPIRED)
"""Repaired by deleting; the others by writing the offline row."""


def compare(
    layout: Layout, offline: Sequence[bytes], online: Sequence[bytes | None], find_layout: FindLayout
) -> list[Cause]:
    """One cause for each pair; `offline` rows are of `layout`, None stands for a row Redis has not."""
    theirs = read(layout, online, find_layout)
    ours = read(layout, offline, find_layout)
    event, created = theirs.event, theirs.created
    is_older = event < ours.event
    is_newer = (event > ours.event) | ((event == ours.event) & (created > ours.created))
    causes = []
    for row, mine, readable, older, newer in zip(
        online, offline, theirs.present.tolist(), is_older.tolist(), is_newer.tolist(), strict=True
    ):
        if row is None:
            causes.append(Cause.MISSING)
        elif not readable:
            causes.append(Cause.DAMAGED)
        elif row == mine:
            causes.append(Cause.SAME)
        elif newer:
            causes.append(Cause.NEWER)
        elif row[2:8] != layout.fingerprint:
            causes.append(Cause.OLDER_SCHEMA)
        else:
            causes.append(Cause.LATE if older else Cause.CORRECTED)
    return causes


@dataclass(frozen=True)
class Bounds:
    """Times in microseconds since 1970 UTC."""

    watermark: int
    start: int | None
    """The oldest event time the ttl allows at the watermark; None without a ttl."""
    horizon: int | None
    """The oldest event time the store keeps, past the ttl."""


def judge_leftovers(
    layout: Layout,
    online: Sequence[bytes | None],
    find_layout: FindLayout,
    *,
    bounds: Bounds,
    is_pushed: bool,
) -> list[Cause]:
    """One cause for each row whose entity offline has no row of in the window.

    One that vanished meanwhile, or that the store keeps a while past its ttl, is SAME. Of a view that is also pushed,
    offline need not know every entity: only what is too old is found.
    """
    rows = read(layout, online, find_layout)
    causes = []
    for row, readable, event in zip(online, rows.present.tolist(), rows.event.tolist(), strict=True):
        if row is None:
            causes.append(Cause.SAME)
        elif not readable:
            causes.append(Cause.DAMAGED)
        elif bounds.horizon is not None and event < bounds.horizon:
            causes.append(Cause.EXPIRED)
        elif bounds.start is not None and event < bounds.start:
            causes.append(Cause.SAME)
        else:
            causes.append(Cause.NEWER if is_pushed or event > bounds.watermark else Cause.GONE)
    return causes
