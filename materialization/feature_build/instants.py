"""Which instants a view gets a snapshot of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from feature_repo.errors import SettingError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def grid(start: datetime, end: datetime, every: timedelta) -> Iterator[datetime]:
    """The multiples of `every` since the epoch within [start, end], UTC, ascending.

    Raises SettingError for an empty or backward range and for a step under a minute.
    """
    if every < timedelta(minutes=1):
        raise SettingError(f"--every {every} is too short; take a minute or more")
    if end < start:
        raise SettingError(f"--to {end:%Y-%m-%d %H:%M} lies before --from {start:%Y-%m-%d %H:%M}")
    instant = ceiling(start, every)
    while instant <= end:
        yield instant
        instant += every


def ceiling(instant: datetime, step: timedelta) -> datetime:
    """The first multiple of `step` since the epoch that is not before `instant`."""
    return EPOCH - ((EPOCH - instant) // step) * step


def is_due(instant: datetime, cadence: timedelta) -> bool:
    """Whether a view of this cadence wants a snapshot at this instant; cadence zero always does."""
    return not cadence or (instant - EPOCH) % cadence == timedelta(0)
