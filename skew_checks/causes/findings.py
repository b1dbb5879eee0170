"""From counts to defects: features of one view that are wrong for the same reason are one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from skew_checks.causes.case import Case
from skew_checks.causes.evidence import Evidence
from skew_checks.causes.evidence_rows import evidence_rows
from skew_checks.causes.headlines import headline
from skew_checks.causes.rules import Explanation, explain
from skew_checks.judging.accumulate import Judging
from skew_checks.judging.dimensions import slices_of
from skew_checks.judging.rates import status_of
from skew_checks.judging.subjects import Subject
from skew_checks.judging.tally import Tally
from skew_checks.judging.witnesses import EVERY
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Rate, Share, Status
from skew_checks.result.report import Defect, EvidenceRow, FeatureResult

MOST_FACTS = 4
LEAST_FEATURES, LEAST_SHARE = 3, 0.2


@dataclass(frozen=True)
class Wrong:
    """One feature that is wrong by itself, and why."""

    number: int
    """Of its subject."""
    subject: Subject
    tally: Tally
    rate: Rate
    explanation: Explanation
    case: Case


@dataclass(frozen=True)
class Found:
    """A defect and what it is made of."""

    defect: Defect
    subjects: tuple[Subject, ...] = ()
    touched: dict[str, int] = field(default_factory=dict)
    """Some of the requests it touches: `served_id` to hash."""
    requests: int = 0
    """All that it touches, at least."""


def features_of(judging: Judging) -> list[FeatureResult]:
    """Everything that was compared, subjects in order."""
    results = []
    for number, tally in enumerate(judging.tallies):
        subject, units = tally.subject, judging.rate_units(tally)
        own = judging.astray.get(number)
        follows = own is not None and tally.mismatches > 0 and own.mismatches == 0
        rate = (tally if own is None or follows else own).rate(units)
        status = Status.OK if follows else status_of(rate)
        results.append(
            FeatureResult(
                subject.feature, subject.view, subject.is_model_column, subject.unit, status, rate, follows
            )
        )
    return results


def wrong_features(judging: Judging, evidence: Evidence) -> list[Wrong]:
    """Every subject that differs and does not merely follow, with its cause; stored values before columns."""
    tallies = {number: judging.astray.get(number, tally) for number, tally in enumerate(judging.tallies)}
    differing = {number: tally for number, tally in tallies.items() if tally.mismatches}
    subjects = [tally.subject for tally in differing.values()]
    every = np.flatnonzero(np.isin(evidence.witnesses.hashes, judging.pool.draws[EVERY].kept))
    found = []
    for number, tally in differing.items():
        drawn = np.isin(evidence.witnesses.hashes, judging.pool.draws[number].kept)
        rows = np.flatnonzero(drawn & evidence.wrong(tally.subject))
        partners = tuple(
            one
            for one in subjects
            if one != tally.subject and one.is_model_column == tally.subject.is_model_column
        )
        case = Case(evidence, tally.subject, rows, every, partners, tally, judging.codes)
        rate = tally.rate(judging.rate_units(tally))
        found.append(Wrong(number, tally.subject, tally, rate, explain(case), case))
    return [*with_common_cause(found)]


def with_common_cause(wrong: Sequence[Wrong]) -> Iterator[Wrong]:
    """Where most stored values of a view are wrong for one reason, it is taken for the others too that it explains in
    part: counts that differ by one everywhere look like a constant difference.
    """
    causes: dict[str, list[Cause]] = {}
    for one in wrong:
        if not one.subject.is_model_column:
            causes.setdefault(one.subject.view, []).append(one.explanation.cause)
    for one in wrong:
        of_view = causes.get(one.subject.view, [])
        common = max(of_view, key=of_view.count, default=None)
        share = next((share.share for share in one.explanation.shares if share.name == common), 0.0)
        is_common = (
            common is not None and len(of_view) >= LEAST_FEATURES and of_view.count(common) * 2 > len(of_view)
        )
        if one.subject.is_model_column or not is_common or share < LEAST_SHARE:
            yield one
        else:
            assert common is not None, "a common cause is one"
            yield replace(one, explanation=replace(one.explanation, cause=common))


def defects_of(judging: Judging, wrong: Iterable[Wrong]) -> Iterator[Found]:
    """Grouped by view, cause, and whether stored values or the model's columns are wrong."""
    groups: dict[tuple[str, Cause, bool], list[Wrong]] = {}
    for one in wrong:
        key = one.subject.view, one.explanation.cause, one.subject.is_model_column
        groups.setdefault(key, []).append(one)
    for group in groups.values():
        yield _found(judging, sorted(group, key=lambda one: (-one.rate.lower, -one.rate.share)))


def _found(judging: Judging, group: list[Wrong]) -> Found:
    worst = group[0]
    rows = evidence_rows(worst.case)
    features = tuple(one.subject.feature for one in group)
    view, cause = worst.subject.view, worst.explanation.cause
    touched = {name: crc for one in group for name, crc in one.tally.touched.items()}
    defect = Defect(
        status=status_of(worst.rate),
        cause=cause,
        headline=headline(cause, view, features),
        view=view,
        features=features,
        bundle=judging.judge.bundle.version,
        unit=worst.subject.unit,
        rate=worst.rate,
        causes=_shares(group),
        since=instant(min(one.tally.first for one in group)),
        last=instant(max(one.tally.last for one in group)),
        command=command(rows),
        evidence=rows,
        slices=slices_of(judging.codes, worst.tally.bad, per_request=worst.subject.is_per_request),
        facts=_facts(group),
    )
    subjects = tuple(one.subject for one in group)
    return Found(defect, subjects, touched, max(one.tally.requests for one in group))


def _facts(group: list[Wrong]) -> tuple[str, ...]:
    """What the rules saw; what several features have in common once, with the worst one's figures."""
    told = [fact for one in group for fact in one.explanation.facts]
    alike = {re.sub(r"\d+ of \d+| \(.*", "", fact): fact for fact in reversed(told)}
    return tuple(fact for fact in dict.fromkeys(told) if fact in alike.values())[:MOST_FACTS]


def _shares(group: list[Wrong]) -> tuple[Share, ...]:
    """Of all that was looked at, the features together."""
    counts: dict[str, int] = {}
    for share in (share for one in group for share in one.explanation.shares):
        counts[share.name] = counts.get(share.name, 0) + share.bad
    total = sum(counts.values())
    return tuple(Share(name, count, total) for name, count in sorted(counts.items(), key=lambda one: -one[1]))


def command(rows: tuple[EvidenceRow, ...]) -> str:
    """What replays the first of them."""
    if not rows:
        return "marquee skew check"
    day = f"{rows[0].request_time:%Y-%m-%d}"
    return f"marquee skew check --date {day} --request {shlex.quote(rows[0].request_id)}"


def instant(seconds: float) -> datetime | None:
    """None where there is none."""
    return datetime.fromtimestamp(seconds, UTC) if np.isfinite(seconds) else None
