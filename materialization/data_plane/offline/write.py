"""Writing parquet so that no reader sees half of it and no writer loses another's rows."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ibis  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import _write_data_source
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from feature_repo.errors import SettingError
from materialization.data_plane.offline.duck_files import PATTERN_MARKS, is_parquet, is_remote, source_path
from materialization.data_plane.offline.pull import source_schema


def append_rows(config: RepoConfig, view: FeatureView, table: pa.Table) -> bool:
    """Append to a local or remote parquet source; False where the source is of another kind.

    Raises ValueError, as Feast's stores do, where the columns are not the source's, in its order.
    """
    source = view.batch_source
    if source is None:
        raise ValueError(f"Feature view '{view.name}' has no batch_source.")
    if not is_parquet(source):
        return False
    path = written_path(source, config.repo_path)
    table = _as_in_source(table, source)
    if not is_remote(path) and not Path(path).exists():
        _replace_or_add(table, Path(path))
        return True
    schema = source_schema(source, config.repo_path, config.offline_store.duck_settings())
    if schema.names != table.column_names:
        raise ValueError(
            f"The input pyarrow table has schema {table.schema} with the incorrect columns {table.column_names}. "
            f"The schema is expected to be {schema} with the columns (in this exact order) to be {schema.names}."
        )
    if is_remote(path):
        _append_remote(table, path, source)
    elif Path(path).is_dir():
        _add_part(table, Path(path))
    else:
        _append_to_file(table, Path(path))
    return True


def append_logs(data: pa.Table | Path, destination: Any, repo_path: object) -> None:
    """One more file per partition under the destination; `data` may be a file or folder of parquet."""
    table = pq.read_table(data) if isinstance(data, (str, Path)) else data
    source = destination.to_data_source()
    path = FileSource.get_uri_for_file_path(repo_path=_text(repo_path), uri=destination.path)
    filesystem, root = FileSource.create_filesystem_and_path(path, source.s3_endpoint_override)
    _write_dataset(table, root, partition_by=destination.partition_by or [], filesystem=filesystem)


def persist_batches(
    batches: Iterator[pa.Table], source: DataSource, *, repo_path: object, allow_overwrite: bool
) -> None:
    """Store a result: one file for a path ending in .parquet, else a folder of files."""
    if not is_parquet(source):
        table = ibis.memtable(pa.concat_tables(batches))
        _write_data_source(table, source, str(repo_path), "overwrite", allow_overwrite)
        return
    path = FileSource.get_uri_for_file_path(repo_path=_text(repo_path), uri=source.path)
    if is_remote(path):
        filesystem, root = FileSource.create_filesystem_and_path(path, source.s3_endpoint_override)
        _persist_remote(batches, root, filesystem)
        return
    target = Path(path)
    if target.exists() and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=source.path)
    with _replacing(target) as partial:
        file = partial if target.suffix == ".parquet" else partial / f"{uuid.uuid4().hex}-0.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_file(batches, file)


def stage_batches(batches: Iterator[pa.Table], folder: str, endpoint: str | None) -> list[str]:
    """One parquet file per piece; returns their paths."""
    filesystem, root = FileSource.create_filesystem_and_path(folder, endpoint or "")
    if filesystem is None:
        Path(root).mkdir(parents=True, exist_ok=True)
    written = []
    for number, table in enumerate(batches):
        pq.write_table(table, f"{root}/part-{number:05}.parquet", filesystem=filesystem)
        written.append(f"{folder}/part-{number:05}.parquet")
    return written


def written_path(source: FileSource, repo_path: object) -> str:
    """Where rows are appended: where they are read from. Raises SettingError for a pattern."""
    if any(mark in source.path for mark in PATTERN_MARKS):
        raise SettingError(
            f"{source.name}: rows cannot be appended to the pattern {source.path}; point the FileSource at a file or a "
            "folder"
        )
    return source_path(source, repo_path)


def _as_in_source(table: pa.Table, source: FileSource) -> pa.Table:
    """Feast renames the columns of pushed rows to the features' names; the source keeps its own."""
    renamed = {new: old for old, new in (source.field_mapping or {}).items()}
    return table.rename_columns([renamed.get(column, column) for column in table.column_names])


