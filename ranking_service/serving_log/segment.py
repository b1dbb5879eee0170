"""One segment while it is being written: two parquet files that appear together when they are whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ranking_service.contract import Contract
from ranking_service.serving_log.places import CANDIDATES_FILE, REQUESTS_FILE
from ranking_service.serving_log.tables import LoggedRanking, candidates_table, requests_table

FORMAT = {"compression": "lz4", "store_schema": False}
"""Chosen by measurement: numbers go plainly into LZ4. Dictionaries and zstd would halve the size again, for twice the
time, which is the time of the processor that answers requests."""


@dataclass
class ParquetFile:
    """A parquet file that grows by row groups."""

    path: Path
    _file: pa.NativeFile | None = None
    _writer: pq.ParquetWriter | None = None

    def append(self, table: pa.Table) -> None:
        """A row group. Raises OSError."""
        if self._writer is None:
            self._file = pa.OSFile(str(self.path), "wb")
            texts = [entry.name for entry in table.schema if not pa.types.is_floating(entry.type)]
            self._writer = pq.ParquetWriter(self._file, table.schema, use_dictionary=texts, **FORMAT)
        self._writer.write_table(table, row_group_size=max(len(table), 1))

    @property
    def size(self) -> int:
        """Bytes so far."""
        return int(self._file.tell()) if self._file is not None else 0

    def close(self) -> None:
        """The footer, and everything on the disk. Raises OSError."""
        assert self._writer is not None, "a segment is begun with its first requests"
        assert self._file is not None, "a segment is begun with its first requests"
        self._writer.close()
        self._file.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Close without a footer."""
        if self._writer is not None:
            self._writer.is_open = False  # else it tries to write the footer when it is collected
        if self._file is not None:
            self._file.close()


@dataclass
class OpenSegment:
    """Requests of one contract and one day."""

    folder: Path
    """In which it is written."""
    target: Path
    """Where the folder appears when it is whole."""
    contract: Contract
    written: int = 0
    """Requests in it."""
    _requests: ParquetFile = field(init=False)
    _candidates: ParquetFile = field(init=False)

    def __post_init__(self) -> None:
        self._requests = ParquetFile(self.folder / REQUESTS_FILE)
        self._candidates = ParquetFile(self.folder / CANDIDATES_FILE)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._requests.size + self._candidates.size

    def append(self, logged: Sequence[LoggedRanking]) -> None:
        """Raises OSError or pa.ArrowException; then the segment is lost and must be discarded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.written += len(logged)
        for group in _by_reading(logged):
            self._candidates.append(candidates_table(group, self.contract))
            self._requests.append(requests_table(group, self.contract))

    def close(self) -> None:
        """Raises OSError; then the segment is lost and must be discarded."""
        self._candidates.close()
        self._requests.close()
        with suppress(FileNotFoundError):
            self.folder.rename(self.target)
            return
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.folder.rename(self.target)

    def discard(self) -> None:
        """Give its space back."""
        self._candidates.abandon()
        self._requests.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)


def _by_reading(logged: Sequence[LoggedRanking]) -> Iterator[list[LoggedRanking]]:
    """Rankings that had rows, and those without any, which are cheap to write by themselves."""
    for is_unread in (False, True):
        group = [entry for entry in logged if entry.ranking.fetched.is_unread is is_unread]
        if group:
            yield group
