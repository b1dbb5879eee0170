"""What a check does beside comparing: distributions and the effect on the ranking."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ranking_service.contract import Contract
from skew_checks.causes.findings import Found
from skew_checks.distributions.counter import DriftCounter
from skew_checks.distributions.part import Part
from skew_checks.effect.drifted import with_drift_effects
from skew_checks.effect.effects import Suspect, effects
from skew_checks.formats.wording import is_day
from skew_checks.judging.accumulate import Judging
from skew_checks.judging.comparing import Compared
from skew_checks.replay.join import Replayed, replay
from skew_checks.replay.served import Segment
from skew_checks.result.parts import Effect, Window
from skew_checks.result.population import Drift

SLICES = ("country", "user age", "replica", "hour")
"""Dimensions beside the request fields."""
RESCORED_ROWS = 100_000
"""Candidate rows that are scored again at most, all defects together."""
EARLIER = 2
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Extras:
    """What is wanted."""

    effect: bool = True
    drift: bool = True
    nights: Path | None = None
    """Folder of the reports and counts of earlier nights; tonight's counts are left there if the window is a day."""


@dataclass
class DriftWatch:
    """Counts a bundle's distributions part by part, beside the comparison."""

    counter: DriftCounter

    def __call__(self, compared: Compared, dimensions: dict[str, npt.NDArray[np.object_]]) -> None:
        slices = {name: dimensions[name] for name in SLICES if name in dimensions}
        served = compared.served
        offline = np.where(compared.is_due_to_values, compared.expected, served.model_input)
        self.counter.add(Part.of(served, offline_input=offline, slices=slices))

    def finish(self, window: Window, extras: Extras) -> tuple[Drift, ...]:
        """Against training, replay, and where earlier nights are known against the day before."""
        if extras.nights is None or window.start is None or not is_day(window):
            return self.counter.finish()
        before = [window.start - (place + 1) * DAY for place in range(EARLIER)]
        reports = (_report(extras.nights / f"skew-{day:%Y-%m-%d}.json") for day in before)
        version = self.counter.bundle.version
        found = self.counter.finish(
            previous=extras.nights / f"counts-{before[0]:%Y-%m-%d}-{version}.bin",
            earlier=[report for report in reports if report is not None],
        )
        self.counter.write(extras.nights / f"counts-{window.start:%Y-%m-%d}-{version}.bin")
        return found


def _report(path: Path) -> dict[str, Any] | None:
    """None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@dataclass(frozen=True)
class Touched(Collection[str]):
    """Requests that a defect touches: all are counted, some are named."""

    named: Sequence[str]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __contains__(self, one: object) -> bool:
        return one in self.named


def with_effects(
    judging: Judging, segments: tuple[Segment, ...], found: Sequence[Found], judged: int
) -> list[Found]:
    """The defects with what each does to the ranking, by requests scored again with the right values."""
    judge = judging.judge
    suspicious = [each for each in found if each.subjects and each.touched]
    if not suspicious:
        return list(found)
    each_request = max(1.0, judging.rows / max(judging.requests, 1))
    most = max(1, int(RESCORED_ROWS / each_request / len(suspicious)))
    suspects = [_suspect(each, judge.contract, most) for each in suspicious]
    nothing = Replayed(judge.bundle, judge.contract, segments, pa.table({}))
    measured = effects(
        judge.workspace,
        nothing,
        suspects,
        judged=judged,
        replay=lambda chosen: replay(judge.store, judge.bundle, chosen),
    )
    by_id = {id(each): effect for each, effect in zip(suspicious, measured, strict=True)}
    return [_with(each, by_id.get(id(each))) for each in found]


def _suspect(found: Found, contract: Contract, most: int) -> Suspect:
    """Lists of a view are put right together: their entries belong to each other."""
    named = sorted(found.touched, key=lambda one: (found.touched[one], one))[:most]
    stored = {subject.feature for subject in found.subjects if not subject.is_model_column}
    for view in contract.views:
        lists = {field.name for field in view.fields if field.is_list}
        stored |= lists if lists & stored else set()
    columns = tuple(subject.feature for subject in found.subjects if subject.is_model_column)
    return Suspect(tuple(sorted(stored)), columns, Touched(named, found.requests))


def _with(found: Found, effect: Effect | None) -> Found:
    return found if effect is None else replace(found, defect=replace(found.defect, effect=effect))


def drift_watch(judging: Judging) -> DriftWatch:
    """Raises BundleError for a damaged baseline."""
    return DriftWatch(DriftCounter.of(judging.judge.bundle, judging.judge.contract))


def drift_with_effects(
    counter: DriftCounter, segments: Sequence[Segment], drift: tuple[Drift, ...]
) -> tuple[Drift, ...]:
    """Of features that drifted from training, what that does to the ranking."""
    if counter.baseline is None:
        return drift
    return with_drift_effects(counter.bundle, segments, counter.baseline.sample.matrix, drift)
