"""Deletes the oldest closed segments, by age and by the space that all of them take."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ranking_service.serving_log.places import ClosedSegment, closed_segments


@dataclass
class Deleted:
    """What one writer has deleted so far."""

    segments: int = 0
    size: int = 0
    """Bytes."""
    through: datetime | None = None
    """Begin of the newest of them."""


@dataclass
class Retention:
    """Several writers may do this in one folder: a segment is deleted by whoever renames it first."""

    folder: Path
    bin: Path
    """On the same file system; segments go there to be deleted, so that no reader meets half of one."""
    keep_days: float
    """0 keeps all."""
    keep_bytes: int
    """0 is no limit."""
    deleted: Deleted = field(default_factory=Deleted)
    _sizes: dict[str, int] = field(default_factory=dict)

    def apply(self, now: float) -> None:
        """`now` in Unix seconds. Raises OSError."""
        if not (self.keep_days or self.keep_bytes):
            return
        segments = closed_segments(self.folder)
        for segment in self._outdated(segments, now):
            self._delete(segment)

    def _outdated(self, segments: list[ClosedSegment], now: float) -> Iterator[ClosedSegment]:
        sizes = [self._size(segment) for segment in segments]
        excess = sum(sizes) - self.keep_bytes if self.keep_bytes else 0
        oldest = datetime.fromtimestamp(now, UTC) - timedelta(days=self.keep_days)
        for segment, size in zip(segments, sizes, strict=True):
            if excess <= 0 and not (self.keep_days and segment.begun < oldest):
                return
            excess -= size
            yield segment

    def _size(self, segment: ClosedSegment) -> int:
        """Looked up once: closed segments do not change."""
        if not self.keep_bytes:
            return 0
        if segment.name not in self._sizes:
            with suppress(FileNotFoundError):  # another writer deleted it
                self._sizes[segment.name] = sum(path.stat().st_size for path in segment.path.iterdir())
        return self._sizes.get(segment.name, 0)

    def _delete(self, segment: ClosedSegment) -> None:
        self.bin.mkdir(parents=True, exist_ok=True)
        binned = self.bin / segment.name
        try:
            segment.path.rename(binned)
        except FileNotFoundError:
            return
        self.deleted.size += sum(path.stat().st_size for path in binned.iterdir())
        self.deleted.segments += 1
        self.deleted.through = max(segment.begun, self.deleted.through or segment.begun)
        shutil.rmtree(binned, ignore_errors=True)
        self._sizes.pop(segment.name, None)
        with suppress(OSError):  # the day's folder, when it was its last
            segment.path.parent.rmdir()
