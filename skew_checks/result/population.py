"""What a skew report says of populations: ages of rows, distributions, hours. None of it is a single value's defect."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from skew_checks.result.parts import Effect, Rate, Slice, Status, Unit


@dataclass(frozen=True)
class Freshness:
    """How old a view's rows were when they were read: legitimate lag is here, and no mismatch."""

    view: str
    target_seconds: float
    """How late after its event time a row may be readable."""
    status: Status
    lagging: Rate
    """Rows read although a newer one was past its target."""
    age_quantiles: dict[str, float] = field(default_factory=dict)
    """Seconds from event time to request: "p50", "p90", "p99", "max"."""
    curve: tuple[tuple[float, float], ...] = ()
    """(age in seconds, share of rows at most so old), rising, at most 60 points."""


@dataclass(frozen=True)
class Binned:
    """One feature's counts over frozen bins."""

    labels: tuple[str, ...]
    """Special bins first."""
    special: int
    """So many of the bins are special: null, nan, +inf, -inf, default, atoms."""
    counts: dict[str, tuple[float, ...]]
    """By side: "training", "served", "replayed"."""


@dataclass(frozen=True)
class DriftTest:
    """One statistic of one feature."""

    statistic: str
    """"psi", "jensen_shannon", "kolmogorov_smirnov", "wasserstein", "l_infinity", "null_rate" ..."""
    value: float
    tolerance: float
    p_value: float | None
    q_value: float | None
    """After false-discovery control over features."""
    status: Status


@dataclass(frozen=True)
class Drift:
    """How one feature's population stands against training, or against what replay gives (paired)."""

    feature: str
    view: str
    against: str
    """"training", "replayed" or "previous day"."""
    status: Status
    effective_n: int
    unit: Unit
    tests: tuple[DriftTest, ...]
    bins: Binned | None = None
    slices: tuple[Slice, ...] = ()
    effect: Effect | None = None
    """Of mapping the feature back to its training distribution."""


@dataclass(frozen=True)
class Hourly:
    """One feature's hours; lists of equal length, at most 14 days."""

    feature: str
    hours: tuple[datetime, ...]
    requests: tuple[int, ...]
    null_rate: tuple[float | None, ...]
    default_rate: tuple[float | None, ...]
    mismatch_rate: tuple[float | None, ...]


@dataclass(frozen=True)
class Parity:
    """Served against offline, for a scatter: at most 400 points, mismatches first."""

    feature: str
    served: tuple[float, ...]
    offline: tuple[float, ...]
    differs: tuple[bool, ...]
