"""Where the command line prints."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich.console import Console

console = Console(highlight=False)


class Instant(click.ParamType[datetime]):
    """An ISO 8601 instant; UTC where no zone is given."""

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
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


INSTANT = Instant()
