"""A Feast data source as a DuckDB table expression, and the newest row of every entity in it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlparse

import duckdb
from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import _read_data_source
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.errors import FeatureError, FeatureSourceError, SettingError
from materialization.data_plane.offline.duck import literal, name
from materialization.data_plane.offline.duck_files import (
    PATTERN_MARKS,
    is_parquet,
    is_remote,
    local_files,
    source_path,
)

FILE_SHIFT = 40
POSITION = f"(file_index::BIGINT << {FILE_SHIFT} | file_row_number)"
"""The place of a row in any `source_sql`, unique and the same in every scan of unchanged files; later rows have
greater ones. Both columns come with `read_parquet`; other sources are given them."""
RESERVED = ("file_index", "file_row_number")
EARLIEST_NS = datetime(1677, 9, 22, tzinfo=UTC)
LATEST_NS = datetime(2262, 4, 11, tzinfo=UTC)


def source_sql(connection: duckdb.DuckDBPyConnection, data_source: DataSource, repo_path: object) -> str:
    """What to put after FROM to read `data_source`; `POSITION` may be selected from it.

    Parquet (a file, a folder, a glob, hive partitions, s3://) is read by DuckDB itself. Delta, Iceberg, Lance and
    MLflow go through Feast's own readers into Arrow. Raises SettingError where the source's class or library is
    missing, FeatureSourceError where there is no file.
    """
    if is_parquet(data_source):
        path = source_path(data_source, repo_path)
        if is_remote(path):
            _open_remote(connection, data_source)
        files = [path] if is_remote(path) else local_files(path)
        by_name = (
            ", union_by_name = true" if len(files) > 1 or any(mark in path for mark in PATTERN_MARKS) else ""
        )
        table = f"read_parquet([{', '.join(map(literal, files))}]{by_name})"
        _refuse_reserved(connection, table, path)
        return table
    return _through_feast(connection, data_source, repo_path)


def source_columns(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Column names of a table expression to DuckDB's type names, in order."""
    described = connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
    return {str(row[0]): str(row[1]).strip('"') for row in described if row[0] not in RESERVED}


def _refuse_reserved(connection: duckdb.DuckDBPyConnection, table: str, path: str) -> None:
    """DuckDB's own columns of these names tell rows apart; a real column of that name would hide them."""
    try:
        columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()]
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise FeatureSourceError(
            f"the feature source {path} cannot be read ({str(error).strip().splitlines()[0]}); build it, or correct "
            "the path of its FileSource"
        ) from error
    taken = [column for column in columns if column in RESERVED]
    if taken:
        raise FeatureError(f"{path} has a column named {', '.join(taken)}, which DuckDB reserves; rename it")


def _open_remote(connection: duckdb.DuckDBPyConnection, source: FileSource) -> None:
    try:
        connection.execute("INSTALL httpfs; LOAD httpfs")
    except duckdb.Error as error:
        raise SettingError(
            f"{source.path} needs DuckDB's extension httpfs, which could not be loaded ({error}); install it once "
            "with network access"
        ) from error
    secret = s3_secret_sql(source.path, source.s3_endpoint_override, source.resolve_credentials() or {})
    if secret is not None:
        connection.execute(secret)


def s3_secret_sql(path: str, endpoint_override: str | None, credentials: Mapping[str, str]) -> str | None:
    """The CREATE SECRET for an s3:// source, for its bucket only; None where nothing is known (public data).

    The source's connection reference comes first, then the AWS variables of the environment.
    """
    if not path.startswith("s3://"):
        return None
    known = {
        option: credentials.get(variable) or os.environ.get(variable)
        for option, variable in (
            ("KEY_ID", "AWS_ACCESS_KEY_ID"),
            ("SECRET", "AWS_SECRET_ACCESS_KEY"),
            ("SESSION_TOKEN", "AWS_SESSION_TOKEN"),
            ("REGION", "AWS_DEFAULT_REGION"),
        )
    }
    options = [f"{option} {literal(value)}" for option, value in known.items() if value]
    endpoint = endpoint_override or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlparse(endpoint if "//" in endpoint else f"https://{endpoint}")
        secure = "true" if parts.scheme == "https" else "false"
        options += [f"ENDPOINT {literal(parts.netloc)}", f"USE_SSL {secure}", "URL_STYLE 'path'"]
    if not options:
        return None
    bucket = urlparse(path).netloc
    scope = f"SCOPE {literal(f's3://{bucket}')}"
    return f"CREATE OR REPLACE SECRET {name(f's3_{bucket}')} (TYPE s3, {', '.join([scope, *options])})"


