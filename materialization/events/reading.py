"""Read source files; whatever is wrong with one becomes an EventDataError naming file and column."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from feature_repo.errors import EventDataError

Kind = Callable[[pa.DataType], bool]
"""Says whether a column's type is acceptable."""


def integer(kind: pa.DataType) -> bool:
    """An integer that fits 64 bits with a sign."""
    return bool(pa.types.is_integer(kind) and kind != pa.uint64())


def integer_list(kind: pa.DataType) -> bool:
    """A list of integers (the element type of an all-empty column may be unknown)."""
    if not pa.types.is_list(kind):
        return False
    return bool(pa.types.is_integer(kind.value_type) or pa.types.is_null(kind.value_type))


def existing(folder: Path, pattern: str) -> list[Path]:
    """Files of `folder` that match, in name order. Raises EventDataError when there are none."""
    if not folder.is_dir():
        raise EventDataError(f"{folder} is not a folder; name the folder that holds the data set")
    found = sorted(file for file in folder.glob(pattern) if file.is_file())
    if not found:
        raise EventDataError(f"{folder} has no file {pattern}; is this the right data set?")
    return found


def digests(files: Sequence[Path]) -> dict[str, str]:
    """sha256 of each file, by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def parquet(file: Path, columns: Mapping[str, Kind]) -> pa.Table:
    """The named columns of a parquet file with at least one row."""
    try:
        content = pq.ParquetFile(file)
        _check_columns(file, content.schema_arrow, columns)
        table = content.read(columns=list(columns))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as problem:
        raise EventDataError(
            f"{file} is truncated or not a parquet file ({_first_line(problem)}); fetch it again"
        ) from problem
    return _not_empty(file, table)


def gzip_text(file: Path) -> str:
    """The whole of a gzipped UTF-8 text file, which is not empty."""
    try:
        with gzip.open(file) as stream:
            content = stream.read()
    except EOFError as problem:
        raise EventDataError(f"{file} is truncated: the gzip stream has no end; fetch it again") from problem
    except (OSError, zlib.error) as problem:
        raise EventDataError(
            f"{file} is damaged or not gzip ({_first_line(problem)}); fetch it again"
        ) from problem
    if not content.strip():
        raise EventDataError(f"{file} is empty; fetch it again")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise EventDataError(f"{file}, line {line}: not UTF-8 text") from problem


def gzip_csv(file: Path, columns: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """The named columns of a gzipped CSV file as text (empty = null), and the lines with a wrong field count.

    The second table has the columns `line` (1-based, header = 1) and `text`.
    """
    text = gzip_text(file)
    header = next(csv.reader(io.StringIO(text)))
    _check_columns(
        file, pa.schema([(name, pa.string()) for name in header]), dict.fromkeys(columns, pa.types.is_string)
    )
    if "\n" not in text.strip():
        raise EventDataError(f"{file} has no rows; fetch it again")
    table, lines = _parse(file, text, header)
    return _not_empty(file, table).select(list(columns)), lines


def _parse(file: Path, text: str, header: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    wrong: list[tuple[int | None, str]] = []

    def set_aside(row: pa_csv.InvalidRow) -> str:
        wrong.append((row.number, row.text))
        return "skip"

    try:
        table = pa_csv.read_csv(
            io.BytesIO(text.encode("utf-8")),
            read_options=pa_csv.ReadOptions(use_threads=False),
            parse_options=pa_csv.ParseOptions(invalid_row_handler=set_aside),
            convert_options=_as_text(header),
        )
    except pa.ArrowInvalid as problem:
        raise EventDataError(f"{file} is not a CSV file ({_first_line(problem)})") from problem
    return table, numbered_lines(wrong)


def numbered_lines(lines: Sequence[tuple[int | None, str]]) -> pa.Table:
    """Lines to put aside as they came: columns `line` (1-based) and `text`."""
    return pa.table(
        {
            "line": pa.array([number for number, _ in lines], pa.int64()),
            "text": pa.array([text for _, text in lines], pa.string()),
        }
    )


def _as_text(header: Sequence[str]) -> pa_csv.ConvertOptions:
    return pa_csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )


def _check_columns(file: Path, schema: pa.Schema, columns: Mapping[str, Kind]) -> None:
    problems = [f"column {name} is missing" for name in columns if name not in schema.names]
    problems += [
        f"column {name} has the unexpected type {schema.field(name).type}"
        for name, acceptable in columns.items()
        if schema.names.count(name) == 1 and not acceptable(schema.field(name).type)
    ]
    problems += [f"column {name} appears twice" for name in columns if schema.names.count(name) > 1]
    if problems:
        raise EventDataError(f"{file} is not what it should be: " + "; ".join(problems))


def _not_empty(file: Path, table: pa.Table) -> pa.Table:
    if not table.num_rows:
        raise EventDataError(f"{file} has no rows; fetch it again")
    return table


def _first_line(problem: Exception) -> str:
    return str(problem).splitlines()[0] if str(problem) else type(problem).__name__
