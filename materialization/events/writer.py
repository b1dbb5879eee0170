"""Write the canonical tables of one import or simulation into a fresh folder, and keep count."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.errors import EventDataError
from materialization.events.conform import by_day, conform
from materialization.events.schemas import DAY_COLUMN, TABLES

FORMAT = 1
SOURCE_FILE = "source.json"
QUARANTINE = "quarantine"
REASON = "reason"


class EventWriter:
    """Writes into `folder`; `finish` completes it. Made by `EventStore.rewrite`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = dict.fromkeys(TABLES, 0)
        self._parts: Counter[Path] = Counter()
        self._quarantined: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._rejected: defaultdict[str, list[pa.Table]] = defaultdict(list)
        self._times: list[datetime] = []
        self._history_times: list[datetime] = []

    def write(self, table_name: str, table: pa.Table, day: date | None = None) -> None:
        """Append rows to a canonical table, one file per UTC day of its day column.

        `day` names the partition of a table without a day column (histories, truth). Raises EventDataError
        where the rows break the schema; quarantine such rows first.
        """
        rows = conform(table, _schema(table_name), name=table_name)
        column = DAY_COLUMN.get(table_name)
        if column is None and day is None:
            raise EventDataError(f"table {table_name} has no day column; name the day it is written for")
        if not rows.num_rows:
            return
        for its_day, part in by_day(rows, column) if column else [(day, rows)]:
            assert its_day is not None
            self._write_part(table_name, its_day, part)
        self._rows[table_name] += rows.num_rows
        self._note_times(table_name, rows)

    def quarantine(self, table_name: str, rows: pa.Table, reason: str) -> None:
        """Put source rows aside, as they came, instead of writing them to `table_name`."""
        _schema(table_name)
        if rows.num_rows:
            self._quarantined[table_name][reason] += rows.num_rows
            reasons = pa.array([reason], pa.string()).take(pa.array([0] * rows.num_rows))
            self._rejected[table_name].append(rows.append_column(REASON, reasons))

    def finish(self, source: Mapping[str, object]) -> None:
        """Write empty files for tables without rows, the quarantine and `source.json`.

        Raises EventDataError when no exposure was written.
        """
        if not self._times:
            raise EventDataError("no usable exposure was found; nothing was replaced")
        for name, count in self._rows.items():
            if not count:
                self._write_part(name, min(self._times).date(), TABLES[name].empty_table())
        self._write_quarantine()
        text = json.dumps({**source, **self._counts()}, indent=2, sort_keys=True, ensure_ascii=False)
        (self._folder / SOURCE_FILE).write_text(text + "\n", encoding="utf-8")

    def _write_part(self, table_name: str, day: date, rows: pa.Table) -> None:
        folder = self._folder / table_name / f"date={day.isoformat()}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, folder / f"part-{self._parts[folder]}.parquet", compression="zstd")
        self._parts[folder] += 1

    def _write_quarantine(self) -> None:
        folder = self._folder / QUARANTINE
        folder.mkdir()
        for name, rejected in self._rejected.items():
            pq.write_table(_stack(rejected), folder / f"{name}.parquet", compression="zstd")

    def _note_times(self, table_name: str, rows: pa.Table) -> None:
        if table_name == "exposures":
            self._times = _widen(self._times, rows["event_timestamp"])
        if table_name == "histories":
            self._history_times = _widen(self._history_times, rows["created_timestamp"])

    def _counts(self) -> dict[str, Any]:
        history = None
        if self._history_times:
            history = {
                "users": self._rows["histories"],
                "last_event": self._history_times[1].isoformat(),
            }
        return {
            "format": FORMAT,
            "rows": self._rows,
            "quarantined": {name: dict(counts) for name, counts in self._quarantined.items()},
            "first_event": self._times[0].isoformat(),
            "last_event": self._times[1].isoformat(),
            "history": history,
        }


def _schema(table_name: str) -> pa.Schema:
    if table_name not in TABLES:
        raise EventDataError(f"there is no event table {table_name}; there are {', '.join(TABLES)}")
    return TABLES[table_name]


def _widen(span: list[datetime], times: pa.ChunkedArray) -> list[datetime]:
    """[first, last] of the span so far and the new times."""
    bounds = pc.min_max(times)
    seen = [*span, *(bounds[end].as_py().astimezone(UTC) for end in ("min", "max"))]
    return [min(seen), max(seen)]


def _stack(tables: list[pa.Table]) -> pa.Table:
    """Rows of possibly different shapes end to end; what has no common type becomes text."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.concat_tables([_as_text(table) for table in tables], promote_options="permissive")


def _as_text(table: pa.Table) -> pa.Table:
    rows = [
        {name: None if value is None else str(value) for name, value in row.items()}
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in table.column_names]))
