"""One bundle's requests from the log's first part to its last: everything that is counted and kept on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ranking_service.serving_log.tables import EVENT_TIME_PREFIX
from skew_checks.figures.ages import Ages
from skew_checks.figures.hours import Hours
from skew_checks.judging.compare import Mask
from skew_checks.judging.comparing import Compared, Judge
from skew_checks.judging.dimensions import Codes, dimensions_of
from skew_checks.judging.scores import Scores
from skew_checks.judging.tally import Place, Tally
from skew_checks.judging.units import Hashes, Register, instant_bits, mixed, text_hashes
from skew_checks.judging.unknown_keys import UnknownKeys
from skew_checks.judging.witnesses import Pool
from skew_checks.replay.served import Served
from skew_checks.result.parts import Unit
from skew_checks.thresholds import Thresholds

Rows = npt.NDArray[np.int64]
Watcher = Callable[[Compared, dict[str, npt.NDArray[np.object_]]], None]
"""Fed with every part and its requests' dimensions."""


@dataclass
class Judging:
    """Fed part by part; memory grows with units (items, pairs, requests), not with rows."""

    judge: Judge
    thresholds: Thresholds
    watchers: tuple[Watcher, ...] = ()
    requests: int = 0
    rows: int = 0
    values: int = 0
    repeated: int = 0
    """Candidate rows left out."""
    tallies: list[Tally] = field(init=False)
    astray: dict[int, Tally] = field(init=False)
    """By subject's number, of model columns: rows that are wrong for the stored values served."""
    codes: dict[str, Codes] = field(default_factory=dict)
    units: dict[str, Register] = field(default_factory=dict)
    """By view keyed by items or pairs."""
    users: Register = field(default_factory=Register)
    items: Register = field(default_factory=Register)
    pool: Pool = field(init=False)
    hours: Hours = field(init=False)
    ages: Ages = field(default_factory=Ages)
    unknown: dict[str, UnknownKeys] = field(init=False)
    """By key."""
    scores: Scores = field(init=False)

    def __post_init__(self) -> None:
        subjects = self.judge.subjects
        self.tallies = [Tally(subject) for subject in subjects]
        self.astray = {
            number: Tally(subject) for number, subject in enumerate(subjects) if subject.is_model_column
        }
        limits = self.thresholds
        self.pool = Pool(limits.witnesses, limits.witnesses_of_all, limits.seed)
        self.hours = Hours(subjects, self.judge.default_inputs)
        self.scores = Scores(self.judge.bundle)
        self.unknown = {key: UnknownKeys(key) for key in ("user_id", "item_id")}

    def add(self, served: Served) -> None:
        """Replay and compare one part. Raises EventDataError if it does not fit the bundle."""
        compared = self.judge.compare(served)
        self.requests += len(served.requests)
        self.rows += len(served.request)
        self.repeated += served.repeated
        of_requests = {
            name: compared.logged[name] for name in compared.logged if compared.is_of_requests(name)
        }
        fields = {
            name: compared.reference[name] for name in compared.reference if compared.is_of_requests(name)
        }
        dimensions = dimensions_of({**fields, **of_requests}, served.replica)
        place = self._place(served, dimensions)
        wrong = self._count(compared, place)
        self.hours.add(compared, wrong)
        self.ages.add(compared)
        for unknown in self.unknown.values():
            unknown.add(compared)
        self.scores.add(served, place)
        for watcher in self.watchers:
            watcher(compared, dimensions)

    def rate_units(self, tally: Tally) -> int:
        """How many units there are of the tally's kind."""
        if tally.subject.unit is Unit.REQUESTS:
            return self.requests
        return len(self.units.get(tally.subject.view, ()))

    def _place(self, served: Served, dimensions: dict[str, npt.NDArray[np.object_]]) -> Place:
        user = text_hashes(served.requests["user_id"])
        item = text_hashes(served.candidates["item_id"])
        self.users.numbers(user)
        self.items.numbers(item)
        keys: dict[tuple[str, ...], Hashes] = {("item_id",): item, ("user_id",): user[served.request]}
        unit = {}
        for view in self.judge.views:
            if view.join_keys == ("user_id",):
                continue
            key = keys.get(view.join_keys)
            key = mixed(user[served.request], item) if key is None else key
            micros = served.candidates[EVENT_TIME_PREFIX + view.name].cast("int64")
            bits = instant_bits(np.asarray(micros.to_numpy(), np.float64) / 1e6)
            unit[view.name] = self.units.setdefault(view.name, Register()).numbers(mixed(key, bits))
        return Place(
            request=served.request,
            request_timestamp=np.asarray(served.requests["request_timestamp"].to_numpy(), np.float64),
            served_id=served.requests["served_id"].to_pylist(),
            unit=unit,
            code={
                name: self.codes.setdefault(name, Codes()).add(texts, served.request)
                for name, texts in dimensions.items()
            },
        )

    def _count(self, compared: Compared, place: Place) -> dict[int, Mask]:
        """The masks of all subjects that differ, at their own length."""
        wrong: dict[int, Mask] = {}
        kept: dict[int, Rows] = {}
        first = compared.served.first
        per_request, per_row = (np.zeros(len(rows), bool) for rows in (first, place.request))
        bad_columns, astray_columns = (
            np.logical_or.reduce(mask, axis=0) for mask in (compared.bad_inputs, compared.astray)
        )
        for number, (subject, tally) in enumerate(zip(self.judge.subjects, self.tallies, strict=True)):
            right = per_request if subject.is_per_request else per_row
            if not subject.is_model_column:
                mask = compared.bad.get(subject.feature, right)
            else:
                mask = compared.bad_inputs[:, subject.column] if bad_columns[subject.column] else right
                lost = compared.astray[:, subject.column] if astray_columns[subject.column] else right
                self.astray[number].add(lost, place)
            tally.add(mask, place)
            self.values += len(mask)
            if mask is not right:
                wrong[number] = mask
                seen = lost if subject.is_model_column else mask
                kept[number] = first[np.flatnonzero(seen)] if subject.is_per_request else np.flatnonzero(seen)
        self.pool.add(compared, {number: rows for number, rows in kept.items() if len(rows)})
        return wrong
