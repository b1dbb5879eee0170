"""What a seeded defect, or a control, is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from skew_checks.bench.night import Night
from skew_checks.bench.rows_changed import Touched
from skew_checks.result.cause import Cause


class Where(StrEnum):
    """Where an injection takes hold; never in what the check compares."""

    STORE = "rows in Redis"
    OFFLINE = "built partitions"
    SERVER = "server"
    LOG = "serving log"
    CLIENT = "requests"


@dataclass(frozen=True)
class Defect:
    """One kind of thing that goes wrong."""

    name: str
    what: str
    where: Where
    views: tuple[str, ...]
    """A finding on any of them is the right one."""
    features: tuple[str, ...]
    """Those that are wrong; empty where all of the views are."""
    causes: tuple[Cause, ...]
    """The right name first; others only where the log cannot tell them apart, which `why_more` explains."""
    inject: Callable[[Night, float], Touched]
    """Change a night that is not yet served, at that share of rows."""
    why_more: str = ""
    has_share: bool = True
    """False where it is all or nothing."""
    when_all: tuple[Cause, ...] = ()
    """Right too where every row is touched, so that nothing is left to tell it by."""
    others: tuple[str, ...] = ()
    """Views on which a finding is a consequence, and neither right nor wrong."""


@dataclass(frozen=True)
class Control:
    """Something that is as it should be."""

    name: str
    what: str
    arrange: Callable[[Night], None]
    may_drift: bool = False
    """Whether the population changes, so that drift may be told."""
    is_small: bool = False
    """Whether "not enough data" is a right answer too."""
    needs_weekend: bool = False
