"""Writes what the model saw to disk, off the request path.

Requests wait in a bounded queue; one thread gathers them into segments. A segment is a pair of files of the
same name, candidates first, then requests, each renamed into place when it is whole. What does not fit in the
queue, or cannot be written, is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ranking_service.contract import Contract
from ranking_service.serving_log.tables import (
    LoggedRanking,
    candidates_table,
    check_names,
    requests_table,
)
from ranking_service.settings_sections import LogSettings

REQUESTS, CANDIDATES = "requests", "candidates"
POLL_SECONDS = 0.2
"""How long the writer may be unaware that it should stop or that a segment is due."""
CLOSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass
class LogCounts:
    """Requests by what became of them. Only `dropped` means loss."""

    written: int = 0
    dropped: int = 0
    unsampled: int = 0


@dataclass
class ServingLog:
    """One contract's log; `offer` may be called from any thread."""

    folder: Path
    contract: Contract
    settings: LogSettings
    counts: LogCounts = field(default_factory=LogCounts)

    def __post_init__(self) -> None:
        self._queue: queue.Queue[LoggedRanking] = queue.Queue(self.settings.queue_requests)
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write_until_stopped, name="serving-log", daemon=True)
        self._segments_begun = 0

    @classmethod
    def start(cls, folder: Path, contract: Contract, settings: LogSettings) -> ServingLog:
        """Make the folders, start the writer. Raises BundleError for features named like its own columns."""
        check_names(contract)
        for name in (REQUESTS, CANDIDATES):
            (folder / name).mkdir(parents=True, exist_ok=True)
        log = cls(folder, contract, settings)
        log._thread.start()
        return log

    def offer(self, logged: LoggedRanking) -> None:
        """Take a ranking, or count why not; returns at once."""
        if not is_sampled(logged.ranking.request.user_id, self.settings.sample):
            self._count(unsampled=1)
            return
        try:
            self._queue.put_nowait(logged)
        except queue.Full:
            self._count(dropped=1)

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> LogCounts:
        """Write what was taken, stop the thread."""
        self._stopping.set()
        self._thread.join(timeout_seconds)
        return self.counts

    def _count(self, *, written: int = 0, dropped: int = 0, unsampled: int = 0) -> None:
        with self._counting:
            self.counts.written += written
            self.counts.dropped += dropped
            self.counts.unsampled += unsampled

    def _write_until_stopped(self) -> None:
        stopping = False
        while not stopping:
            segment = self._gather()
            stopping = self._stopping.is_set() and self._queue.empty()
            if segment:
                self._write(segment)

    def _gather(self) -> list[LoggedRanking]:
        """Wait for a segment's worth of rankings; fewer when its time is up or the log stops."""
        segment: list[LoggedRanking] = []
        due = time.monotonic() + self.settings.segment_seconds
        rows = 0
        while rows < self.settings.segment_candidates and time.monotonic() < due:
            try:
                logged = self._queue.get(timeout=0 if self._stopping.is_set() else POLL_SECONDS)
            except queue.Empty:
                if self._stopping.is_set():
                    break
                continue
            segment.append(logged)
            rows += len(logged.ranking.order)
        return segment

    def _write(self, segment: list[LoggedRanking]) -> None:
        self._segments_begun += 1
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{self._segments_begun:06d}.parquet"
        try:
            _write_whole(candidates_table(segment, self.contract), self.folder / CANDIDATES / name)
            _write_whole(requests_table(segment, self.contract), self.folder / REQUESTS / name)
        except (OSError, pa.ArrowException) as error:
            logger.error("serving log dropped %d requests: %s", len(segment), error)
            self._count(dropped=len(segment))
        else:
            self._count(written=len(segment))


def is_sampled(user_id: str, share: float) -> bool:
    """The same answer for a user every time, in every process."""
    return zlib.crc32(user_id.encode()) < share * 2**32


def _write_whole(table: pa.Table, path: Path) -> None:
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)
