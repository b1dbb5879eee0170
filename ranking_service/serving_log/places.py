"""Where the serving log's files lie.

date=2026-03-01/<segment>/requests.parquet, candidates.parquet    closed; the folder appears with both in it
open/<writer>/<segment>/                                          being written, or being deleted
open/<writer>.lock                                                held for as long as the writer lives
writers/<writer>.json                                             what it counted (`counts.py`)

A segment's name starts with the UTC time it was begun, so names sort by age. The date is the requests' own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

REQUESTS_FILE, CANDIDATES_FILE = "requests.parquet", "candidates.parquet"
DATE_PREFIX = "date="
BEGUN_FORMAT = "%Y%m%dT%H%M%S"
BEGUN_LENGTH = len("20260301T120000")
_SEGMENT = re.compile(r"\d{8}T\d{6}-")


@dataclass(frozen=True)
class ClosedSegment:
    """A folder with the two files."""

    path: Path

    @property
    def requests(self) -> Path:
        return self.path / REQUESTS_FILE

    @property
    def candidates(self) -> Path:
        return self.path / CANDIDATES_FILE

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def writer(self) -> str:
        """Whose it is: host, process and a random part; the whole name where it is not of the usual form."""
        match = re.fullmatch(r"\d{8}T\d{6}-(.+)-\d+", self.name)
        return match[1] if match else self.name

    @property
    def begun(self) -> datetime:
        """When its first request was taken, by the server's clock."""
        return datetime.strptime(self.name[:BEGUN_LENGTH], BEGUN_FORMAT).replace(tzinfo=UTC)


def segment_name(now: float, writer: str, number: int) -> str:
    """`now` in Unix seconds."""
    return f"{datetime.fromtimestamp(now, UTC).strftime(BEGUN_FORMAT)}-{writer}-{number:06d}"


def day_folder(folder: Path, day: str) -> Path:
    """`day` as 2026-03-01."""
    return folder / f"{DATE_PREFIX}{day}"


def closed_segments(
    folder: Path, *, first: date | None = None, last: date | None = None
) -> list[ClosedSegment]:
    """Segments of requests of the days from `first` to `last`, both included; oldest first."""
    days = [
        path
        for path in folder.glob(f"{DATE_PREFIX}*")
        if (first is None or path.name >= f"{DATE_PREFIX}{first}")
        and (last is None or path.name <= f"{DATE_PREFIX}{last}")
    ]
    found = [ClosedSegment(path) for day in days for path in _entries(day) if _SEGMENT.match(path.name)]
    return sorted(found, key=lambda segment: segment.name)


def _entries(folder: Path) -> list[Path]:
    """None of a folder that retention deletes meanwhile."""
    with suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def open_folder(folder: Path) -> Path:
    return folder / "open"


def lock_path(folder: Path, writer: str) -> Path:
    return open_folder(folder) / f"{writer}.lock"


def writing_folder(folder: Path, writer: str) -> Path:
    """The open segments of one writer."""
    return open_folder(folder) / writer


def counts_path(folder: Path, writer: str) -> Path:
    return folder / "writers" / f"{writer}.json"


def locked_writers(folder: Path) -> Iterator[str]:
    """Writers that have not closed the log: alive, or dead without a word."""
    for path in sorted(open_folder(folder).glob("*.lock")):
        yield path.stem
