"""Counting what differs, feature by feature, over the parts of a replay."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.columns import Columns, take
from feature_repo.errors import EventDataError
from feature_repo.frames import columns_from_table
from ranking_service.assemble import assemble
from ranking_service.contract import Contract, ViewPlan
from ranking_service.training_join import KEYS
from skew_checks.compare import Mask, differ, model_tolerance, stored_tolerance
from skew_checks.replay import Replayed
from skew_checks.served import Served
from skew_checks.verdict import Kind

WITNESSES = 64
"""Rows with a mismatch that are kept per feature, to look at what they have in common."""
USER, PAIR = ("user_id",), ("user_id", "item_id")

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """One of the two comparisons of one feature."""

    feature: str
    kind: Kind
    view: str
    keyed_by: tuple[str, ...]
    """Join keys of its view; both ids for what is computed at request time."""
    relative: float

    @property
    def is_once_per_request(self) -> bool:
        """The log holds a user's stored values once per request, so they are compared once."""
        return self.kind is Kind.RAW and self.keyed_by == USER


@dataclass
class Tally:
    """How often one subject differed."""

    subject: Subject
    entity_of_row: Rows
    """int64 [joined rows]: number of the user, item or pair of each row."""
    rows: int = 0
    mismatches: int = 0
    _hit: Mask = field(default_factory=lambda: np.zeros(0, bool))
    _witnesses: int = 0

    def add(self, rows: Rows, bad: Mask) -> Rows:
        """Count the comparison of some joined `rows`; those of them that are worth keeping as witnesses."""
        self.rows += len(rows)
        found = rows[bad]
        if not len(found):
            return found
        self.mismatches += len(found)
        if not len(self._hit):
            self._hit = np.zeros(int(self.entity_of_row.max()) + 1, bool)
        self._hit[self.entity_of_row[found]] = True
        kept = found[: WITNESSES - self._witnesses]
        self._witnesses += len(kept)
        return kept

    @property
    def entities(self) -> int:
        return int(self._hit.sum())


@dataclass(frozen=True)
class Witnesses:
    """Rows of which at least one feature differs, as served and as joined, side by side."""

    rows: Rows
    """Row of each in the replay's `joined`."""
    served: pa.Table
    """Request and candidate columns of the log."""
    model_input: npt.NDArray[np.float32]
    """As served, by position."""


@dataclass
class Count:
    """Every tally of one bundle's replay, and the witnesses."""

    replayed: Replayed
    tallies: list[Tally]
    values: int = 0
    _kept: list[Witnesses] = field(default_factory=list)

    @classmethod
    def of(cls, replayed: Replayed) -> Count:
        """Compare all parts."""
        numbers = entity_numbers(replayed.joined)
        subjects = [*_stored_subjects(replayed), *_model_subjects(replayed.contract)]
        count = cls(replayed, [Tally(subject, numbers[subject.keyed_by]) for subject in subjects])
        for served, start in replayed.parts():
            count.add(served, start)
        return count

    def add(self, served: Served, start: int) -> None:
        """Compare one part, whose rows begin at `start` in `joined`. Raises EventDataError if it does not fit."""
        self._check(served)
        joined = self.replayed.joined.slice(start, len(served.request))
        offline = columns_from_table(joined)
        logged = self._logged(served)
        expected = assemble(offline, self.replayed.contract)
        tolerances = np.array([model_tolerance(feature) for feature in self.replayed.contract.features])
        bad_inputs = differ(served.model_input, expected, tolerances)
        positions = {feature.name: index for index, feature in enumerate(self.replayed.contract.features)}
        kept: list[Rows] = []
        for tally in self.tallies:
            name, everything = tally.subject.feature, np.arange(len(served.request))
            rows = served.first if tally.subject.is_once_per_request else everything
            if tally.subject.kind is Kind.MODEL:
                bad = bad_inputs[:, positions[name]]
            else:
                bad = differ(logged[name], take(offline[name], rows), tally.subject.relative)
            kept.append(tally.add(start + rows, bad))
            self.values += len(rows)
        self._keep(served, np.unique(np.concatenate(kept)) - start, start)

    def witnesses(self) -> Witnesses | None:
        """None when nothing differs."""
        if not self._kept:
            return None
        return Witnesses(
            np.concatenate([part.rows for part in self._kept]),
            pa.concat_tables([part.served for part in self._kept], promote_options="default"),
            np.concatenate([part.model_input for part in self._kept]),
        )

    def _logged(self, served: Served) -> Columns:
        """Stored values of users at the requests' length, all others at the candidates'."""
        names = {tally.subject.feature for tally in self.tallies if tally.subject.kind is Kind.RAW}
        tables = (served.candidates, served.requests)
        chosen = (table.select([name for name in table.column_names if name in names]) for table in tables)
        return {name: column for table in chosen for name, column in columns_from_table(table).items()}

    def _check(self, served: Served) -> None:
        """The log must have what the bundle's plan reads and one model column for each of the booster's."""
        bundle, expected = self.replayed.bundle.version, len(self.replayed.contract.features)
        names = {*served.candidates.column_names, *served.requests.column_names}
        wanted = {tally.subject.feature for tally in self.tallies if tally.subject.kind is Kind.RAW}
        absent = sorted(wanted - names)
        if absent or served.model_input.shape[1] != expected or len(served.first) != len(served.requests):
            raise EventDataError(
                f"the serving log of bundle {bundle} does not fit it: it has {served.model_input.shape[1]} "
                f"model columns, expected {expected}; candidates for {len(served.first)} of {len(served.requests)} "
                f"requests; lacks {', '.join(absent) or 'no feature'}; choose a window without it"
            )

    def _keep(self, served: Served, rows: Rows, start: int) -> None:
        if len(rows):
            self._kept.append(Witnesses(rows + start, served.rows(rows), served.model_input[rows]))


def entity_numbers(joined: pa.Table) -> dict[tuple[str, ...], Rows]:
    """A number per user, per item and per pair for each row, by (sorted) join keys."""
    user, item = (joined[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in KEYS)
    pair = np.unique(user.astype(np.int64) * (int(item.max()) + 1) + item, return_inverse=True)[1]
    return {("user_id",): user, ("item_id",): item, PAIR: pair}


def _stored_subjects(replayed: Replayed) -> list[Subject]:
    """Every registered stored feature that the bundle's plan reads, and that the log therefore has."""
    logged = {field.name for view in replayed.bundle.contract.views for field in view.fields}
    return [
        Subject(field.name, Kind.RAW, view.name, _keyed_by(view), stored_tolerance(field))
        for view in replayed.contract.views
        for field in view.fields
        if field.name in logged
    ]


def _keyed_by(view: ViewPlan) -> tuple[str, ...]:
    """Pairs in one order, whatever the view's is."""
    return view.join_keys if len(view.join_keys) == 1 else PAIR


def _model_subjects(contract: Contract) -> list[Subject]:
    keyed_by = {view.name: _keyed_by(view) for view in contract.views}
    return [
        Subject(
            feature.name,
            Kind.MODEL,
            feature.origin,
            keyed_by.get(feature.origin, PAIR),
            model_tolerance(feature),
        )
        for feature in contract.features
    ]
