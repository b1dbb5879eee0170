"""`marquee skew check`: replay the serving log part by part, compare, find causes, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from feast import FeatureStore

from feature_repo.errors import BundleError
from feature_repo.workspace import Workspace
from materialization.feast_store import open_store
from ranking_service import bundle as bundles
from ranking_service.models.registry import Registry, registry_of
from skew_checks.causes.other_findings import duplicates, request_clocks
from skew_checks.extras import Extras, drift_watch, drift_with_effects, with_effects
from skew_checks.judging.accumulate import Judging
from skew_checks.judging.comparing import Judge
from skew_checks.judging.judged import Judged, judged
from skew_checks.judging.rates import rate_of
from skew_checks.judging.subjects import subjects_of
from skew_checks.judging.units import Register
from skew_checks.manifest import Stages, manifest
from skew_checks.replay.join import declared_differences, judging_contract
from skew_checks.replay.parts import served_parts
from skew_checks.replay.served import Log, read_log
from skew_checks.replay.view_facts import view_facts
from skew_checks.result.parts import Status, Volume, Window
from skew_checks.result.population import Drift
from skew_checks.result.report import Defect, FeatureResult, SkewReport
from skew_checks.thresholds import Thresholds
from skew_checks.verdicts import by_harm, outcome_of, sentence_of

FEW = 0.01
"""A share of wrong requests that a check should hardly miss; whether it may is told (Clopper and Pearson, 99.9 %)."""


def check(
    workspace: Workspace,
    window: Window,
    *,
    thresholds: Thresholds | None = None,
    request: str | None = None,
    extras: Extras | None = None,
    now: datetime | None = None,
    step: Callable[[str], None] = lambda _sentence: None,
) -> SkewReport:
    """Compare every value served in the window with what the training join gives for the same request.

    Beside the values: whether scores are those of the bundle named, and transforms run the code it was trained on.
    `request` keeps only the requests of that id, of which one is enough. Reads the log, the registry, the built
    partitions and the bundles; writes nothing but counts for the next night, where `extras` name a folder. Raises
    BundleError for requests of a bundle that is gone, MissingInputError before the first apply, EventDataError for a
    damaged log.
    """
    wanted, beside, stages = thresholds or Thresholds(), extras or Extras(), Stages()
    if request is not None:
        wanted = replace(wanted, min_requests=1, min_rows=1)
    with stages.of("reading the log"):
        log = read_log(workspace.serving_log, window, request=request)
        registry = registry_of(workspace)
        _refuse_unknown(log, registry)
    found = []
    for version, requests in log.versions().items():
        step(f"replaying {requests:,} requests of bundle {version}")
        with stages.of("opening bundle and store"):
            judge = _judge(workspace, open_store(workspace), registry, version, wanted)
        found.append(_judged(judge, log, window=window, thresholds=wanted, extras=beside, stages=stages))
    notes = _notes(log, found) if request is not None else (*_fewness(found), *_notes(log, found))
    report = _report(
        log, found, window=window, thresholds=wanted, now=now or datetime.now(UTC), stages=stages
    )
    return replace(report, notes=tuple(notes))


def _judged(
    judge: Judge, log: Log, *, window: Window, thresholds: Thresholds, extras: Extras, stages: Stages
) -> Judged:
    judging = Judging(judge, thresholds)
    watch = drift_watch(judging) if extras.drift else None
    judging.watchers = () if watch is None else (watch,)
    segments = log.of_bundle(judge.bundle.version)
    with stages.of("replaying and comparing"):
        for served in served_parts(segments):
            judging.add(served)
    with stages.of("finding causes"):
        result = judged(judging)
    if extras.effect:
        with stages.of("scoring again"):
            result = replace(
                result, defects=tuple(with_effects(judging, segments, result.defects, log.requests))
            )
    if watch is not None:
        with stages.of("judging distributions"):
            drift = watch.finish(window, extras)
            if extras.effect:
                drift = drift_with_effects(watch.counter, segments, drift)
            result = replace(result, drift=drift, notes=watch.counter.notes)
    return result


def _judge(
    workspace: Workspace, store: FeatureStore, registry: Registry, version: str, thresholds: Thresholds
) -> Judge:
    bundle = bundles.load(registry.folder(version))
    contract, facts = judging_contract(store, bundle), view_facts(store)
    subjects = subjects_of(bundle, contract, facts, budget=thresholds.budget)
    return Judge(workspace, store, bundle, contract, facts, subjects)


def _refuse_unknown(log: Log, registry: Registry) -> None:
    here = registry.versions()
    gone = {version: count for version, count in log.versions().items() if version not in here}
    if gone:
        listed = ", ".join(f"{version} ({count} requests)" for version, count in gone.items())
        raise BundleError(
            f"the serving log has requests of bundles that are not in {registry.where}: {listed}; "
            f"there are {', '.join(here) or 'none'}; restore them, or choose a window without them"
        )


def _report(
    log: Log,
    found: list[Judged],
    *,
    window: Window,
    thresholds: Thresholds,
    now: datetime,
    stages: Stages,
) -> SkewReport:
    judgings = [one.judging for one in found]
    volume = _volume(log, judgings)
    repeated = sum(judging.repeated for judging in judgings)
    of_log = [*duplicates(log, repeated, volume.rows, thresholds), *request_clocks(log, thresholds)]
    defects = by_harm(
        [each.defect for one in found for each in one.defects] + [each.defect for each in of_log]
    )
    drift = [each for one in found for each in one.drift]
    outcome = outcome_of(defects, drift, volume, thresholds)
    return SkewReport(
        window=window,
        checked_at=now,
        outcome=outcome,
        sentence=sentence_of(outcome, defects, drift, volume=volume, thresholds=thresholds),
        volume=volume,
        bundles=tuple(log.versions()),
        defects=tuple(defects),
        features=tuple(_together(feature for one in found for feature in one.features)),
        drift=tuple(_shown_drift(found, defects)),
        freshness=tuple(each for one in found for each in one.freshness),
        hourly=tuple(each for one in found for each in one.hourly),
        parity=tuple(each for one in found for each in one.parity),
        manifest=manifest(thresholds, volume, log, stages),
    )


def _shown_drift(found: list[Judged], defects: list[Defect]) -> Iterator[Drift]:
    """All that is not ok, and the bins of features with a defect."""
    defective = {feature for defect in defects for feature in defect.features}
    for each in (each for one in found for each in one.drift):
        if each.status is not Status.OK or each.feature in defective:
            yield each


def _volume(log: Log, judgings: list[Judging]) -> Volume:
    return Volume(
        requests=sum(judging.requests for judging in judgings),
        rows=sum(judging.rows for judging in judgings),
        values=sum(judging.values for judging in judgings),
        features=len({subject.feature for judging in judgings for subject in judging.judge.subjects}),
        users=Register.together(judging.users for judging in judgings),
        items=Register.together(judging.items for judging in judgings),
        degraded=log.degraded,
        duplicates=log.duplicates + sum(judging.repeated for judging in judgings),
        dropped=log.dropped,
        lost_segments=log.lost_segments,
    )


def _together(features: Iterable[FeatureResult]) -> Iterator[FeatureResult]:
    """Of several bundles the worst result of each comparison."""
    worst: dict[tuple[str, str, bool], FeatureResult] = {}
    for feature in features:
        key = feature.feature, feature.view, feature.is_model_column
        known = worst.get(key)
        if known is None or (feature.rate.lower, feature.rate.bad) > (known.rate.lower, known.rate.bad):
            worst[key] = feature
    yield from worst.values()


def _fewness(found: list[Judged]) -> Iterator[str]:
    requests = sum(one.judging.requests for one in found)
    unseen = rate_of(0, requests, budget=0.0).upper
    if requests and unseen > FEW:
        yield f"{requests:,} requests are few: what is wrong in up to {unseen:.0%} of requests may not be among them"


def _notes(log: Log, found: list[Judged]) -> Iterator[str]:
    for one in found:
        judge = one.judging.judge
        yield from declared_differences(judge.bundle, judge.contract)
        yield from one.notes
    missing = log.requests - sum(one.judging.requests for one in found)
    if missing:
        yield f"{missing} requests have no candidates in the log and are not judged"
    if log.degraded:
        yield f"{log.degraded} requests answered with replaced values (level above 0) are not judged"
    if log.lost_segments:
        yield f"{log.lost_segments} segments of the log were cut off in writing and are not judged"
    if log.dropped:
        yield f"the log's writers dropped {log.dropped} requests of the window"
