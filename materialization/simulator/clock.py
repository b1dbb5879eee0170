"""Times of the simulation: int64 microseconds since 1970 UTC, the unit of the event tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from feature_repo.errors import SettingError

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Period:
    """The simulated days, from midnight to midnight UTC."""

    start: int
    days: int

    @classmethod
    def of(cls, start: datetime, days: int) -> Period:
        """Raises SettingError unless `start` is a midnight in UTC and `days` is positive."""
        if start.tzinfo is None or start.astimezone(UTC).time() != datetime.min.time():
            raise SettingError(f"the simulation starts at {start.isoformat()}, expected midnight UTC")
        if days < 1:
            raise SettingError(f"days is {days}, expected at least 1")
        return cls(int(start.timestamp()) * SECOND, days)

    @property
    def end(self) -> int:
        """First microsecond after the period."""
        return self.start + self.days * DAY

    def midnight(self, day: int) -> int:
        """Start of the day numbered `day`, from 0."""
        return self.start + day * DAY

    def date(self, day: int) -> date:
        """Calendar day (UTC) of the day numbered `day`."""
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.midnight(day))).date()

    def weekday(self, day: int) -> int:
        """0 = Monday ... 6 = Sunday."""
        return self.date(day).weekday()
