"""What became of the requests offered to the log: by each writer, on disk, so that a nightly job can add it up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ranking_service.serving_log.places import counts_path


@dataclass
class LogCounts:
    """Requests by what became of them, since the writer started."""

    offered: int = 0
    unsampled: int = 0
    """Of users outside the sample: left out on purpose."""
    written: int = 0
    """In closed segments."""
    dropped: int = 0
    """The queue was full, or the disk refused them."""
    deleted_segments: int = 0
    """By retention."""
    deleted_bytes: int = 0
    crashed_writers: int = 0
    """Earlier writers found dead at the start."""

    @property
    def waiting(self) -> int:
        """In the queue or in an open segment."""
        return self.offered - self.unsampled - self.written - self.dropped


@dataclass(frozen=True)
class WriterRecord:
    """One writer's file."""

    writer: str
    started: str
    """ISO 8601, UTC."""
    updated: str
    closed: bool
    """In order; then nothing waited any more."""
    sample: float
    counts: LogCounts
    lost: int = 0
    """Requests that waited when it died, as far as it had counted."""
    deleted_through: str | None = None
    """Begin of the newest segment that retention deleted."""

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        path = counts_path(folder, self.writer)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        content = {name: value for name, value in asdict(self).items() if name != "counts"}
        partial.write_text(json.dumps(content | asdict(self.counts)) + "\n", encoding="utf-8")
        partial.replace(path)


def read_record(path: Path) -> WriterRecord | None:
    """None where the file is gone or cut off."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        counts = LogCounts(**{entry.name: content.pop(entry.name) for entry in fields(LogCounts)})
        return WriterRecord(**content, counts=counts)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def writer_records(folder: Path) -> Iterator[WriterRecord]:
    """Of every writer the log remembers, oldest name first."""
    for path in sorted(counts_path(folder, "").parent.glob("*.json")):
        record = read_record(path)
        if record is not None:
            yield record