def _through_feast(connection: duckdb.DuckDBPyConnection, data_source: DataSource, repo_path: object) -> str:
    kind = type(data_source).__name__
    try:
        table = _read_data_source(data_source, str(repo_path))
    except (ImportError, duckdb.Error) as error:
        raise SettingError(
            f"{data_source.name}: reading a {kind} needs a package or extension that is not installed ({error}); "
            "install it, or point the source at parquet"
        ) from error
    except AssertionError:
        table = None
    if table is None:
        raise SettingError(
            f"{data_source.name}: this offline store reads FileSource (parquet, delta), Iceberg, Lance and MLflow "
            f"sources, not {kind}; use a FileSource, or another offline store"
        )
    registered = f"source_{uuid.uuid4().hex}"
    connection.register(f"{registered}_arrow", table.to_pyarrow())
    numbered = "SELECT *, 0 AS file_index, row_number() OVER () - 1 AS file_row_number"
    connection.execute(f"CREATE TEMP VIEW {registered} AS {numbered} FROM {registered}_arrow")
    return registered


@dataclass(frozen=True)
class TimeColumns:
    """A source's own names and DuckDB types of its two times."""

    event: str
    event_type: str
    created: str | None = None


def window_sql(times: TimeColumns, start: datetime | None, end: datetime | None) -> str:
    """The condition that a row's event time lies in [start, end], both included, whatever type the times are
    stored as; naive ones are UTC. Compares in the column's own type, so that parquet statistics prune."""
    column, kind = name(times.event), times.event_type
    if not kind.startswith("TIMESTAMP"):
        column, kind = f"{column}::TIMESTAMPTZ", "TIMESTAMPTZ"
    bounds = [(">=", start), ("<=", end)]
    conditions = [f"{column} {sign} {_instant(bound, kind)}" for sign, bound in bounds if bound is not None]
    return " AND ".join(conditions) or "true"


def _instant(moment: datetime, kind: str) -> str:
    """As a literal of the column's type; a bound that coarser seconds cannot express is compared in microseconds."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if kind.endswith("_NS"):
        moment = min(max(moment, EARLIEST_NS), LATEST_NS)
    text = moment.strftime("%Y-%m-%d %H:%M:%S.%f").rjust(26, "0")
    zoned = "WITH TIME ZONE" in kind or "TZ" in kind
    kind = "TIMESTAMP" if kind in ("TIMESTAMP_S", "TIMESTAMP_MS") else kind
    return f"{literal(text + ('+00' if zoned else ''))}::{kind}"


def latest_rows_sql(
    table: str,
    *,
    keys: Sequence[str],
    times: TimeColumns,
    select: str,
    start: datetime | None,
    end: datetime | None,
) -> str:
    """The newest row of every entity in [start, end], both included, as a query for the expressions `select`.

    Newest is the greatest event time, then the greatest created time (nulls last), then the last in the source.
    Sorts keys and times only; the wide columns are read once, for the rows that won.
    """
    window = window_sql(times, start, end)
    order = [f"{name(times.event)} DESC"]
    order += [f"{name(times.created)} DESC NULLS LAST"] if times.created else []
    order += ["file_index DESC", "file_row_number DESC"]
    partition = f"PARTITION BY {', '.join(map(name, keys))} " if keys else ""
    newest = (
        f"SELECT {POSITION} FROM {table} WHERE {window} "
        f"QUALIFY row_number() OVER ({partition}ORDER BY {', '.join(order)}) = 1"
    )
    return f"SELECT {select} FROM {table} WHERE {window} AND {POSITION} IN ({newest})"
