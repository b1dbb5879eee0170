"""The chosen requests of a log in parts that fit into memory, whatever the size and number of its segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skew_checks.replay.served import Segment, Served, damage_named

PART_ROWS = 65_536
"""Candidate rows of a part, about: requests stay whole."""


@dataclass
class _Gathered:
    """Requests and candidates of one or more segments, until they are enough for a part."""

    requests: list[pa.Table] = field(default_factory=list)
    candidates: list[pa.Table] = field(default_factory=list)
    replicas: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(len(table) for table in self.candidates)

    def is_unlike(self, requests: pa.Table, candidates: pa.Table) -> bool:
        """Whether these have other columns than what was gathered, or others' order."""
        return bool(self.requests) and (
            self.requests[0].column_names != requests.column_names
            or self.candidates[0].column_names != candidates.column_names
        )

    def part(self) -> Served:
        requests = pa.concat_tables(self.requests, promote_options="default")
        candidates = pa.concat_tables(self.candidates, promote_options="default")
        lengths = [len(table) for table in self.requests]
        replica = np.repeat(np.array(self.replicas, object), lengths)
        return served_of(requests, candidates, replica)


def served_parts(segments: Iterable[Segment], rows: int = PART_ROWS) -> Iterator[Served]:
    """The requests of segments of one bundle, in order; small segments are put together, large ones cut."""
    gathered = _Gathered()
    for segment in segments:
        for requests, candidates in _pieces(segment, rows):
            if gathered.is_unlike(requests, candidates):
                yield gathered.part()
                gathered = _Gathered()
            gathered.requests.append(requests)
            gathered.candidates.append(candidates)
            gathered.replicas.append(segment.files.writer)
            if gathered.rows >= rows:
                yield gathered.part()
                gathered = _Gathered()
    if gathered.requests:
        yield gathered.part()


def served_of(requests: pa.Table, candidates: pa.Table, replica: npt.NDArray[np.object_]) -> Served:
    """A part, without the candidate rows that repeat another one of the same request and position."""
    found = pc.index_in(candidates["served_id"], requests["served_id"].combine_chunks())
    request = found.combine_chunks().cast(pa.int64()).to_numpy()
    places = request * (2**32) + candidates["position"].to_numpy()
    first = np.sort(np.unique(places, return_index=True)[1])
    repeated = len(places) - len(first)
    if repeated:
        candidates, request = candidates.take(pa.array(first)), request[first]
    return Served(requests, candidates, request, replica, repeated)


def _pieces(segment: Segment, rows: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Some requests of the segment and all their candidates, about `rows` at a time."""
    requests = segment.requests()
    chosen = segment.head["served_id"].combine_chunks()
    held: pa.Table | None = None
    with damage_named(segment.files.candidates), pq.ParquetFile(segment.files.candidates) as file:
        groups = list(_row_groups(file.metadata, rows))
        for number, wanted in enumerate(groups):
            table = file.read_row_groups(wanted)
            table = table.filter(pc.is_in(table["served_id"], chosen))
            table = table if held is None else pa.concat_tables([held, table])
            held = None
            if number < len(groups) - 1 and len(table):
                split = _start_of_last(table)
                table, held = table.slice(0, split), table.slice(split)
            if len(table):
                mine = pc.is_in(requests["served_id"], table["served_id"].combine_chunks())
                yield requests.filter(mine), table


def _start_of_last(candidates: pa.Table) -> int:
    """Row at which the last request begins: a row group may end in the middle of it."""
    ids = candidates["served_id"]
    others = np.flatnonzero(~pc.equal(ids, ids[-1]).to_numpy(zero_copy_only=False))
    return int(others[-1]) + 1 if len(others) else 0


def _row_groups(metadata: pq.FileMetaData, rows: int) -> Iterator[list[int]]:
    """Neighbouring row groups, as many at a time as have `rows` rows together."""
    wanted: list[int] = []
    count = 0
    for group in range(metadata.num_row_groups):
        wanted.append(group)
        count += metadata.row_group(group).num_rows
        if count >= rows:
            yield wanted
            wanted, count = [], 0
    if wanted:
        yield wanted
