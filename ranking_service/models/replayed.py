"""The serving log's requests, scored again by any two bundles from the values that were logged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.columns import Column, Columns, Ragged, take
from feature_repo.errors import EventDataError
from feature_repo.frames import column_from_arrow
from ranking_service.assemble import assemble
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract, Field
from ranking_service.models.paired import Paired, joined
from ranking_service.serving_log.places import ClosedSegment, closed_segments

COMPLETE = 0
TIMED_REQUESTS = 100
"""Of each segment, to learn how long scoring takes."""


@dataclass
class _Tally:
    """How often the replay gave exactly the score that was served, by bundle version."""

    same: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    left_out: int = 0

    def notes(self) -> Iterator[str]:
        for version, rows in self.rows.items():
            same = self.same[version]
            yield f"the replay gives exactly the served score for {same:,} of {rows:,} candidates of {version}"
        if self.left_out:
            yield f"{self.left_out:,} requests answered with replaced values (level above 0) are left out"


def paired_by_replay(folder: Path, first: Bundle, second: Bundle, *, sample: int) -> Paired | None:
    """The newest `sample` completely answered requests of the serving log, scored by both; None without any.

    Values the log lacks take their declared defaults, and a note says which. Raises EventDataError for a damaged
    file.
    """
    tally = _Tally()
    parts: list[Paired] = []
    for segment in reversed(closed_segments(folder)):
        part = _segment(segment, (first, second), sample - sum(one.count for one in parts), tally)
        if part is not None:
            parts.insert(0, part)
        if sum(one.count for one in parts) >= sample:
            break
    if not parts:
        return None
    whole = joined(parts)
    return replace(whole, notes=(*whole.notes, *tally.notes()))


def _segment(
    segment: ClosedSegment, bundles: tuple[Bundle, Bundle], room: int, tally: _Tally
) -> Paired | None:
    requests, candidates = _read(segment.requests), _read(segment.candidates)
    complete = requests.filter(pc.equal(requests["level"], COMPLETE))
    tally.left_out += len(requests) - len(complete)
    requests = complete.slice(max(0, len(complete) - room))
    place = pc.index_in(candidates["served_id"], requests["served_id"].combine_chunks()).combine_chunks()
    candidates = candidates.filter(place.is_valid())
    if not len(candidates):
        return None
    of_row = place.drop_null().to_numpy().astype(np.int64)
    starts = np.append(np.flatnonzero(np.diff(of_row, prepend=-1)), len(of_row)).astype(np.int64)
    requests = requests.take(pa.array(of_row[starts[:-1]]))
    of_row = np.repeat(np.arange(len(requests)), np.diff(starts))
    scored = [_Scored.of(bundle, requests, candidates, of_row) for bundle in bundles]
    by_version = {bundle.version: (bundle, one) for bundle, one in zip(bundles, scored, strict=True)}
    for bundle, one in by_version.values():
        _tally_served(tally, bundle.version, requests, candidates, one.scores, of_row)
    return Paired(
        versions=(bundles[0].version, bundles[1].version),
        source="replay of the serving log",
        starts=starts,
        requests=_ids(requests),
        item_ids=candidates["item_id"],
        scores=(scored[0].scores.astype(np.float64), scored[1].scores.astype(np.float64)),
        micros=(scored[0].micros(starts), scored[1].micros(starts)),
        label=np.full(len(candidates), np.nan),
        notes=tuple(dict.fromkeys(note for one in scored for note in one.notes)),
    )


@dataclass(frozen=True)
class _Scored:
    """One bundle on one segment."""

    bundle: Bundle
    model_input: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, bundle: Bundle, requests: pa.Table, candidates: pa.Table, of_row: npt.NDArray[np.int64]
    ) -> _Scored:
        columns, lacking = logged_columns(bundle.contract, requests, candidates, of_row)
        model_input = assemble(columns, bundle.contract)
        notes = (
            (f"the log lacks {', '.join(lacking)}, which {bundle.version} reads: defaults took their place",)
            if lacking
            else ()
        )
        return cls(bundle, model_input, bundle.booster.inplace_predict(model_input), notes)

    def micros(self, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Microseconds to score a request by itself, float64 [requests]; NaN for all but some."""
        taken = np.full(len(starts) - 1, np.nan)
        for request in range(min(TIMED_REQUESTS, len(taken))):
            rows = self.model_input[starts[request] : starts[request + 1]]
            began = time.perf_counter_ns()
            self.bundle.booster.inplace_predict(rows)
            taken[request] = (time.perf_counter_ns() - began) / 1000
        return taken


def logged_columns(
    contract: Contract, requests: pa.Table, candidates: pa.Table, of_row: npt.NDArray[np.int64]
) -> tuple[Columns, tuple[str, ...]]:
    """What `contract` reads, as logged, at the candidates' length, and the names that the log lacks.

    `of_row` is the request of each candidate. What is lacking is missing everywhere.
    """
    columns: dict[str, Column] = {}
    lacking: list[str] = []
    for name, declared in contract.raw_fields.items():
        if name in candidates.column_names:
            columns[name] = column_from_arrow(candidates[name])
        elif name in requests.column_names:
            columns[name] = take(column_from_arrow(requests[name]), of_row)
        else:
            columns[name] = _missing(declared, len(of_row))
            lacking.append(name)
    return columns, tuple(lacking)


def _missing(declared: Field, count: int) -> Column:
    if declared.is_list:
        return Ragged.from_lists([()] * count)
    return np.full(count, None, object) if declared.is_text else np.full(count, np.nan)


def _tally_served(
    tally: _Tally,
    version: str,
    requests: pa.Table,
    candidates: pa.Table,
    scores: npt.NDArray[np.float32],
    of_row: npt.NDArray[np.int64],
) -> None:
    mine = pc.equal(requests["bundle_version"], version).to_numpy()[of_row]
    if not mine.any():
        return
    served = candidates["score"].to_numpy().astype(np.float32)
    tally.rows[version] = tally.rows.get(version, 0) + int(mine.sum())
    tally.same[version] = tally.same.get(version, 0) + int((served == scores)[mine].sum())


def _ids(requests: pa.Table) -> pa.Table:
    """What a comparison needs of the requests; a log without surface or device has unknown ones."""
    columns = {name: requests[name] for name in ("request_id", "user_id")}
    for name in ("surface", "device"):
        known = name in requests.column_names
        columns[name] = requests[name] if known else pa.nulls(len(requests), pa.string())
    return pa.table(columns)


def _read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=list(columns) if columns else None)
    except (OSError, pa.ArrowException) as error:
        raise EventDataError(f"{path} is damaged ({error}); move its folder away") from error
    return table
