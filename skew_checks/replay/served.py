"""The serving log as a check reads it: the chosen requests, and what the model saw for their candidates.

A request is judged once: log rows that repeat another one (same `served_id`; for candidates also the same position)
are counted and left out. None but the first counts, oldest segment first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.errors import EventDataError
from ranking_service.serving_log.places import ClosedSegment, closed_segments
from ranking_service.serving_log.tables import MODEL_PREFIX
from skew_checks.replay.log_losses import dropped_requests, lost_segments
from skew_checks.result.parts import Window

COMPLETE = 0
"""Level of an answer made from the features as stored; others replace values on purpose."""
HEAD = (
    "served_id",
    "request_id",
    "user_id",
    "bundle_version",
    "level",
    "received_timestamp",
    "request_timestamp",
    "candidate_count",
)


@dataclass(frozen=True)
class Segment:
    """The chosen requests of one bundle in one of the log's segments."""

    files: ClosedSegment
    bundle_version: str
    head: pa.Table
    """A row per chosen request: the columns HEAD."""

    def requests(self) -> pa.Table:
        """All the log has of the chosen requests, in the head's order."""
        table = _read(self.files.requests, groups_of=self.head["served_id"])
        return table.take(pc.index_in(self.head["served_id"], table["served_id"].combine_chunks()))

    def candidates(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of the chosen requests' candidates, as logged."""
        table = _read(self.files.candidates, columns, groups_of=self.head["served_id"])
        return table.filter(pc.is_in(table["served_id"], self.head["served_id"].combine_chunks()))

    def keys(self, request_fields: Iterable[str]) -> pa.Table:
        """A row per candidate: user_id, item_id and the request fields, as the training join wants them."""
        candidates = self.candidates(["served_id", "item_id"])
        requests = self.requests()
        per_row = requests.select(["user_id", *request_fields]).take(_request_of(candidates, requests))
        return per_row.add_column(1, "item_id", candidates["item_id"])

    def read(self) -> Served:
        """Everything that was logged of them."""
        requests, candidates = self.requests(), self.candidates()
        return Served(requests, candidates, _request_of(candidates, requests).to_numpy())


@dataclass(frozen=True)
class Served:
    """A segment in memory."""

    requests: pa.Table
    candidates: pa.Table
    request: npt.NDArray[np.int64]
    """int64 [candidates]: row of each candidate's request in `requests`."""

    replica: npt.NDArray[np.object_] = field(default_factory=lambda: np.empty(0, object))
    """Text [requests]: the server process that logged each."""
    repeated: int = 0
    """Candidate rows left out because they repeat another one."""

    @cached_property
    def first(self) -> npt.NDArray[np.int64]:
        """int64 [requests]: row of each request's first candidate."""
        return np.unique(self.request, return_index=True)[1].astype(np.int64)

    @cached_property
    def model_input(self) -> npt.NDArray[np.float32]:
        """The matrix the booster read, float32 [candidates, features]; columns by position, not by name.

        The log names a column by the plan that served. The booster knows positions only, so a plan in another
        order than the booster's shows as wrong values under the booster's names.
        """
        names = [name for name in self.candidates.column_names if name.startswith(MODEL_PREFIX)]
        matrix = np.empty((len(self.candidates), len(names)), np.float32)
        for position, name in enumerate(names):
            matrix[:, position] = self.candidates[name].to_numpy()
        return matrix

    def rows(self, chosen: npt.NDArray[np.int64]) -> pa.Table:
        """Candidate and request columns of some candidates side by side."""
        table = self.candidates.take(pa.array(chosen))
        of_request = self.requests.take(pa.array(self.request[chosen]))
        for name in of_request.column_names:
            if name not in table.column_names:
                table = table.append_column(name, of_request[name])
        return table


@dataclass(frozen=True)
class Log:
    """What a check takes from the serving log."""

    segments: tuple[Segment, ...]
    """Oldest first."""
    degraded: int
    """Requests in the window that were answered with replaced values, and so are not judged."""
    lost_segments: int
    """Open segments that were lost because their writer died."""

    duplicates: int = 0
    """Rows of requests that repeat another one, and of such requests' candidates."""
    dropped: int = 0
    """Requests of the window that writers had to drop, as far as they could count."""

    @property
    def requests(self) -> int:
        return sum(len(segment.head) for segment in self.segments)

    def of_bundle(self, version: str) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.bundle_version == version)

    def versions(self) -> dict[str, int]:
        """Requests by bundle, oldest bundle first."""
        counts: dict[str, int] = {}
        for segment in self.segments:
            counts[segment.bundle_version] = counts.get(segment.bundle_version, 0) + len(segment.head)
        return counts


