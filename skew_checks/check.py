"""`marquee skew check`: replay, compare, say what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice

import numpy as np
import pyarrow as pa

from feature_repo.columns import Columns
from feature_repo.errors import BundleError
from feature_repo.workspace import Workspace
from materialization.feast_store import open_store
from ranking_service import bundle as bundles
from ranking_service.bundle import Bundle
from ranking_service.models.registry import Registry, registry_of
from ranking_service.transform_code import WAY_OUT, changed_transforms
from skew_checks.early_report import report_of
from skew_checks.evidence import Evidence, plain_value
from skew_checks.hints import model_hint, stored_hint
from skew_checks.replay import declared_differences, replay
from skew_checks.result import SkewReport
from skew_checks.result_parts import Window
from skew_checks.served import Log, read_log
from skew_checks.tally import Count, Subject, Tally
from skew_checks.thresholds import Thresholds
from skew_checks.verdict import ChangedTransform, Example, Finding, Kind, Minimum, Verdict

EXAMPLES = 3
CLOCK_STEP, CLOCK_ROOM, CLOCK_FARTHEST = 900.0, 60.0, 14 * 3600.0
"""Seconds: time zones differ by quarters of an hour, up to 14 hours; a request arrives within a minute."""


def check(
    workspace: Workspace,
    window: Window,
    *,
    thresholds: Thresholds | None = None,
    now: datetime | None = None,
    step: Callable[[str], None] = lambda _sentence: None,
) -> SkewReport:
    """As `verdict_of`, for pages, formats and gates."""
    wanted = thresholds or Thresholds()
    minimum = Minimum(wanted.min_requests, wanted.min_rows)
    verdict = verdict_of(workspace, window, minimum=minimum, step=step)
    return report_of(verdict, wanted, now=now or datetime.now(UTC))


def verdict_of(
    workspace: Workspace,
    window: Window,
    *,
    minimum: Minimum | None = None,
    step: Callable[[str], None] = lambda _sentence: None,
) -> Verdict:
    """Compare every value served in the window with what the training join gives for the same request.

    Beside the values: whether each bundle's request-time transforms still run the code it was trained on.
    Reads the log, the registry, the built partitions and the bundles; writes nothing. Raises BundleError for
    requests of a bundle that is gone, MissingInputError before the first apply, EventDataError for a damaged
    log.
    """
    log = read_log(workspace.serving_log, window)
    registry = registry_of(workspace)
    _refuse_unknown(log, registry)
    counts = []
    for version in log.versions():
        step(f"replaying {log.versions()[version]:,} requests of bundle {version}")
        bundle = bundles.load(registry.folder(version))
        counts.append(Count.of(replay(open_store(workspace), bundle, log.of_bundle(version))))
    step("looking at what differs")
    findings = [finding for count in counts for finding in _findings(count, workspace)]
    return Verdict(
        window=window,
        minimum=minimum or Minimum(),
        requests=log.requests,
        rows=sum(len(count.replayed.joined) for count in counts),
        values=sum(count.values for count in counts),
        features=len({tally.subject.feature for count in counts for tally in count.tallies}),
        bundles=tuple(log.versions()),
        findings=tuple(sorted(findings, key=_importance)),
        changed_transforms=tuple(found for count in counts for found in _changed_code(count.replayed.bundle)),
        notes=_notes(log, counts),
    )


def _changed_code(bundle: Bundle) -> Iterator[ChangedTransform]:
    for name in changed_transforms(bundle.contract):
        features = tuple(feature.name for feature in bundle.contract.features if feature.origin == name)
        yield ChangedTransform(name, bundle.version, features, f"a model trained on other code; {WAY_OUT}")


def _importance(finding: Finding) -> tuple[bool, int, str]:
    return finding.follows, -finding.mismatches, finding.feature


def _refuse_unknown(log: Log, registry: Registry) -> None:
    here = registry.versions()
    gone = {version: count for version, count in log.versions().items() if version not in here}
    if gone:
        listed = ", ".join(f"{version} ({count} requests)" for version, count in gone.items())
        raise BundleError(
            f"the serving log has requests of bundles that are not in {registry.where}: {listed}; "
            f"there are {', '.join(here) or 'none'}; restore them, or choose a window without them"
        )


def _findings(count: Count, workspace: Workspace) -> list[Finding]:
    witnesses = count.witnesses()
    if witnesses is None:
        return []
    evidence = Evidence(workspace, count.replayed, witnesses)
    differing = [tally for tally in count.tallies if tally.mismatches]
    subjects = [tally.subject for tally in differing]
    return [_finding(tally, evidence, subjects) for tally in differing]


def _finding(tally: Tally, evidence: Evidence, others: list[Subject]) -> Finding:
    subject = tally.subject
    if subject.kind is Kind.RAW:
        hint, follows = stored_hint(evidence, subject, others), False
    else:
        hint, follows = model_hint(evidence, subject, others)
    return Finding(
        feature=subject.feature,
        kind=subject.kind,
        view=subject.view,
        bundle=evidence.replayed.bundle.version,
        rows=tally.rows,
        mismatches=tally.mismatches,
        entities=tally.entities,
        keyed_by=subject.keyed_by,
        hint=hint,
        follows=follows,
        examples=_examples(evidence, subject),
    )


def _examples(evidence: Evidence, subject: Subject) -> tuple[Example, ...]:
    served, offline = evidence.pair(subject)
    columns: Columns = {**evidence.served, "served": served, "offline": offline}
    names = ("request_id", "user_id", "item_id", "request_timestamp", "served", "offline")
    rows = islice(np.flatnonzero(evidence.bad(subject)).tolist(), EXAMPLES)
    values = [{name: plain_value(columns[name], row) for name in names} for row in rows]
    if subject.kind is Kind.MODEL:
        values = [_with_categories(row, evidence, subject) for row in values]
    return tuple(Example(**row) for row in values)  # type: ignore[arg-type]


def _with_categories(row: dict[str, object], evidence: Evidence, subject: Subject) -> dict[str, object]:
    """Codes as the text they stand for."""
    categories = evidence.replayed.contract.features[evidence.positions[subject.feature]].categories
    if not categories:
        return row
    texts = {
        name: categories[int(code)]
        for name in ("served", "offline")
        if isinstance(code := row[name], float) and 0 <= code < len(categories)
    }
    return {**row, **texts}


def _notes(log: Log, counts: list[Count]) -> tuple[str, ...]:
    replays = [count.replayed for count in counts]
    notes = [
        note for replayed in replays for note in declared_differences(replayed.bundle, replayed.contract)
    ]
    notes += _clock_notes(log)
    if log.degraded:
        notes.append(f"{log.degraded} requests answered with replaced values (level above 0) are not judged")
    if log.lost_segments:
        notes.append(f"{log.lost_segments} segments of the log were cut off in writing and are not judged")
    return tuple(notes)


def _clock_notes(log: Log) -> list[str]:
    """Request times that run off the server's clock by a time zone: both sides of the replay believe them."""
    if not log.segments:
        return []
    head = pa.concat_tables([segment.head for segment in log.segments])
    received = head["received_timestamp"].cast(pa.int64()).to_numpy() / 1e6
    ahead = head["request_timestamp"].to_numpy() - received
    steps = np.round(ahead / CLOCK_STEP)
    off = (np.abs(ahead - steps * CLOCK_STEP) < CLOCK_ROOM) & (steps != 0) & (np.abs(ahead) <= CLOCK_FARTHEST)
    if not off.all() or np.ptp(steps) != 0:
        return []
    return [
        f"every request's time is {steps[0] / 4:+g} hours off the server's clock; unless these are replays, "
        "a client sends local time as UTC"
    ]
