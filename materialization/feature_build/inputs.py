"""What a snapshot is computed from: the event files with rows known at its instant, and their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from materialization.declared import BatchView, digest
from materialization.events.schemas import TABLES
from materialization.events.store import EventStore

FEATURE_TABLES = tuple(name for name in TABLES if name != "truth")
"""What a view's SQL may read; the simulator's truth is not among them."""


@dataclass(frozen=True)
class EventFile:
    """One parquet file of the event store."""

    table: str
    day: str
    """UTC day of its rows, YYYY-MM-DD; rows of a day are known on that day or later, never before."""
    path: Path
    content: str
    """sha256 of its bytes."""


def event_files(events: Path) -> list[EventFile]:
    """Every file a feature may depend on, hashed; ascending by table, day and number.

    Raises EventDataError naming a damaged one.
    """
    found = []
    for table in FEATURE_TABLES:
        for path in EventStore(events).files(table):
            day = path.parent.name.removeprefix("date=")
            found.append(EventFile(table, day, path, _sha256(path)))
    return found


def visible(files: list[EventFile], as_of: datetime) -> list[EventFile]:
    """The files that can hold rows known before `as_of`."""
    last_day = (as_of - timedelta.resolution).astimezone(UTC).strftime("%Y-%m-%d")
    return [file for file in files if file.day <= last_day]


def inputs_fingerprint(view: BatchView, files: list[EventFile], as_of: datetime) -> str:
    """Changes whenever the snapshot's content could: the view's definition, or an event file it can see."""
    seen = [(file.table, file.day, file.path.name, file.content) for file in visible(files, as_of)]
    return digest([view.fingerprint(), as_of.isoformat(), seen])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
