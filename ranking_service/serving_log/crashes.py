"""Writers that died without closing the log: recognized by a lock that nobody holds any more."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ranking_service.serving_log.counts import LogCounts, WriterRecord, read_record, writer_records
from ranking_service.serving_log.places import counts_path, lock_path, locked_writers, writing_folder


@dataclass(frozen=True)
class Alive:
    """The sign that a writer lives: a locked file, which the kernel unlocks when the process ends, however it ends."""

    path: Path
    descriptor: int

    @classmethod
    def announce(cls, folder: Path, writer: str) -> Alive:
        """Raises OSError. The file appears under its name only when it is locked."""
        path = lock_path(folder, writer)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(path)
        return cls(path, descriptor)

    def end(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def clear_crashed(folder: Path) -> list[WriterRecord]:
    """Remove what dead writers left open; their records, with what was lost written down. Raises OSError."""
    found = []
    for writer in locked_writers(folder):
        with _held(lock_path(folder, writer)) as dead:
            if dead:
                found.append(_buried(folder, writer))
    return found


def crashed_writers(folder: Path) -> list[WriterRecord]:
    """Every writer the log remembers as dead without a close, noticed by a later start or not yet."""
    found = []
    for record in writer_records(folder):
        if record.closed:
            continue
        path = lock_path(folder, record.writer)
        with _held(path) as dead:
            if dead or not path.exists():
                found.append(record)
    return found


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Whether the lock of a dead writer could be taken; it is kept for as long as the block lasts."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.fstat(descriptor).st_nlink > 0
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _buried(folder: Path, writer: str) -> WriterRecord:
    record = read_record(counts_path(folder, writer))
    if record is not None:
        record = replace(record, lost=record.counts.waiting)
        record.write(folder)
    shutil.rmtree(writing_folder(folder, writer), ignore_errors=True)
    lock_path(folder, writer).unlink(missing_ok=True)
    return record or WriterRecord(writer, "", "", closed=False, sample=0.0, counts=LogCounts())
