"""What one writer has open: requests that wait for a row group, and a segment for each contract and day."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from ranking_service.serving_log.places import day_folder, segment_name
from ranking_service.serving_log.segment import OpenSegment
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.settings_sections import LogSettings

MOST_OPEN = 8
"""Requests of many days or bundles at a time (replays) close the oldest segment early."""
UNWRITABLE = (OSError, pa.ArrowException, ValueError, TypeError, LookupError)
"""A disk that is full or gone, and values that are not what their contract says."""
Key = tuple[int, str, str]
"""Contract (its identity: the segment keeps it alive), bundle, day."""

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What became of requests in one step."""

    written: int = 0
    dropped: int = 0


@dataclass
class Segments:
    """Used by one thread."""

    folder: Path
    place: Path
    """Where segments are written."""
    writer: str
    settings: LogSettings
    _pending: list[LoggedRanking] = field(default_factory=list)
    _rows: int = 0
    _open: dict[Key, OpenSegment] = field(default_factory=dict)
    _since: float | None = None
    """Monotonic time of the oldest request not yet in a closed segment."""
    _begun: int = 0
    _lost: int | None = None
    """Requests dropped since writing failed; None while it works."""

    @property
    def is_full(self) -> bool:
        """Whether a row group's worth of requests waits."""
        return self._rows >= self.settings.batch_candidates

    def take(self, logged: LoggedRanking) -> None:
        """Keep a request until its row group is written."""
        self._pending.append(logged)
        self._rows += len(logged.ranking.order)
        if self._since is None:
            self._since = time.monotonic()

    def write(self, now: float, *, everything: bool = False) -> Outcome:
        """Write a row group that is full, close segments that are large or old enough, or all of them.

        `now` in Unix seconds names the segments that are begun.
        """
        outcome = Outcome()
        is_due = everything or self._is_old
        if self.is_full or is_due:
            self._append_pending(now, outcome)
        for key, segment in list(self._open.items()):
            if is_due or segment.size >= self.settings.segment_bytes:
                self._close(key, outcome)
        if is_due:
            self._since = None
        return outcome

    @property
    def _is_old(self) -> bool:
        return self._since is not None and time.monotonic() - self._since >= self.settings.segment_seconds

    def _append_pending(self, now: float, outcome: Outcome) -> None:
        groups: dict[Key, list[LoggedRanking]] = defaultdict(list)
        for logged in self._pending:
            groups[(id(logged.contract), logged.ranking.bundle_version, logged.day)].append(logged)
        self._pending, self._rows = [], 0
        for key, group in groups.items():
            while key not in self._open and len(self._open) >= MOST_OPEN:
                self._close(next(iter(self._open)), outcome)
            self._append(key, group, now, outcome)

    def _append(self, key: Key, group: Sequence[LoggedRanking], now: float, outcome: Outcome) -> None:
        if key not in self._open:
            self._begun += 1
            name = segment_name(now, self.writer, self._begun)
            target = day_folder(self.folder, group[0].day) / name
            self._open[key] = OpenSegment(self.place / name, target, group[0].contract)
        try:
            self._open[key].append(group)
        except UNWRITABLE as error:
            self._drop(key, error, outcome)

    def _close(self, key: Key, outcome: Outcome) -> None:
        segment = self._open[key]
        try:
            segment.close()
        except UNWRITABLE as error:
            self._drop(key, error, outcome)
            return
        del self._open[key]
        outcome.written += segment.written
        if self._lost is not None:
            logger.warning("serving log writes again; it dropped %d requests meanwhile", self._lost)
            self._lost = None

    def _drop(self, key: Key, error: BaseException, outcome: Outcome) -> None:
        """Give up a segment. Said once, however many follow."""
        segment = self._open.pop(key)
        segment.discard()
        outcome.dropped += segment.written
        if self._lost is None:
            logger.error(
                "serving log cannot write to %s and drops requests until it can: %s", self.folder, error
            )
            self._lost = 0
        self._lost += segment.written
