"""One private DuckDB: opened from settings, bounded in memory, gone with its spill folder when the block ends."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from feature_repo.errors import SettingError

MEMORY_SHARE = 0.6
"""Of the machine's (or container's) memory, where no limit is set."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class DuckSettings:
    """Bounds of one DuckDB; None means the safe default."""

    memory_limit: str | None = None
    """A size such as `4GB`; 60% of the memory by default."""
    threads: int | None = None
    """All cores by default."""
    spill_directory: str | None = None
    """Folder in which a private spill folder is made; the system's temporary folder by default."""
    max_spill_size: str | None = None
    """A size such as `100GB`; 90% of the free disk by default."""


@contextmanager
def connect(settings: DuckSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A private in-memory DuckDB in UTC that keeps the order of rows; the spill folder is removed afterwards.

    Inside the block, running out of memory or disk raises SettingError that says what to raise; so does a setting
    DuckDB refuses.
    """
    spill = spill_folder(settings)
    try:
        with duckdb.connect() as connection, readable_shortage(settings):
            _configure(connection, settings, spill)
            yield connection
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def spill_folder(settings: DuckSettings) -> Path:
    """A fresh private folder; whoever asked for it removes it."""
    try:
        if settings.spill_directory is not None:
            Path(settings.spill_directory).mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="duckdb-spill-", dir=settings.spill_directory))
    except OSError as error:
        raise SettingError(
            f"spill_directory {settings.spill_directory!r} cannot be used ({error}); name a writable folder"
        ) from error


def memory_limit(settings: DuckSettings) -> str:
    """The limit in DuckDB's words."""
    return settings.memory_limit or f"{int(_memory_bytes() * MEMORY_SHARE) // 2**20}MiB"


def memory_limit_bytes(settings: DuckSettings) -> int:
    """The limit as a number; DuckDB has already judged its form."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)(i?)b?\s*", memory_limit(settings), re.IGNORECASE)
    if found is None:
        return int(_memory_bytes() * MEMORY_SHARE)
    power = "kmgt".find(found[2].lower()) + 1 if found[2] else 0
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def spill_folder_of(connection: duckdb.DuckDBPyConnection) -> Path:
    """The private folder of an open connection, for files that should go with it."""
    ((folder,),) = connection.execute("SELECT current_setting('temp_directory')").fetchall()
    return Path(str(folder))


def literal(text: object) -> str:
    """A string as SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def name(column: str) -> str:
    """A column or table name as SQL."""
    return '"' + column.replace('"', '""') + '"'


def _configure(connection: duckdb.DuckDBPyConnection, settings: DuckSettings, spill: Path) -> None:
    wanted = {
        "memory_limit": memory_limit(settings),
        "threads": settings.threads,
        "temp_directory": spill,
        "max_temp_directory_size": settings.max_spill_size,
        "TimeZone": "UTC",
        "preserve_insertion_order": True,
        "enable_progress_bar": False,
    }
    for setting, value in wanted.items():
        if value is None:
            continue
        try:
            connection.execute(f"SET {setting} = {literal(value)}")
        except duckdb.Error as error:
            raise SettingError(f"offline store: DuckDB refuses {setting} = {value!r} ({error})") from error


@contextmanager
def readable_shortage(settings: DuckSettings) -> Iterator[None]:
    """DuckDB's out-of-memory and full-disk errors as one SettingError that says what to raise."""
    try:
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise SettingError(
            f"the query needs more than it may use: memory_limit {memory_limit(settings)}, spill folder in "
            f"{settings.spill_directory or tempfile.gettempdir()} (max_spill_size "
            f"{settings.max_spill_size or '90% of the free disk'}); raise memory_limit or max_spill_size, point "
            f"spill_directory at a larger disk, or ask for fewer rows. DuckDB says: {str(error).strip()}"
        ) from error
    except (duckdb.IOException, OSError) as error:
        if "No space left" not in str(error):
            raise
        raise SettingError(
            f"the disk of the spill folder ({settings.spill_directory or tempfile.gettempdir()}) is full; point "
            f"spill_directory at a larger disk or raise memory_limit {memory_limit(settings)} ({error})"
        ) from error


def _memory_bytes() -> int:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return physical
