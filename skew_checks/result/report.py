"""What a night's skew check found: the one object that page, terminal, JSON, JUnit, metrics, history and gates read.

Rates are shares in [0, 1]; instants are datetimes in UTC; missing values are None. Field names are the JSON report's
(`skew_checks.formats.report_json.to_json`), whose schema version is `SCHEMA`: fields are added, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from skew_checks.result.cause import Cause
from skew_checks.result.parts import Effect, Outcome, Rate, Share, Slice, Status, Unit, Volume, Window
from skew_checks.result.population import Drift, Freshness, Hourly, Parity

SCHEMA = 1


@dataclass(frozen=True)
class EvidenceRow:
    """One value that differs. Values are numbers, texts, lists of them, or None for missing."""

    request_id: str
    user_id: str
    item_id: str
    """The candidate; for a feature of the user, the request's first one."""
    request_time: datetime
    served: Any
    """As it was read, or as the model got it for a model column."""
    offline: Any
    """At request time."""
    at_event_time: Any = None
    """The offline value of the row that has the event time logged; None where there is none."""
    at_watermark: Any = None
    """The offline value as of the last materialization that the server could know."""
    served_event_time: datetime | None = None
    offline_event_time: datetime | None = None


@dataclass(frozen=True)
class Defect:
    """Features of one view that are wrong in the same way."""

    status: Status
    """FAIL where a budget is exceeded for sure, else WARN."""
    cause: Cause
    headline: str
    """One sentence for somebody just woken up."""
    view: str
    """Feature view or request-time transform."""
    features: tuple[str, ...]
    """Worst first."""
    bundle: str
    unit: Unit
    rate: Rate
    """Of its worst feature."""
    causes: tuple[Share, ...]
    """Of the mismatches looked at, by cause; most first."""
    since: datetime | None
    """Request time of the first mismatch; with history, of the first night in an unbroken row."""
    last: datetime | None
    command: str
    """Shell command that replays its evidence."""
    evidence: tuple[EvidenceRow, ...] = ()
    slices: tuple[Slice, ...] = ()
    effect: Effect | None = None
    facts: tuple[str, ...] = ()
    """What the rule saw, such as "served = 1000 x offline in 412 of 412 values"."""


@dataclass(frozen=True)
class FeatureResult:
    """One feature, in one of its two comparisons."""

    feature: str
    view: str
    is_model_column: bool
    unit: Unit
    status: Status
    rate: Rate
    follows: bool = False
    """True for a model column that is right for the stored values served: those are to blame."""


@dataclass(frozen=True)
class SkewReport:
    """One night."""

    window: Window
    checked_at: datetime
    outcome: Outcome
    sentence: str
    """The verdict."""
    volume: Volume
    bundles: tuple[str, ...]
    defects: tuple[Defect, ...] = ()
    """By harm, worst first; FAIL before WARN."""
    features: tuple[FeatureResult, ...] = ()
    """Everything that was compared, the good ones included."""
    freshness: tuple[Freshness, ...] = ()
    drift: tuple[Drift, ...] = ()
    """All that is not ok, and the bins of features with a defect."""
    hourly: tuple[Hourly, ...] = ()
    parity: tuple[Parity, ...] = ()
    notes: tuple[str, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict)
    """Versions, thresholds, seeds, sizes, seconds: whatever is needed to run it again."""

    @property
    def exit_code(self) -> int:
        return int(self.outcome)
