"""Finds a logged request by its id, reading one column of the small files and one row group of a large one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from feature_repo.errors import EventDataError, MissingInputError
from ranking_service.serving_log.arrow_columns import TIMESTAMP
from ranking_service.serving_log.counts import WriterRecord, writer_records
from ranking_service.serving_log.places import ClosedSegment, closed_segments
from ranking_service.serving_log.writer import is_sampled

HEAD = pa.schema(
    [
        ("served_id", pa.string()),
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("bundle_version", pa.string()),
        ("received_timestamp", TIMESTAMP),
    ]
)


@dataclass(frozen=True)
class LoggedRequest:
    """A request, and where it is logged."""

    segment: ClosedSegment
    served_id: str
    request_id: str
    user_id: str
    bundle_version: str
    received_timestamp: datetime

    @cached_property
    def request(self) -> pa.Table:
        """Its row of the requests."""
        return _rows(self.segment.requests, self.served_id)

    @cached_property
    def candidates(self) -> pa.Table:
        """Its rows of the candidates, as sent."""
        return _rows(self.segment.candidates, self.served_id).sort_by("position")


@dataclass(frozen=True)
class Wanted:
    """Which request."""

    request_id: str
    served_id: str | None = None
    """One of several of the same id."""
    day: date | None = None
    """UTC day of the request's own time; None looks at all."""
    user_id: str | None = None


def find(folder: Path, wanted: Wanted) -> list[LoggedRequest]:
    """Every logged request of that id, oldest first. Raises MissingInputError that says why there may be none."""
    segments = closed_segments(folder, first=wanted.day, last=wanted.day)
    condition = ds.field("request_id") == wanted.request_id
    if wanted.served_id is not None:
        condition &= ds.field("served_id") == wanted.served_id
    if wanted.user_id is not None:
        condition &= ds.field("user_id") == wanted.user_id
    found = list(_matching(segments, condition))
    if not found:
        raise MissingInputError(_why_absent(folder, wanted, len(segments)))
    return sorted(found, key=lambda request: request.served_id)


def _matching(segments: Sequence[ClosedSegment], condition: ds.Expression) -> Iterator[LoggedRequest]:
    if not segments:
        return
    by_file = {str(segment.requests): segment for segment in segments}
    try:
        files = ds.dataset(list(by_file), schema=HEAD, format="parquet")
        table = files.to_table(columns=[*HEAD.names, "__filename"], filter=condition)
    except (OSError, pa.ArrowInvalid) as error:
        raise EventDataError(f"the serving log is damaged ({error}); move that segment away") from error
    for row in table.to_pylist():
        name = row.pop("__filename")
        yield LoggedRequest(by_file[name], **row)


def _rows(path: Path, served_id: str) -> pa.Table:
    try:
        return pq.read_table(path, filters=[("served_id", "==", served_id)], partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        raise EventDataError(f"{path} is damaged ({error}); move its segment away") from error


def _why_absent(folder: Path, wanted: Wanted, segments: int) -> str:
    records = list(writer_records(folder))
    where = f"{folder} has no request {wanted.request_id!r}"
    share = min((record.sample for record in records), default=1.0)
    if wanted.user_id is not None and not is_sampled(wanted.user_id, share):
        return f"{where}: user {wanted.user_id!r} is not among the {share:.3g} of users that are logged"
    deleted = max((record.deleted_through or "" for record in records), default="")
    if wanted.day is not None and deleted[:10] >= str(wanted.day):
        return f"{where}: of {wanted.day}, segments were deleted by retention ([log] keep_days, keep_bytes)"
    return f"{where} among {segments} segments; {_reasons(records, share, deleted, wanted)}"


def _reasons(records: Sequence[WriterRecord], share: float, deleted: str, wanted: Wanted) -> str:
    """What may have happened to it, as far as the counts tell."""
    gone: dict[str, Any] = {
        "dropped": sum(record.counts.dropped for record in records),
        "lost in crashes": sum(record.lost for record in records),
        "not yet in a closed segment": sum(record.counts.waiting for record in records if not record.closed)
        - sum(record.lost for record in records),
    }
    parts = [f"{count} requests were {what}" for what, count in gone.items() if count]
    if deleted:
        parts.append(f"segments begun until {deleted} were deleted by retention")
    if share < 1 and wanted.user_id is None:
        parts.append(f"only {share:.3g} of users are logged, --user tells whether one is")
    return "; ".join(parts) or "look at the id, and at the folder"
