"""Which parquet files a local source is, at one moment, and whether they are still the same."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from urllib.parse import urlparse

from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.errors import FeatureError, FeatureSourceError

PATTERN_MARKS = "*?["


def is_parquet(source: DataSource) -> bool:
    return isinstance(source, FileSource) and isinstance(source.file_format, (ParquetFormat, NoneType))


def is_remote(path: str) -> bool:
    parts = urlparse(path)
    return bool(parts.scheme and parts.netloc)


def source_path(source: FileSource, repo_path: object) -> str:
    """The file, folder, pattern or remote address a source names.

    A relative path is meant from the working directory, as the stock DuckDB store reads it; where nothing is there,
    from the repository, as Feast's own writers and `feast apply` mean it.
    """
    uri = str(source.path)
    if is_remote(uri) or _matches(uri):
        return uri
    folder = None if repo_path is None else str(repo_path)
    return str(FileSource.get_uri_for_file_path(repo_path=folder, uri=uri))


def local_files(path: str) -> list[str]:
    """The files of a path, in the order of their names: of a folder all parquet files below, else all files.

    Raises FeatureSourceError where there is none.
    """
    if Path(path).is_file():
        return [path]
    below = str(Path(path) / "**" / "*")
    patterns = [f"{below}.parquet", below] if Path(path).is_dir() else [path]
    for pattern in patterns:
        found = sorted(each for each in _matches(pattern) if Path(each).is_file())
        if found:
            return found
    raise FeatureSourceError(
        f"the feature source {path} cannot be read: no file is there; build it, or correct the path of its FileSource"
    )


@dataclass(frozen=True)
class FileStamps:
    """Files as they were when looked at. A source is read twice, and rows are told by their place in a file."""

    seen: dict[str, tuple[int, int, int]]

    @classmethod
    def of(cls, sources: Iterable[DataSource], repo_path: object) -> FileStamps:
        paths = [source_path(source, repo_path) for source in sources if is_parquet(source)]
        files = [file for path in paths if not is_remote(path) for file in local_files(path)]
        return cls({file: _stamp(file) for file in files})

    def check(self) -> None:
        """Raises FeatureError where a file was replaced since."""
        changed = sorted(file for file, before in self.seen.items() if _stamp(file) != before)
        if changed:
            raise FeatureError(f"{changed[0]} was replaced while it was being read; ask again")


def _stamp(file: str) -> tuple[int, int, int]:
    try:
        found = Path(file).stat()
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _matches(pattern: str) -> list[str]:
    """`Path.glob` takes no absolute pattern."""
    return glob.glob(pattern, recursive=True)  # noqa: PTH207
