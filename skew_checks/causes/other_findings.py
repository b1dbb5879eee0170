"""Defects that no single value shows: repeated log rows, request clocks, spellings of keys, scores, changed code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from ranking_service.transform_code import WAY_OUT, changed_transforms
from skew_checks.causes.findings import Found, command, instant
from skew_checks.causes.headlines import headline
from skew_checks.judging.accumulate import Judging
from skew_checks.judging.dimensions import Codes, Rows, slices_of
from skew_checks.judging.rates import rate_of, status_of
from skew_checks.replay.event_times import Floats
from skew_checks.replay.served import Log
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Rate, Share, Status, Unit
from skew_checks.result.report import Defect, EvidenceRow
from skew_checks.thresholds import Thresholds

CLOCK_STEP, CLOCK_ROOM, CLOCK_FARTHEST = 900.0, 60.0, 14 * 3600.0
"""Seconds: time zones differ by quarters of an hour, up to 14 hours; a request arrives within a minute."""
LOG_VIEW, REQUEST_VIEW, MODEL_VIEW = "serving log", "request", "model"
EXAMPLES = 3


def duplicates(log: Log, repeated: int, rows: int, thresholds: Thresholds) -> Iterator[Found]:
    """Log rows that repeat another one; `repeated` of `rows` candidate rows, beside what the log's heads showed."""
    count = log.duplicates + repeated
    if not count:
        return
    rate = rate_of(count, rows + log.requests + count, budget=thresholds.budget)
    told = f"{count:,} rows repeat another one and were left out"
    yield Found(
        _defect(
            Cause.DUPLICATE_LOG_ROWS,
            LOG_VIEW,
            ("served_id",),
            rate,
            _bundles(log),
            facts=(told,),
            unit=Unit.LOG_ROWS,
        )
    )


def request_clocks(log: Log, thresholds: Thresholds) -> Iterator[Found]:
    """Request times that run off the server's clock by a time zone, or an hour of daylight saving."""
    if not log.segments:
        return
    head = pa.concat_tables([segment.head for segment in log.segments])
    received = np.asarray(head["received_timestamp"].cast(pa.int64()).to_numpy(), np.float64) / 1e6
    at = np.asarray(head["request_timestamp"].to_numpy(), np.float64)
    ahead = at - received
    steps = np.round(ahead / CLOCK_STEP)
    off = (np.abs(ahead - steps * CLOCK_STEP) < CLOCK_ROOM) & (steps != 0) & (np.abs(ahead) <= CLOCK_FARTHEST)
    right = np.abs(ahead) < CLOCK_ROOM
    if not off.any() or not (off | right).all():
        return
    values, counts = np.unique(steps[off], return_counts=True)
    hours = values[counts.argmax()] / 4
    told = f"{int(off.sum()):,} of {len(off):,} requests say a time {hours:+g} hours off the server's clock"
    rate = rate_of(int(off.sum()), len(off), budget=thresholds.budget)
    times = (float(at[off].min()), float(at[off].max()))
    yield Found(
        _defect(
            Cause.CLOCK,
            REQUEST_VIEW,
            ("request_timestamp",),
            rate,
            _bundles(log),
            facts=(told, "a client sends local time as UTC, unless these are replays"),
            times=times,
            rows=_clock_rows(head, np.flatnonzero(off)[:EXAMPLES], at=at, received=received),
        )
    )


def _clock_rows(head: pa.Table, rows: Rows, *, at: Floats, received: Floats) -> tuple[EvidenceRow, ...]:
    """What requests said the time was, and when they came, both as Unix seconds."""
    return tuple(
        EvidenceRow(
            head["request_id"][row].as_py(),
            head["user_id"][row].as_py(),
            "",
            datetime.fromtimestamp(at[row], UTC),
            served=float(at[row]),
            offline=float(received[row]),
        )
        for row in rows.tolist()
    )


def other_scores(judging: Judging) -> Iterator[Found]:
    """Scores that the bundle named does not give on the inputs logged."""
    scores = judging.scores
    if not scores.bad:
        return
    rate = rate_of(scores.bad, scores.requests, budget=judging.thresholds.budget)
    rows = tuple(
        EvidenceRow(
            one.request_id,
            one.user_id,
            one.item_id,
            datetime.fromtimestamp(one.request_timestamp, UTC),
            served=one.logged,
            offline=one.expected,
        )
        for one in scores.examples
    )
    told = f"{scores.bad:,} of {scores.requests:,} requests scored again have other scores"
    defect = _defect(
        Cause.WRONG_MODEL,
        MODEL_VIEW,
        ("score",),
        rate,
        judging.judge.bundle.version,
        facts=(told,),
        times=(scores.first, scores.last),
        rows=rows,
        codes=judging.codes,
        bad=scores.by_dimension,
    )
    yield Found(defect, touched=scores.touched, requests=scores.bad)


def changed_code(judging: Judging, named: frozenset[str]) -> Iterator[Found]:
    """Transforms that run other code than the bundle was trained on, even where all values agree: both sides of the
    replay run the present code. `named` are those that have a defect for it already.
    """
    bundle = judging.judge.bundle
    for name in changed_transforms(bundle.contract):
        if name in named:
            continue
        features = tuple(feature.name for feature in bundle.contract.features if feature.origin == name)
        rate = Rate(judging.requests, judging.requests, 1.0, 1.0, 0.0)
        told = f"{name} runs other code than the model was trained on; {WAY_OUT}"
        yield Found(
            _defect(
                Cause.TRANSFORM_CODE, name, features, rate, bundle.version, facts=(told,), status=Status.FAIL
            )
        )


def _defect(
    cause: Cause,
    view: str,
    features: tuple[str, ...],
    rate: Rate,
    bundle: str,
    *,
    facts: tuple[str, ...],
    times: tuple[float, float] = (np.inf, -np.inf),
    rows: tuple[EvidenceRow, ...] = (),
    codes: Mapping[str, Codes] | None = None,
    bad: Mapping[str, np.ndarray] | None = None,
    status: Status | None = None,
    unit: Unit = Unit.REQUESTS,
) -> Defect:
    return Defect(
        status=status or status_of(rate),
        cause=cause,
        headline=headline(cause, view, features),
        view=view,
        features=features,
        bundle=bundle,
        unit=unit,
        rate=rate,
        causes=(Share(cause.value, rate.bad, rate.bad),),
        since=instant(times[0]),
        last=instant(times[1]),
        command=command(rows),
        evidence=rows,
        slices=slices_of(codes or {}, bad or {}, per_request=True),
        facts=facts,
    )


def _bundles(log: Log) -> str:
    return ", ".join(log.versions())
