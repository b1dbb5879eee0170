"""Counting a night's inputs part by part, and judging the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.errors import BundleError
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract
from ranking_service.training.baseline.bins import FeatureBins, kinds
from ranking_service.training.baseline.embeddings import with_embeddings
from ranking_service.training.baseline.file import (
    Baseline,
    fingerprint,
    read_baseline,
    read_counts,
    to_bytes,
)
from ranking_service.training.baseline.frozen import Frozen
from ranking_service.training.baseline.population import Population
from ranking_service.training.baseline.rows import RowKeys, hash_texts
from skew_checks.distributions.joint import embedding_drifts, joint_drift
from skew_checks.distributions.judge import PREVIOUS_DAY, TRAINING, UNITS, Judge
from skew_checks.distributions.natural import days
from skew_checks.distributions.nights import EarlierNights
from skew_checks.distributions.paired import Paired
from skew_checks.distributions.part import Part
from skew_checks.distributions.settings import DriftSettings
from skew_checks.result.parts import Status
from skew_checks.result.population import Drift

WEEK = 7


@dataclass
class DriftCounter:
    """Of one bundle. The package's docstring says how it is called."""

    bundle: Bundle
    contract: Contract
    """Features in the order of the matrices that are added."""
    settings: DriftSettings
    baseline: Baseline | None
    """None where the bundle was trained without, or on other features."""
    requests: int = 0
    _population: Population = field(default_factory=lambda: Population(()))
    _paired: Paired = field(default_factory=lambda: Paired(()))
    _notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, bundle: Bundle, contract: Contract, *, settings: DriftSettings | None = None) -> DriftCounter:
        """Reads the bundle's baseline. Raises BundleError for a damaged one."""
        baseline = read_baseline(bundle.path)
        if baseline is not None and not _fits(baseline, contract):
            baseline = None
        bins: tuple[FeatureBins, ...] = baseline.counts.bins if baseline is not None else ()
        return cls(
            bundle,
            contract,
            settings or DriftSettings(),
            baseline,
            _population=Population(bins),
            _paired=Paired(bins[: len(contract.features)]),
        )

    def add(self, part: Part) -> None:
        """Count one part. Raises BundleError where its matrix has other columns than the contract."""
        width = len(self.contract.features)
        if part.model_input.shape[1] != width:
            raise BundleError(
                f"bundle {self.bundle.version} reads {width} features; found a matrix of {part.model_input.shape[1]} "
                "columns; choose a window without it"
            )
        self.requests += len(part.user_id)
        if self.baseline is None or not len(part.model_input):
            return
        keys = RowKeys(
            part.request,
            hash_texts(part.user_id),
            hash_texts(part.item_id),
            part.request_timestamp,
            part.slices,
        )
        counted = part.returned if part.returned is not None else np.ones(len(part.model_input), bool)
        if part.offline_input is not None:
            self._paired.add(part.model_input, part.offline_input, keys, counted)
        rows = np.flatnonzero(counted)
        if len(rows):
            lists = {name: column.take(rows) for name, column in part.embeddings.items()}
            matrix = with_embeddings(part.model_input[rows], lists, self.baseline.dimensions)
            self._population.add(matrix, keys.take(rows))

    def merge(self, other: DriftCounter) -> None:
        """Add the counts of other requests of the same bundle. Raises BundleError for those of another."""
        if self.bundle.version != other.bundle.version:
            raise BundleError(
                f"counts of bundle {other.bundle.version} cannot be added to those of {self.bundle.version}"
            )
        self.requests += other.requests
        self._population.merge(other._population)
        self._paired.merge(other._paired)

    def finish(
        self, *, previous: Path | None = None, earlier: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[Drift, ...]:
        """Everything that could be compared, the good ones included; features in the model's order."""
        self._notes = []
        if self.baseline is None:
            self._note("has no baseline of its training; distributions are not judged: train it again")
            return self._no_baseline()
        judge = Judge(self.settings, EarlierNights(earlier))
        served, training = self._population.frozen(), self.baseline.counts
        if days(training) < WEEK:
            self._note(f"was trained on {days(training)} days: what is usual within a week is not known")
        found = [
            *self._paired.drifts(served, self.settings),
            *judge(served, training, against=TRAINING, training=training),
        ]
        if previous is not None:
            found += self._against_previous(judge, served, previous)
        return (*found, *self._joint(found))

    @property
    def notes(self) -> tuple[str, ...]:
        """What `finish` had to say beside."""
        return tuple(self._notes)

    def write(self, path: Path) -> None:
        """Keep tonight's counts for the next night, whole or not at all; nothing where there is no baseline."""
        if self.baseline is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(to_bytes(self._population.frozen()))
            partial.replace(path)

    def _against_previous(self, judge: Judge, served: Frozen, previous: Path) -> tuple[Drift, ...]:
        assert self.baseline is not None
        if not previous.is_file():
            self._note(
                f"has no counts of the day before at {previous.name}: no comparison of day against day"
            )
            return ()
        try:
            found = read_counts(previous)
        except BundleError as error:
            self._note(f"is not compared with the day before: {error}")
            return ()
        if found is None or fingerprint(found[0].bins) != self.baseline.fingerprint:
            self._note(f"was not what served in {previous.name}: no comparison of day against day")
            return ()
        return judge(served, found[0], against=PREVIOUS_DAY, training=self.baseline.counts)

    def _joint(self, drifts: Sequence[Drift]) -> tuple[Drift, ...]:
        sample = self._population.sample
        if self.baseline is None or sample is None:
            return ()
        together, sentence = joint_drift(sample, self.baseline, drifts, self.settings)
        if sentence:
            self._note(f": {sentence}")
        return (together, *embedding_drifts(sample, self.baseline, drifts, self.settings))

    def _no_baseline(self) -> tuple[Drift, ...]:
        units = (UNITS[kind] for kind in kinds(self.contract))
        return tuple(
            Drift(feature.name, feature.origin, TRAINING, Status.INSUFFICIENT, 0, unit, ())
            for feature, unit in zip(self.contract.features, units, strict=True)
        )

    def _note(self, sentence: str) -> None:
        separator = "" if sentence.startswith(":") else " "
        self._notes.append(f"bundle {self.bundle.version}{separator}{sentence}")


def _fits(baseline: Baseline, contract: Contract) -> bool:
    """Whether the counted columns are the contract's, with its dictionaries."""
    bins = baseline.counts.bins[: len(contract.features)]
    return [(each.feature, each.categories) for each in bins] == [
        (feature.name, feature.categories) for feature in contract.features
    ]
