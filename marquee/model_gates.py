"""What `marquee model promote` can require of a bundle before it is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from feature_repo.errors import BundleError, MissingInputError, ReportError
from feature_repo.workspace import Workspace
from ranking_service.bundle import Bundle, load
from ranking_service.models.registry import Registry
from skew_checks.formats.report_json import loads
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Outcome, Status
from skew_checks.result.report import Defect, SkewReport

LEAST_LISTS = 50
"""Fewer logged requests with outcomes of both kinds say nothing about a model's worth."""
SAMPLE = 5000


@dataclass(frozen=True)
class Drop:
    """NDCG@10 of the promoted bundle minus that of the candidate, and how it was found."""

    value: float
    promoted: float
    candidate: float
    judged_on: str


def check_skew_clean(workspace: Workspace, registry: Registry, candidate: Bundle) -> str:
    """A sentence that the last skew report clears all that `candidate` reads. Raises BundleError with why not.

    Defects that fail refuse it. Those within their budget (warn) do not, but are told.
    """
    report = _last_report(workspace)
    checked = f"{report.checked_at:%Y-%m-%dT%H:%M}"
    if report.outcome is Outcome.INTERNAL:
        raise _refused(candidate, f"the skew check of {checked} failed itself: {report.sentence}")
    if report.outcome is Outcome.NOT_ENOUGH:
        raise _refused(candidate, f"the skew check of {checked} had too little data to judge")
    read = [defect for defect in report.defects if _reads(candidate, defect)]
    failing = [defect for defect in read if defect.status is Status.FAIL]
    problems = [*_told(failing), *_not_compared(report, registry, candidate)]
    if problems:
        raise _refused(candidate, f"the skew check of {checked}: " + "; ".join(problems))
    volume = report.volume
    told = f"skew: clean on {checked}, {volume.values:,} values of {volume.requests:,} requests"
    within = _features(read)
    return f"{told}; within their budgets differ {within}" if within else told


def _reads(candidate: Bundle, defect: Defect) -> bool:
    """Whether the defect is about a feature, or a transform, of the candidate."""
    contract = candidate.contract
    names = {*contract.raw_fields, *contract.feature_names}
    return bool(names.intersection(defect.features)) or defect.view in {
        plan.name for plan in contract.transforms
    }


def _told(failing: list[Defect]) -> Iterator[str]:
    code = [defect for defect in failing if defect.cause is Cause.TRANSFORM_CODE]
    values = [defect for defect in failing if defect.cause is not Cause.TRANSFORM_CODE]
    if values:
        causes = ", ".join(dict.fromkeys(defect.cause.value for defect in values))
        yield f"served and offline values differ of {_features(values)} ({causes})"
    if code:
        views = ", ".join(dict.fromkeys(defect.view for defect in code))
        yield f"other code of the transforms {views} was served"


def _features(defects: list[Defect]) -> str:
    return ", ".join(dict.fromkeys(feature for defect in defects for feature in defect.features))


def _refused(candidate: Bundle, why: str) -> BundleError:
    return BundleError(f"{candidate.version} is not promoted: {why}")


def _last_report(workspace: Workspace) -> SkewReport:
    reports = [_read_report(path) for path in workspace.reports.glob("skew-*.json")]
    if not reports:
        raise MissingInputError(
            f"no skew report in {workspace.reports}; make one with `marquee skew check`, on requests that were served"
        )
    return max(reports, key=lambda report: report.checked_at)


def _read_report(path: Path) -> SkewReport:
    try:
        return loads(path.read_text(encoding="utf-8"))
    except ReportError as error:
        raise MissingInputError(
            f"{path} is no skew report ({error}); run `marquee skew check` again"
        ) from error


def _not_compared(report: SkewReport, registry: Registry, candidate: Bundle) -> Iterator[str]:
    """What the candidate reads that none of the bundles checked did: about that the report says nothing."""
    compared = set()
    for version in report.bundles:
        contract = load(registry.folder(version)).contract
        for view in contract.views:
            compared |= {(view.name, view.fingerprint, field.name) for field in view.fields}
        compared |= {(plan.name, plan.fingerprint, "") for plan in contract.transforms}
    contract = candidate.contract
    missing = [
        f"{field.name} of {view.name}"
        for view in contract.views
        for field in view.fields
        if (view.name, view.fingerprint, field.name) not in compared
    ]
    missing += [
        plan.name for plan in contract.transforms if (plan.name, plan.fingerprint, "") not in compared
    ]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        yield (
            f"it compared nothing of {shown}, which this bundle reads as now defined; serve it to a share of requests, "
            "then check again"
        )


def check_ndcg(
    workspace: Workspace,
    registry: Registry,
    candidate: Bundle,
    *,
    most: float,
    measure: Callable[[Workspace, Bundle, Bundle], Drop] | None = None,
) -> str:
    """A sentence on how the candidate does beside the promoted bundle.

    Raises BundleError when its NDCG@10 is lower by more than `most`, MissingInputError without a promoted bundle.
    """
    entry = registry.promoted()
    if entry is None:
        raise MissingInputError(
            f"nothing is promoted in {registry.where}, so there is nothing to compare with; leave out --max-ndcg-drop"
        )
    drop = (measure or ndcg_drop)(workspace, load(registry.folder(entry.version)), candidate)
    told = (
        f"NDCG@10 {drop.candidate:.4f}, {drop.promoted:.4f} of the promoted {entry.version}, {drop.judged_on}"
    )
    if not drop.value <= most:
        raise _refused(candidate, f"{told}: a drop of {drop.value:.4f}, allowed are {most:g}")
    return told


def ndcg_drop(workspace: Workspace, promoted: Bundle, candidate: Bundle) -> Drop:
    """By replay of the serving log where enough of its requests have outcomes, else on the candidate's test days."""
    from marquee.model_compare import with_outcomes
    from ranking_service.models.compare import compare
    from ranking_service.models.replayed import paired_by_replay

    paired = paired_by_replay(workspace.serving_log, promoted, candidate, sample=SAMPLE)
    if paired is not None:
        worth = compare(with_outcomes(workspace, paired, candidate), resamples=0).worth
        if worth is not None and worth.lists >= LEAST_LISTS:
            on = f"on {worth.lists:,} requests of the serving log"
            return Drop(-worth.difference.value, worth.first.value, worth.second.value, on)
    return held_out_drop(workspace, promoted, candidate)


def held_out_drop(workspace: Workspace, promoted: Bundle, candidate: Bundle) -> Drop:
    """Both on the candidate's test days and label; days that the promoted one was trained on flatter it."""
    from ranking_service.evaluation.judge import judge

    same = {name: candidate.manifest[name] for name in ("label", "split", "recipe")}
    values = [
        judge(workspace, bundle, resamples=1).report["model"]["ndcg@10"].value
        for bundle in (replace(promoted, manifest={**promoted.manifest, **same}), candidate)
    ]
    days = f"on the test days from {same['split']['test_from'][:10]} to {same['split']['end'][:10]}"
    return Drop(values[0] - values[1], values[0], values[1], days)
