"""What a report says of a seeded defect, against what is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from skew_checks.bench.defect import Control, Defect
from skew_checks.bench.rows_changed import Touched
from skew_checks.result.parts import Outcome, Status
from skew_checks.result.report import Defect as Reported
from skew_checks.result.report import SkewReport

A_A = "a-a"
UNTOUCHED = "untouched"
"""In place of an outcome."""


@dataclass(frozen=True)
class Said:
    """One defect that failed in a report."""

    view: str
    cause: str
    features: tuple[str, ...]
    bad: int
    units: int
    is_right: bool | None
    """Of a seeded defect: on an expected view; None where a finding is neither right nor wrong."""

    @classmethod
    def of(cls, reported: Reported, is_right: bool | None) -> Said:
        return cls(
            reported.view,
            str(reported.cause),
            reported.features[:5],
            reported.rate.bad,
            reported.rate.units,
            is_right,
        )


@dataclass(frozen=True)
class Judged:
    """One night."""

    name: str
    share: float | None
    """None for a control."""
    touched: Touched
    outcome: str
    found: bool
    """A fail on the right view; of a control, any fail at all."""
    right_view: bool
    """The first fail is on a right view."""
    named: bool
    """The first fail on a right view has the right cause."""
    said: tuple[Said, ...]
    warned: tuple[str, ...]
    """Views of warnings, with their causes."""
    drifted: tuple[str, ...]
    """Features whose population failed."""
    seconds: float

    @property
    def wrong(self) -> int:
        return sum(said.is_right is False for said in self.said)

    @property
    def right(self) -> int:
        return sum(said.is_right is True for said in self.said)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judged(defect: Defect, share: float, touched: Touched, report: SkewReport, seconds: float) -> Judged:
    """A night with a defect."""
    said = tuple(Said.of(each, _is_right(defect, each)) for each in _fails(report))
    right = [each for each in said if each.is_right]
    causes = {*defect.causes, *(defect.when_all if share >= 1 else ())}
    counted = [each for each in said if each.is_right is not None]
    return Judged(
        defect.name,
        share,
        touched,
        report.outcome.name.lower(),
        found=bool(right),
        right_view=bool(counted) and bool(counted[0].is_right),
        named=bool(right) and right[0].cause in causes,
        said=said,
        warned=_warned(report),
        drifted=_drifted(report),
        seconds=seconds,
    )


def untouched(defect: Defect, share: float, touched: Touched) -> Judged:
    """A night that was not served, as the defect changes nothing there: no figure counts it."""
    return Judged(defect.name, share, touched, UNTOUCHED, False, False, False, (), (), (), 0.0)


def judged_control(control: Control, report: SkewReport, seconds: float) -> Judged:
    """A night without one: every fail is false, and where nothing drifts, so is failed drift."""
    said = tuple(Said.of(each, False) for each in _fails(report))
    drifted = _drifted(report)
    enough = report.outcome is not Outcome.NOT_ENOUGH or control.is_small
    is_false = bool(said) or bool(drifted and not control.may_drift) or not enough
    return Judged(
        control.name,
        None,
        Touched(0, report.volume.requests),
        report.outcome.name.lower(),
        found=is_false,
        right_view=False,
        named=False,
        said=said,
        warned=_warned(report),
        drifted=drifted,
        seconds=seconds,
    )


def _is_right(defect: Defect, reported: Reported) -> bool | None:
    if not defect.views:
        return reported.cause in defect.causes
    if reported.view in defect.views:
        return not defect.features or bool({*defect.features} & {*reported.features})
    return None if reported.view in defect.others else False


def _fails(report: SkewReport) -> Sequence[Reported]:
    return [each for each in report.defects if each.status is Status.FAIL]


def _warned(report: SkewReport) -> tuple[str, ...]:
    return tuple(f"{each.view}: {each.cause}" for each in report.defects if each.status is Status.WARN)


def _drifted(report: SkewReport) -> tuple[str, ...]:
    return tuple(f"{each.feature} ({each.against})" for each in report.drift if each.status is Status.FAIL)
