"""Replace a whole folder at once: readers see the old content or the new, never a mixture.

.events.new    being written; removed when writing fails
.events.old    the content before, between the two renames; put back if the process died there
.events.lock   held while writing, so that two writers cannot meet
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.errors import EventDataError


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` if the block ends well; else nothing changes.

    Raises EventDataError when another process is already writing `folder`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder, wait=False):
        _put_back(folder)
        new = _beside(folder, "new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            yield new
            _swap(folder, new)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def recover(folder: Path) -> None:
    """Put the content before back if a writer died between its two renames."""
    if not folder.exists() and _beside(folder, "old").exists():
        with _locked(folder, wait=True):
            _put_back(folder)


def _put_back(folder: Path) -> None:
    old = _beside(folder, "old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        old.rename(folder)


def _swap(folder: Path, new: Path) -> None:
    old = _beside(folder, "old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    finally:
        _put_back(folder)


def _beside(folder: Path, role: str) -> Path:
    return folder.parent / f".{folder.name}.{role}"


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    with _beside(folder, "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise EventDataError(
                f"{folder} is being written by another process; wait for it to end, then try again"
            ) from problem
        yield
