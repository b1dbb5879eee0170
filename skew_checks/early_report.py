"""A verdict as the report that pages, formats and gates read."""

from __future__ import annotations

from datetime import UTC, datetime

from skew_checks.cause import Cause
from skew_checks.rates import rate_of, status_of
from skew_checks.result import Defect, EvidenceRow, FeatureResult, SkewReport
from skew_checks.result_parts import Outcome, Rate, Share, Status, Unit, Volume
from skew_checks.thresholds import Thresholds
from skew_checks.verdict import ChangedTransform, Example, Finding, Kind, Verdict

CAUSES = (
    ("another default", Cause.DEFAULT_FILL),
    ("served the declared default", Cause.DEFAULT_FILL),
    ("no row in Redis", Cause.NEVER_MATERIALIZED),
    ("no offline row", Cause.TTL),
    ("served row had expired", Cause.MATERIALIZATION_GAP),
    ("served row is older", Cause.MATERIALIZATION_GAP),
    ("served row is newer", Cause.LATE_DATA),
    ("runs other code", Cause.TRANSFORM_CODE),
    (" hours", Cause.CLOCK),
    ("constant shift", Cause.UNIT),
    ("same row", Cause.CORRECTION_NOT_APPLIED),
)
UNITS: dict[tuple[str, ...], Unit] = {("user_id",): Unit.REQUESTS, ("item_id",): Unit.ITEM_ROWS}


def report_of(verdict: Verdict, thresholds: Thresholds, *, now: datetime) -> SkewReport:
    """Defects are features of one view that look alike; statuses by budget."""
    defects = [_defect(group, thresholds) for group in _groups(verdict)]
    defects += [_code_defect(changed, verdict) for changed in verdict.changed_transforms]
    defects.sort(key=lambda defect: (defect.status is not Status.FAIL, -defect.rate.share))
    outcome = _outcome(verdict, defects)
    named = ", ".join(dict.fromkeys(defect.view for defect in defects))
    return SkewReport(
        window=verdict.window,
        checked_at=now,
        outcome=outcome,
        sentence=f"{len(defects)} defects: {named}" if defects else "what was served is what replay gives",
        volume=Volume(
            requests=verdict.requests, rows=verdict.rows, values=verdict.values, features=verdict.features
        ),
        bundles=verdict.bundles,
        defects=tuple(defects),
        features=tuple(_feature(finding, thresholds) for finding in verdict.findings),
        notes=verdict.notes,
    )


def _outcome(verdict: Verdict, defects: list[Defect]) -> Outcome:
    if any(defect.status is Status.FAIL for defect in defects):
        return Outcome.FAIL
    if defects:
        return Outcome.WARN
    enough = verdict.requests >= verdict.minimum.requests and verdict.rows >= verdict.minimum.rows
    return Outcome.OK if enough else Outcome.NOT_ENOUGH


def _groups(verdict: Verdict) -> list[list[Finding]]:
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in verdict.causes:
        alike = (finding.bundle, finding.kind, finding.view, finding.hint.split(" (")[0])
        groups.setdefault(alike, []).append(finding)
    return list(groups.values())


def _defect(group: list[Finding], thresholds: Thresholds) -> Defect:
    worst = group[0]
    rate = _rate(worst, thresholds)
    cause = _cause(worst)
    return Defect(
        status=status_of(rate),
        cause=cause,
        headline=f"{worst.view}: {worst.hint}",
        view=worst.view,
        features=tuple(dict.fromkeys(finding.feature for finding in group)),
        bundle=worst.bundle,
        unit=_unit(worst),
        rate=rate,
        causes=(Share(cause, worst.mismatches, worst.mismatches),),
        since=None,
        last=None,
        command=f"marquee skew check --request {worst.examples[0].request_id}",
        evidence=tuple(_evidence(example) for example in worst.examples),
        facts=(worst.hint,),
    )


def _cause(finding: Finding) -> Cause:
    if "swapped with" in finding.hint:
        return Cause.SWAPPED_COLUMNS if finding.kind is Kind.RAW else Cause.ASSEMBLY
    return next((cause for text, cause in CAUSES if text in finding.hint), Cause.UNEXPLAINED)


def _code_defect(changed: ChangedTransform, verdict: Verdict) -> Defect:
    rate = Rate(verdict.requests, verdict.requests, 1.0, 1.0, 0.0)
    return Defect(
        status=Status.FAIL,
        cause=Cause.TRANSFORM_CODE,
        headline=f"{changed.name} runs other code than the model was trained on",
        view=changed.name,
        features=changed.features,
        bundle=changed.bundle,
        unit=Unit.REQUESTS,
        rate=rate,
        causes=(Share(Cause.TRANSFORM_CODE, verdict.requests, verdict.requests),),
        since=None,
        last=None,
        command="marquee skew check",
        facts=(changed.hint,),
    )


def _feature(finding: Finding, thresholds: Thresholds) -> FeatureResult:
    rate = _rate(finding, thresholds)
    is_model = finding.kind is Kind.MODEL
    status = Status.OK if finding.follows else status_of(rate)
    return FeatureResult(
        finding.feature, finding.view, is_model, _unit(finding), status, rate, finding.follows
    )


def _unit(finding: Finding) -> Unit:
    return UNITS.get(finding.keyed_by, Unit.PAIR_ROWS)


def _rate(finding: Finding, thresholds: Thresholds) -> Rate:
    return rate_of(finding.mismatches, finding.rows, budget=thresholds.budget)


def _evidence(example: Example) -> EvidenceRow:
    at = datetime.fromtimestamp(example.request_timestamp, UTC)
    return EvidenceRow(
        example.request_id, example.user_id, example.item_id, at, example.served, example.offline
    )
