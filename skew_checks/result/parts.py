"""The small pieces that a skew report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum


class Outcome(IntEnum):
    """The exit code of `marquee skew check`."""

    OK = 0
    WARN = 1
    FAIL = 2
    NOT_ENOUGH = 3
    """Too little data, or more of the log dropped than allowed, and nothing found in the rest."""
    INTERNAL = 4
    """The check itself failed."""


class Status(StrEnum):
    """Of one feature, view or test."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    INSUFFICIENT = "insufficient"
    """Too little data to tell; never counts as ok."""


class Unit(StrEnum):
    """What is counted, so that one wrong row shown 500 times counts once."""

    REQUESTS = "requests"
    """For features of users and context, and what is computed at request time."""
    ITEM_ROWS = "item rows"
    """Different (item, event time of its row)."""
    PAIR_ROWS = "pair rows"
    """Different (user, item, event time of its row)."""
    LOG_ROWS = "log rows"
    """Rows of the serving log itself, of requests and candidates."""


@dataclass(frozen=True)
class Window:
    """Requests by their own time in [start, end); None is open."""

    start: datetime | None = None
    end: datetime | None = None
    sample: int | None = None
    """At most that many requests, chosen by a hash of their ids; all when None."""


@dataclass(frozen=True)
class Volume:
    """How much was looked at, and what was not there to look at."""

    requests: int = 0
    """Judged."""
    rows: int = 0
    """Candidate rows judged."""
    values: int = 0
    features: int = 0
    users: int = 0
    items: int = 0
    degraded: int = 0
    """Requests answered with replaced values on purpose (level above 0): not judged."""
    duplicates: int = 0
    """Log rows that repeat another one: not judged, but a defect."""
    dropped: int = 0
    """Requests that the log's writers had to drop."""
    lost_segments: int = 0

    @property
    def drop_share(self) -> float:
        total = self.requests + self.degraded + self.dropped
        return self.dropped / total if total else 0.0


@dataclass(frozen=True)
class Rate:
    """So many of so many, with the bounds of Clopper and Pearson (99.9 %, one-sided each)."""

    bad: int
    units: int
    lower: float
    upper: float
    budget: float
    """Largest share that is allowed."""

    @property
    def share(self) -> float:
        return self.bad / self.units if self.units else 0.0


@dataclass(frozen=True)
class Share:
    """Part of something that bears a name: a slice, a cause."""

    name: str
    bad: int
    units: int

    @property
    def share(self) -> float:
        return self.bad / self.units if self.units else 0.0


@dataclass(frozen=True)
class Slice:
    """A defect within one dimension: surface, device, country, user age, replica, hour."""

    dimension: str
    parts: tuple[Share, ...]


@dataclass(frozen=True)
class Effect:
    """What a feature's defect did to the ranking: logged requests scored again with the right values.

    Each figure is a mean over the requests that the defect touches; None where it is not known.
    """

    requests: int
    """Scored again."""
    changed: float
    """Share of all judged requests whose top 10 is another set or order."""
    overlap_at_10: float
    kendall_tau: float
    """Of the whole order; 1 where nothing changes."""
    score_shift: float
    """Mean absolute change of score."""
    ndcg_at_10: float | None = None
    """Mean change, with right values minus as served, where outcomes are known."""

    @property
    def harm(self) -> float:
        """What defects are sorted by, in [0, 1]: share of requests touched times how much of the top 10 is lost."""
        return self.changed * (1.0 - self.overlap_at_10) + self.changed * (1.0 - self.kendall_tau) / 20
