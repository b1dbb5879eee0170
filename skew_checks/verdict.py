"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from skew_checks.result_parts import Window


class Outcome(IntEnum):
    """The exit code of `marquee skew check`."""

    CLEAN = 0
    MISMATCHES = 2
    TOO_LITTLE = 3
    """Nothing differs, but too little was compared to say that serving is right."""


class Kind(StrEnum):
    """What was compared: the value as stored, before defaults, or the column of the model's matrix."""

    RAW = "raw"
    MODEL = "model"


@dataclass(frozen=True)
class Minimum:
    """Less than this is not enough to call serving clean."""

    requests: int = 1
    rows: int = 100
    """Candidate rows."""


@dataclass(frozen=True)
class Example:
    """One row that differs. None stands for missing."""

    request_id: str
    user_id: str
    item_id: str
    """The candidate; for a feature of the user, the request's first one."""
    request_timestamp: float
    """Unix seconds."""
    served: Any
    offline: Any


@dataclass(frozen=True)
class Finding:
    """One feature that differs, in one of its two comparisons, for one bundle."""

    feature: str
    kind: Kind
    view: str
    """The feature view, or the request-time transform, it comes from."""
    bundle: str
    rows: int
    """Compared: requests for a stored feature of the user, else candidates."""
    mismatches: int
    entities: int
    """Different users, items or pairs among the mismatches, by what the view is keyed by."""
    keyed_by: tuple[str, ...]
    hint: str
    """What it looks like; a pointer, not a diagnosis."""
    follows: bool
    """True for a model column that is right for the stored values that were served: look at those."""
    examples: tuple[Example, ...]

    @property
    def share(self) -> float:
        """Of the rows compared, in (0, 1]."""
        return self.mismatches / self.rows


@dataclass(frozen=True)
class ChangedTransform:
    """A request-time transform that runs other code than the bundle's model was trained on.

    A finding even where all values agree: the requests compared may not reach what changed.
    """

    name: str
    bundle: str
    features: tuple[str, ...]
    """The model's columns that come from it."""
    hint: str


@dataclass(frozen=True)
class Verdict:
    """The result of one check."""

    window: Window
    minimum: Minimum
    requests: int
    rows: int
    """Candidate rows compared."""
    values: int
    """Single values compared."""
    bundles: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    """Causes before what follows from them, then by number of mismatches."""
    changed_transforms: tuple[ChangedTransform, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know beside the findings: declarations that changed, requests left out, losses."""
    features: int = field(default=0)
    """Different features compared."""

    @property
    def outcome(self) -> Outcome:
        """A mismatch or changed code counts however little was compared: it is a proof by itself."""
        if self.findings or self.changed_transforms:
            return Outcome.MISMATCHES
        enough = self.requests >= self.minimum.requests and self.rows >= self.minimum.rows
        return Outcome.CLEAN if enough else Outcome.TOO_LITTLE

    @property
    def causes(self) -> tuple[Finding, ...]:
        """The findings that do not merely follow from others."""
        return tuple(finding for finding in self.findings if not finding.follows)
