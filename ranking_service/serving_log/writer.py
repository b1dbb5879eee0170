"""Writes what the model saw to disk, off the request path.

Requests wait in a bounded queue; one thread per process gathers them into segments, one for each contract and day.
A segment is a folder with two files that appears when both are whole. What does not fit in the queue, or cannot be
written, is dropped and counted. Any number of processes may write to one folder.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ranking_service.serving_log.counts import LogCounts, WriterRecord
from ranking_service.serving_log.crashes import Alive, clear_crashed
from ranking_service.serving_log.places import writing_folder
from ranking_service.serving_log.retention import Retention
from ranking_service.serving_log.segments import Segments
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.settings_sections import LogSettings

POLL_SECONDS = 0.05
"""How often the thread looks; requests do not wake it, which would cost each of them a switch of threads."""
COUNT_SECONDS = 1.0
"""How old the counts on disk may be."""
CLOSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass
class ServingLog:
    """`offer` may be called from any thread."""

    folder: Path
    settings: LogSettings
    clock: Callable[[], float] = time.time
    """Unix seconds; names the segments, and retention counts by it."""
    counts: LogCounts = field(default_factory=LogCounts)

    def __post_init__(self) -> None:
        host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())
        self.writer = f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
        self._queue: deque[LoggedRanking] = deque()
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write_until_stopped, name="serving-log", daemon=True)
        place = writing_folder(self.folder, self.writer)
        self._segments = Segments(self.folder, place, self.writer, self.settings)
        self._retention = Retention(self.folder, place, self.settings.keep_days, self.settings.keep_bytes)
        self._started = self._now()
        self._recorded = 0.0
        self._last: WriterRecord | None = None
        self._alive: Alive | None = None
        self._has_ended = False

    @classmethod
    def start(cls, folder: Path, settings: LogSettings, clock: Callable[[], float] = time.time) -> ServingLog:
        """Report and clear away what dead writers left, then start a writer. Raises OSError."""
        log = cls(folder, settings, clock)
        for record in clear_crashed(folder):
            log.counts.crashed_writers += 1
            logger.warning(
                "serving log: writer %s died without closing the log; its open segment is gone, with %d requests "
                "it had counted by %s",
                record.writer,
                record.lost,
                record.updated or "an unknown time",
            )
        log._alive = Alive.announce(folder, log.writer)
        log._record(closed=False)
        log._thread.start()
        return log

    def offer(self, logged: LoggedRanking) -> None:
        """Take a ranking, or count why not; returns at once."""
        sampled = is_sampled(logged.ranking.request.user_id, self.settings.sample)
        with self._counting:
            self.counts.offered += 1
            if not sampled:
                self.counts.unsampled += 1
            elif self._has_ended or len(self._queue) >= self.settings.queue_requests:
                self.counts.dropped += 1
            else:
                self._queue.append(logged)

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> LogCounts:
        """Write what was taken, stop the thread."""
        self._stopping.set()
        self._thread.join(timeout_seconds)
        return self.counts

    def _write_until_stopped(self) -> None:
        self._retain()
        is_last = False
        while not is_last:
            stopping = self._stopping.is_set()  # before the queue is emptied: what came before is written
            while self._queue and not self._segments.is_full:
                self._segments.take(self._queue.popleft())
            is_last = stopping and not self._queue
            outcome = self._segments.write(self.clock(), everything=is_last)
            with self._counting:
                self.counts.written += outcome.written
                self.counts.dropped += outcome.dropped
            if outcome.written:
                self._retain()
            if time.monotonic() - self._recorded >= COUNT_SECONDS:
                self._record(closed=False)
            if not self._queue and not is_last:
                self._stopping.wait(POLL_SECONDS)
        self._end()

    def _end(self) -> None:
        with self._counting:
            self._has_ended = True
            self.counts.dropped += len(self._queue)
            self._queue.clear()
        self._record(closed=True)
        shutil.rmtree(writing_folder(self.folder, self.writer), ignore_errors=True)
        if self._alive is not None:
            self._alive.end()

    def _retain(self) -> None:
        try:
            self._retention.apply(self.clock())
        except OSError as error:
            logger.warning("serving log cannot delete old segments: %s", error)
        with self._counting:
            self.counts.deleted_segments = self._retention.deleted.segments
            self.counts.deleted_bytes = self._retention.deleted.size

    def _record(self, *, closed: bool) -> None:
        """A disk that is full keeps the record before; the next one says it all."""
        self._recorded = time.monotonic()
        through = self._retention.deleted.through
        with self._counting:
            counts = replace(self.counts)
        record = WriterRecord(
            writer=self.writer,
            started=self._started,
            updated=self._now(),
            closed=closed,
            sample=self.settings.sample,
            counts=counts,
            deleted_through=through.isoformat() if through else None,
        )
        if self._last is not None and record == replace(self._last, updated=record.updated):
            return
        with suppress(OSError):
            record.write(self.folder)
            self._last = record

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="seconds")


def is_sampled(user_id: str, share: float) -> bool:
    """The same answer for a user every time, in every process."""
    return zlib.crc32(user_id.encode()) < share * 2**32
