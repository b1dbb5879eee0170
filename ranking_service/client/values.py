"""What the client's calls bring back; the proto says what the fields mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from feature_repo.errors import MarqueeError


class Priority(StrEnum):
    """What gives way first when there is more work than the servers can do."""

    INTERACTIVE = "interactive"
    """Somebody waits for it."""
    PREFETCH = "prefetch"
    """May be refused so that interactive requests are answered."""


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to an item's margin."""

    feature: str
    description: str
    contribution: float
    value: float | None
    """What the model saw; None when missing."""
    category: str | None
    """The category of a text feature."""


@dataclass(frozen=True)
class Explanation:
    """margin = base + sum of top contributions + others."""

    margin: float
    base: float
    top: tuple[Contribution, ...]
    others: float


@dataclass(frozen=True)
class RankedItem:
    """One item of an answer."""

    item_id: str
    score: float
    rank: int
    """0 is best."""
    explanation: Explanation | None


@dataclass(frozen=True)
class DegradedView:
    """One feature view that the feature store did not answer for."""

    view: str
    level: int
    """1 last-known rows took its place, 2 declared defaults did."""
    last_known_candidates: int
    """Candidates that got a last-known row; the others got defaults."""
    oldest_seconds: float
    """The longest that one of the last-known rows has not been confirmed."""


@dataclass(frozen=True)
class Ranking:
    """An answer."""

    request_id: str
    items: tuple[RankedItem, ...]
    """Best first."""
    bundle_version: str
    level: int
    """0 complete, 1 last-known rows, 2 declared defaults, 3 model-free order."""
    micros: Mapping[str, int]
    """Microseconds by stage."""
    incomplete_candidates: int
    missing_by_view: Mapping[str, int]
    model: str = ""
    degraded_views: tuple[DegradedView, ...] = ()
    reason: str = ""
    """Why the level is not 0."""
    cached_candidates: int = 0
    explanation_skipped: bool = False
    """Explanations were asked for, but the time did not suffice."""
    without_room: bool = False
    """The server had more requests than it can rank, hence level 3."""
    worker: int = 0
    """Which of the server's processes answered."""


@dataclass(frozen=True)
class Outcome:
    """What became of one request of several: a ranking or an error, never both."""

    request_id: str
    """As given, or as made."""
    ranking: Ranking | None = None
    error: MarqueeError | None = field(default=None, compare=False)
    """A RequestError or a CallError."""

    def result(self) -> Ranking:
        """The ranking; raises the error where there is none."""
        if self.ranking is not None:
            return self.ranking
        assert self.error is not None
        raise self.error