def read_log(folder: Path, window: Window, *, request: str | None = None) -> Log:
    """The window's requests; an absent log is an empty one. Raises EventDataError for a damaged file.

    `request` keeps only the requests of that id, `request_id` or `served_id`.
    """
    segments: list[Segment] = []
    degraded = duplicates = 0
    seen: set[str] = set()
    for files in closed_segments(folder, first=_day(window.start), last=_day(window.end)):
        head = _of_request(_in_window(_read(files.requests, HEAD), window), request)
        head, repeated = _new(head, seen)
        duplicates += repeated
        complete = pc.equal(head["level"], COMPLETE)
        degraded += len(head) - pc.sum(complete).as_py() if len(head) else 0
        head = head.filter(complete)
        for version in pc.unique(head["bundle_version"]).to_pylist():
            mine = head.filter(pc.equal(head["bundle_version"], version))
            segments.append(Segment(files, version, mine))
    chosen = _sampled(segments, window.sample)
    writers = {segment.files.writer for segment in segments}
    written = sum(len(segment.head) for segment in chosen) + degraded
    dropped = dropped_requests(folder, window, writers, written=written)
    return Log(chosen, degraded, lost_segments(folder, window), duplicates, dropped)


def _of_request(head: pa.Table, request: str | None) -> pa.Table:
    if request is None:
        return head
    return head.filter(pc.or_(pc.equal(head["request_id"], request), pc.equal(head["served_id"], request)))


def _new(head: pa.Table, seen: set[str]) -> tuple[pa.Table, int]:
    """The requests not yet seen, and how many log rows the others have: theirs, and their candidates' if the
    candidates are in another file than those of the first. Different requests of one id in one file are all left
    out: nobody knows whose the candidates are.
    """
    ids = head["served_id"].to_pylist()
    elsewhere = np.fromiter((served_id in seen for served_id in ids), bool, len(ids))
    first = np.zeros(len(ids), bool)
    first[np.unique(np.array(ids, object), return_index=True)[1]] = True
    seen.update(ids)
    fresh = first & ~elsewhere & ~_collided(head)
    if fresh.all():
        return head, 0
    counts = head["candidate_count"].fill_null(0).to_numpy()
    whole = elsewhere & first | ~fresh & _collided(head)
    return head.filter(pa.array(fresh)), int((~fresh).sum() + counts[whole].sum())


def _collided(head: pa.Table) -> npt.NDArray[np.bool_]:
    """bool [requests]: where different requests bear one `served_id`."""
    requests = head.group_by("served_id").aggregate([("request_id", "count_distinct")])
    many = requests.filter(pc.greater(requests["request_id_count_distinct"], 1))["served_id"]
    return np.asarray(pc.is_in(head["served_id"], many.combine_chunks()).to_numpy(), bool)


def _day(instant: datetime | None) -> date | None:
    """The UTC day whose folder holds requests of that instant."""
    return None if instant is None else instant.astimezone(UTC).date()


def _in_window(head: pa.Table, window: Window) -> pa.Table:
    seconds = head["request_timestamp"]
    if window.start is not None:
        head = head.filter(pc.greater_equal(seconds, window.start.timestamp()))
        seconds = head["request_timestamp"]
    return head if window.end is None else head.filter(pc.less(seconds, window.end.timestamp()))


def _sampled(segments: list[Segment], sample: int | None) -> tuple[Segment, ...]:
    """The requests with the smallest hashes: the same every time, and in every larger sample too."""
    ids = [served_id for segment in segments for served_id in segment.head["served_id"].to_pylist()]
    if sample is None or sample >= len(ids):
        return tuple(segments)
    hashes = np.array([zlib.crc32(served_id.encode()) for served_id in ids])
    kept = np.zeros(len(ids), bool)
    kept[np.argsort(hashes, kind="stable")[:sample]] = True
    ends = np.cumsum([len(segment.head) for segment in segments])
    masks = np.split(kept, ends[:-1])
    pairs = zip(segments, masks, strict=True)
    return tuple(replace(part, head=part.head.filter(pa.array(mask))) for part, mask in pairs if mask.any())


def _request_of(candidates: pa.Table, requests: pa.Table) -> pa.Array:
    places = pc.index_in(candidates["served_id"], requests["served_id"].combine_chunks())
    return places.combine_chunks().cast(pa.int64())


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Around a read of the log: a damaged file is an EventDataError that names it."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise EventDataError(f"{path} is damaged ({error}); move its segment away") from error


def _read(
    path: Path, columns: Sequence[str] | None = None, *, groups_of: pa.ChunkedArray | None = None
) -> pa.Table:
    """Some columns or all; only the row groups that hold any of these served ids, if they are given."""
    with damage_named(path), pq.ParquetFile(path) as file:
        absent = sorted(set(columns or ()) - set(file.schema_arrow.names))
        if absent:
            raise EventDataError(f"{path} is no serving log: it lacks {', '.join(absent)}; move it away")
        chosen = list(columns) if columns else None
        if groups_of is None or file.metadata.num_row_groups == 1:
            return file.read(columns=chosen)
        return file.read_row_groups(_holding(file, groups_of.combine_chunks()), columns=chosen)


def _holding(file: pq.ParquetFile, served_ids: pa.Array) -> list[int]:
    """Row groups with any of the ids."""
    ids = file.read(columns=["served_id"])["served_id"]
    ends = np.cumsum(
        [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    )
    rows = np.flatnonzero(pc.is_in(ids, served_ids).to_numpy())
    return [int(group) for group in np.unique(np.searchsorted(ends, rows, side="right"))]
