"""One view at one instant: run its SQL over what was known, write one partition atomically."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import FeatureError, SettingError
from materialization.declared import CREATED_TIMESTAMP, EVENT_TIMESTAMP, PRELUDE, BatchView
from materialization.events.schemas import TABLES
from materialization.feature_build.inputs import FEATURE_TABLES, EventFile, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUTS_KEY = b"marquee.inputs"
"""Parquet footer key that holds the fingerprint of what a partition was computed from."""
BATCH_ROWS = 50_000
PARTIAL = ".partial"


@dataclass(frozen=True)
class Limits:
    """What one DuckDB connection of the build may use; one thread, so that sums add up in one order."""

    memory: str = "2GB"
    spill: Path | None = None


@contextmanager
def connect(limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    """A private in-memory DuckDB in UTC."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1; SET enable_progress_bar = false")
        try:
            connection.execute(f"SET memory_limit = '{_quoted(limits.memory)}'")
        except duckdb.Error as error:
            raise SettingError(
                f"--memory-limit {limits.memory!r} is not a size such as 2GB ({error})"
            ) from error
        if limits.spill is not None:
            limits.spill.mkdir(parents=True, exist_ok=True)
            connection.execute(f"SET temp_directory = '{_quoted(limits.spill)}'")
        yield connection


def open_knowledge(
    connection: duckdb.DuckDBPyConnection, files: list[EventFile], as_of: datetime, *, prelude: Path = PRELUDE
) -> None:
    """Define the event tables as known before `as_of`, the macro as_of() and the prelude.

    Raises FeatureError where the prelude or an event file cannot be read.
    """
    try:
        _open_knowledge(connection, files, as_of, prelude)
    except duckdb.Error as error:
        raise FeatureError(f"sql/{prelude.name} fails as of {as_of.isoformat()}: {_hinted(error)}") from error


def _open_knowledge(
    connection: duckdb.DuckDBPyConnection, files: list[EventFile], as_of: datetime, prelude: Path
) -> None:
    for table in FEATURE_TABLES:
        paths = [file.path for file in visible(files, as_of) if file.table == table]
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {table} AS {_known(connection, table, paths, as_of)}"
        )
    connection.execute(f"CREATE OR REPLACE TEMP MACRO as_of() AS TIMESTAMPTZ '{as_of.isoformat()}'")
    connection.execute(prelude.read_text())


def _known(connection: duckdb.DuckDBPyConnection, table: str, paths: list[Path], as_of: datetime) -> str:
    if not paths:
        connection.register(f"empty_{table}", TABLES[table].empty_table())
        return f"SELECT * FROM empty_{table}"
    listed = ", ".join(f"'{_quoted(path)}'" for path in paths)
    stamps = [name for name in (CREATED_TIMESTAMP, EVENT_TIMESTAMP) if name in TABLES[table].names]
    known = " AND ".join(f"{name} < TIMESTAMPTZ '{as_of.isoformat()}'" for name in stamps)
    return f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false) WHERE {known}"


def partition_path(folder: Path, as_of: datetime) -> Path:
    """Where the snapshot of `as_of` lies below a view's folder."""
    return folder / f"date={as_of:%Y-%m-%d}" / f"{as_of:%H%M}.parquet"


def partitions(folder: Path) -> dict[datetime, Path]:
    """The snapshots that lie below a view's folder, by instant."""
    found = {}
    for path in folder.glob("date=*/*.parquet"):
        with contextlib.suppress(ValueError):
            stamp = f"{path.parent.name.removeprefix('date=')} {path.stem} +0000"
            found[datetime.strptime(stamp, "%Y-%m-%d %H%M %z").astimezone(UTC)] = path
    return found


def recorded_inputs(path: Path) -> str | None:
    """The fingerprint a partition was computed from; None where it is missing or damaged."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    found = metadata.get(INPUTS_KEY)
    return found.decode() if found else None


def write_snapshot(
    connection: duckdb.DuckDBPyConnection, view: BatchView, *, as_of: datetime, path: Path, fingerprint: str
) -> int:
    """Run the view's query in a connection prepared by `open_knowledge`; returns the rows written.

    The partition appears whole or not at all, and equal inputs give equal bytes.
    Raises FeatureError where the query fails or its columns are not the view's.
    """
    try:
        reader = connection.sql(view.sql()).to_arrow_reader(BATCH_ROWS)
    except duckdb.Error as error:
        raise FeatureError(
            f"sql/{view.sql_path.name} fails as of {as_of.isoformat()}: {_hinted(error)}"
        ) from error
    check_columns(view, reader.schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        rows = _write(reader, view, as_of=as_of, path=partial, fingerprint=fingerprint)
        partial.replace(path)
    except duckdb.Error as error:
        raise FeatureError(
            f"sql/{view.sql_path.name} fails as of {as_of.isoformat()}: {_hinted(error)}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _hinted(error: duckdb.Error) -> str:
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"too little memory; raise --memory-limit ({str(error).splitlines()[0]})"
    return str(error)


def check_columns(view: BatchView, found: pa.Schema) -> None:
    """Raises FeatureError naming every column the query lacks or has too many."""
    expected = {*view.join_keys, *(field.name for field in view.fields)}
    problems = [f"lacks {name}" for name in sorted(expected - set(found.names))]
    problems += [
        f"has {name}, which the view does not declare" for name in sorted(set(found.names) - expected)
    ]
    if problems:
        raise FeatureError(f"sql/{view.sql_path.name}: " + "; ".join(problems))


def _write(
    batches: Iterable[pa.RecordBatch], view: BatchView, *, as_of: datetime, path: Path, fingerprint: str
) -> int:
    schema = view.schema.with_metadata({INPUTS_KEY: fingerprint.encode()})
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            table = pa.Table.from_batches([batch])
            stamp = pa.repeat(pa.scalar(as_of, schema.field(EVENT_TIMESTAMP).type), len(table))
            for name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP):
                table = table.append_column(name, stamp)
            writer.write_table(_cast(table, schema, view), row_group_size=BATCH_ROWS)
            rows += len(table)
    return rows


def _cast(table: pa.Table, schema: pa.Schema, view: BatchView) -> pa.Table:
    columns = []
    for field in schema:
        try:
            columns.append(
                table.column(field.name).cast(field.type, safe=not pa.types.is_floating(field.type))
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise FeatureError(
                f"sql/{view.sql_path.name}: column {field.name} is {table.schema.field(field.name).type}, "
                f"the view declares {field.type} ({error})"
            ) from error
    return pa.table(columns, schema=schema)


def _quoted(text: Path | str) -> str:
    return str(text).replace("'", "''")
