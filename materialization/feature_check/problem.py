"""One thing that is wrong, and the way out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """A finding of `marquee features check`."""

    where: str
    """The declaration or file: `view user_item`, `sql/user_item.sql`, `bundle 20260301T...`."""
    what: str
    """What was found, and what was expected."""
    mend: str
    """What to do."""
    is_error: bool = True
    """Whether anything would fail or answer wrongly; a warning only wants to be known."""

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'warning'}: {self.where}: {self.what}; {self.mend}"
