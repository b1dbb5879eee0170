"""The event store: canonical tables as parquet, partitioned by UTC day, replaced only as a whole.

    <root>/source.json                               where the events come from, and the counts
    <root>/<table>/date=YYYY-MM-DD/part-<n>.parquet  exposures, items, users, histories, truth
    <root>/quarantine/<table>.parquet                rows put aside: a reason, and the values as they came

Every table has at least one file, so that SQL over any of them works.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import EventDataError, MissingInputError
from materialization.events.schemas import TABLES
from materialization.events.swap import recover, replacing
from materialization.events.writer import FORMAT, QUARANTINE, SOURCE_FILE, EventWriter


class History(TypedDict):
    """What is known of users from before the first event, as summaries without single events."""

    users: int
    last_event: str


class Source(TypedDict):
    """Content of `source.json`. Times are ISO 8601 in UTC."""

    format: int
    kind: str
    """kuairand, movietweetings, simulation"""
    label: str
    """Column of exposures a ranker learns by default."""
    arguments: dict[str, Any]
    files: dict[str, str]
    """sha256 of each file read, by name."""
    notes: list[str]
    """What a reader of these events must know."""
    rows: dict[str, int]
    quarantined: dict[str, dict[str, int]]
    """Rows put aside, by table and reason."""
    first_event: str
    last_event: str
    history: History | None


@dataclass(frozen=True)
class EventStore:
    """The events under `root`. Making one touches no disk."""

    root: Path

    @contextmanager
    def rewrite(self, source: Mapping[str, object]) -> Iterator[EventWriter]:
        """Replace everything in the store by what the block writes; if it fails, nothing changes.

        `source` has `kind` and `label`, and may have `arguments`, `files` and `notes`.
        """
        self._refuse_foreign_folder()
        complete = {"arguments": {}, "files": {}, "notes": [], **source}
        if missing := {"kind", "label"} - complete.keys():
            raise EventDataError(f"the source description lacks {', '.join(sorted(missing))}")
        with replacing(self.root) as folder:
            writer = EventWriter(folder)
            yield writer
            writer.finish(complete)

    def source(self) -> Source:
        """Where the events come from. Raises MissingInputError while the store is empty."""
        recover(self.root)
        path = self.root / SOURCE_FILE
        if not path.exists():
            raise MissingInputError(
                f"there are no events in {self.root}; write some with `marquee events simulate` "
                "or `marquee events import`"
            )
        try:
            source = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise EventDataError(f"{path} is damaged ({problem}); import or simulate again") from problem
        found = source.get("format") if isinstance(source, dict) else None
        if found != FORMAT or (missing := Source.__required_keys__ - source.keys()):
            what = (
                f"format {found}, expected {FORMAT}"
                if found != FORMAT
                else f"no {', '.join(sorted(missing))}"
            )
            raise EventDataError(f"{path} has {what}; import or simulate again")
        return cast(Source, source)

    def span(self) -> tuple[datetime, datetime]:
        """Event time of the first and of the last exposure."""
        source = self.source()
        return datetime.fromisoformat(source["first_event"]), datetime.fromisoformat(source["last_event"])

    def tables(self) -> tuple[str, ...]:
        """Names of the canonical tables, all of which are readable."""
        self.source()
        return tuple(TABLES)

    def files(self, table: str) -> list[Path]:
        """A table's files in partition order. Raises EventDataError naming one that is missing or damaged."""
        files = sorted(self._folder(table).glob("date=*/*.parquet"), key=_partition_order)
        found = sum(map(_rows, files))
        expected = self.source()["rows"][table]
        if found != expected or not files:
            raise EventDataError(
                f"{self.root / table} has {found} rows in {len(files)} files, expected {expected} rows; "
                "import or simulate again"
            )
        return files

    def glob(self, table: str) -> str:
        """File pattern for DuckDB; pass `hive_partitioning=false` to leave out the folder's `date`."""
        self.files(table)
        return str(self._folder(table) / "date=*" / "*.parquet")

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A whole table, in partition order. For evaluation and tests; features read through `glob`."""
        with reading(self.root):
            parts = [
                pq.ParquetFile(file).read(columns=list(columns) if columns else None)
                for file in self.files(table)
            ]
        return pa.concat_tables(parts)

    def quarantined(self, table: str) -> pa.Table | None:
        """The rows put aside for `table`, with their `reason`; None where there are none."""
        self._folder(table)
        path = self.root / QUARANTINE / f"{table}.parquet"
        return pq.ParquetFile(path).read() if path.exists() else None

    def _folder(self, table: str) -> Path:
        if table not in self.tables():
            raise EventDataError(f"there is no event table {table}; there are {', '.join(TABLES)}")
        return self.root / table

    def _refuse_foreign_folder(self) -> None:
        recover(self.root)
        if not self.root.exists():
            return
        if not self.root.is_dir() or (any(self.root.iterdir()) and not (self.root / SOURCE_FILE).exists()):
            raise EventDataError(
                f"{self.root} exists and is not an event store; move it away, or choose another MARQUEE_HOME"
            )


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Around a read of event files: damage that only reading finds becomes an EventDataError."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as problem:
        raise EventDataError(
            f"{place} holds a damaged file ({str(problem).strip().splitlines()[0]}); import or simulate again"
        ) from problem


def _rows(file: Path) -> int:
    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowException, OSError) as problem:
        raise EventDataError(
            f"{file} is truncated or not a parquet file ({problem}); import or simulate again"
        ) from problem


def _partition_order(file: Path) -> tuple[str, int]:
    return file.parent.name, int(file.stem.removeprefix("part-"))
