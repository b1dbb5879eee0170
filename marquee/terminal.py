"""Where the command line prints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from rich.console import Console

console = Console(highlight=False)

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
SHORTEST_STEP = timedelta(minutes=1)


class Instant(click.ParamType[datetime]):
    """An ISO 8601 instant from 1970 to 2200; UTC where no zone is given."""

    name = "instant"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Raises a usage error for anything that is no instant."""
        if isinstance(value, datetime):
            return value
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not an instant such as 2024-03-14 or 2024-03-14T18:00", param, ctx)
        instant = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        if not EARLIEST <= instant <= LATEST:
            self.fail(f"{value!r} lies outside the years {EARLIEST.year} to {LATEST.year}", param, ctx)
        return instant


class Day(Instant):
    """A whole day, as its first instant."""

    name = "day"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Raises a usage error for anything that is no day in UTC."""
        instant = super().convert(value, param, ctx).astimezone(UTC)
        if instant.time() != datetime.min.time():
            self.fail(f"{value!r} is not a day such as 2024-03-14 (UTC)", param, ctx)
        return instant


class Interval(click.ParamType[timedelta]):
    """A step such as 30m, 6h or 1d; a minute or more."""

    name = "interval"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Raises a usage error for anything that is no interval."""
        from feature_repo.errors import FeatureError
        from materialization.declared import parse_interval

        if isinstance(value, timedelta):
            return value
        try:
            step = parse_interval(value)
        except FeatureError as error:
            self.fail(str(error), param, ctx)
        if step < SHORTEST_STEP:
            self.fail(f"{value!r} is too short; take a minute or more", param, ctx)
        return step


INSTANT = Instant()
DAY = Day()
INTERVAL = Interval()


def check_range(start: datetime | None, end: datetime | None) -> None:
    """A backward range is wrong usage; an open end is none."""
    if start is not None and end is not None and end < start:
        raise click.UsageError(f"--to {end:%Y-%m-%d %H:%M} lies before --from {start:%Y-%m-%d %H:%M}")
