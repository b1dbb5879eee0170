"""What is not in the serving log although it was to be: dropped by its writers, or lost with them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from ranking_service.serving_log.counts import writer_records
from ranking_service.serving_log.crashes import crashed_writers
from skew_checks.result.parts import Window


def lost_segments(folder: Path, window: Window) -> int:
    """Writers that died in the window; each lost what it had open."""
    times = [datetime.fromisoformat(record.updated) for record in crashed_writers(folder)]
    return sum(_within(time, window) for time in times)


def dropped_requests(folder: Path, window: Window, writers: Collection[str], *, written: int) -> int:
    """Requests that the window's writers dropped or lost, in the proportion of the window to all they wrote.

    These are the given ones, of the window's segments, and those that last counted within it. `written` requests of
    theirs are in the window.
    """
    records = [
        record
        for record in writer_records(folder)
        if record.writer in writers
        or (record.updated and _within(datetime.fromisoformat(record.updated), window))
    ]
    gone = sum(record.counts.dropped + record.lost for record in records)
    total = sum(record.counts.written for record in records)
    return round(gone * min(1.0, written / total)) if total else gone


def _within(time: datetime, window: Window) -> bool:
    return (window.start is None or time >= window.start) and (window.end is None or time < window.end)