def _append_to_file(table: pa.Table, path: Path) -> None:
    """Old rows are copied row group by row group; the longer file takes the place of the old at once."""
    with _only_writer(path), _replacing(path) as partial:
        old = pq.ParquetFile(path)
        schema = old.schema_arrow
        added = table.cast(schema)

        def pieces() -> Iterator[pa.Table]:
            for group in range(old.num_row_groups):
                yield old.read_row_group(group)
            yield added

        _write_file(pieces(), partial, schema=schema)


def _add_part(table: pa.Table, folder: Path) -> None:
    """Partitioned as the folder is (`day=2026-01-01/`), in the types of the files that are there."""
    partitions: list[str] = []
    place = folder
    while deeper := next(
        (each for each in sorted(place.iterdir()) if each.is_dir() and "=" in each.name), None
    ):
        partitions.append(deeper.name.partition("=")[0])
        place = deeper
    example = next(iter(sorted(folder.rglob("*.parquet"))), None)
    if example is not None:
        kinds = {field.name: field.type for field in pq.read_schema(example)}
        fields = [pa.field(field.name, kinds.get(field.name, field.type)) for field in table.schema]
        table = table.cast(pa.schema(fields))
    _write_dataset(table, str(folder), partition_by=partitions, filesystem=None)


def _write_dataset(table: pa.Table, root: str, *, partition_by: list[str], filesystem: Any) -> None:
    """Files appear under their names once they are whole, on a local disk."""
    target = root if filesystem is not None else f"{root.rstrip(os.sep)}.{uuid.uuid4().hex}.partial"
    fields = [table.schema.field(column) for column in partition_by]
    ds.write_dataset(
        table,
        base_dir=target,
        basename_template=f"{uuid.uuid4().hex}-{{i}}.parquet",
        partitioning=ds.partitioning(pa.schema(fields), flavor="hive") if fields else None,
        filesystem=filesystem,
        format="parquet",
        existing_data_behavior="overwrite_or_ignore",
    )
    if filesystem is None:
        for file in sorted(Path(target).rglob("*.parquet")):
            final = Path(root) / file.relative_to(target)
            final.parent.mkdir(parents=True, exist_ok=True)
            file.replace(final)
        shutil.rmtree(target)


def _replace_or_add(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_writer(path), _replacing(path) as partial:
            _write_file(iter([table]), partial)
    else:
        path.mkdir(parents=True, exist_ok=True)
        _write_dataset(table, str(path), partition_by=[], filesystem=None)


def _append_remote(table: pa.Table, path: str, source: FileSource) -> None:
    """A remote file is read whole and put whole, which object stores do at once; a folder gets one more file."""
    credentials = source.resolve_credentials() or None
    filesystem, root = FileSource.create_filesystem_and_path(path, source.s3_endpoint_override, credentials)
    if root.endswith(".parquet"):
        old = pq.read_table(root, filesystem=filesystem)
        pq.write_table(pa.concat_tables([old, table.cast(old.schema)]), root, filesystem=filesystem)
    else:
        _write_dataset(table, root, partition_by=[], filesystem=filesystem)


def _persist_remote(batches: Iterator[pa.Table], root: str, filesystem: Any) -> None:
    if root.endswith(".parquet"):
        pq.write_table(pa.concat_tables(batches), root, filesystem=filesystem)
    else:
        pq.write_to_dataset(pa.concat_tables(batches), root_path=root, filesystem=filesystem)


def _write_file(pieces: Iterator[pa.Table], path: Path, *, schema: pa.Schema | None = None) -> None:
    writer = None
    try:
        for piece in pieces:
            writer = writer or pq.ParquetWriter(path, schema or piece.schema)
            writer.write_table(piece)
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` that takes its place when the block ends well, and is gone when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    try:
        yield partial
        if target.is_dir():
            target.replace(old)
        partial.replace(target)
    finally:
        for leftover in (partial, old):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Appends to one file wait for each other, also those of other processes."""
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _text(repo_path: object) -> str | None:
    return None if repo_path is None else str(repo_path)
