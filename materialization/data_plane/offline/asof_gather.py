"""Wide columns of matched rows, in the order of the request: read once, then taken by position."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa

from materialization.data_plane.offline.arrow_lists import plain_lists
from materialization.data_plane.offline.asof_numbering import found_at, needed
from materialization.data_plane.offline.asof_plan import PlannedView
from materialization.data_plane.offline.asof_take import Places
from materialization.data_plane.offline.duck import name
from materialization.data_plane.offline.duck_sources import POSITION

BATCH_ROWS = 131_072
MATCHED = "matched"
WIDTHS = {"FLOAT": 4, "DOUBLE": 8, "TINYINT": 1, "SMALLINT": 2, "INTEGER": 4, "BIGINT": 8}
"""Bytes per value of types whose size is known beforehand: then all threads read at once, not batch by batch."""


@dataclass(frozen=True)
class Gathered:
    """One side's rows and where each request row finds its own."""

    index: pa.Array
    """Row of `wide` for every request row, null where none."""
    wide: pa.Table
    """Source columns `c0`, `c1`, ... of every row that is needed."""

    @property
    def bytes_per_row(self) -> float:
        return float(self.wide.nbytes / max(1, self.wide.num_rows))


@dataclass(frozen=True)
class Spill:
    """How much of one side may be held in memory; more goes to a file in `folder`, read by memory map."""

    folder: Path
    most_bytes: int


def gather(
    connection: duckdb.DuckDBPyConnection,
    planned: Sequence[PlannedView],
    positions: pa.Array,
    *,
    window: str,
    spill: Spill,
) -> Gathered:
    """The rows at `positions` with the columns that `planned`, views of one side, ask for."""
    side = planned[0].side
    columns = source_order(planned)
    selected = ", ".join([f"{POSITION} AS position", *(f"{name(c)} AS c{i}" for i, c in enumerate(columns))])
    rows = needed(positions)
    connection.register(MATCHED, pa.table({"position": rows}))
    try:
        found = connection.sql(
            f"SELECT {selected} FROM {side.table} WHERE {window} AND {POSITION} IN (SELECT position FROM {MATCHED})"
        )
        widths = [WIDTHS.get(planned[0].types[column]) for column in columns]
        if None not in widths and len(rows) * (8 + sum(filter(None, widths))) <= spill.most_bytes:
            wide = found.to_arrow_table()
        else:
            wide = _held_or_spilled(found.to_arrow_reader(BATCH_ROWS), spill)
    finally:
        connection.unregister(MATCHED)
    index = found_at(positions, wide.column("position"))
    return Gathered(index, wide.drop_columns(["position"]))


def source_order(planned: Sequence[PlannedView]) -> list[str]:
    """The source columns several views of one side need, each once; the n-th is `c<n>` of the gathered rows."""
    return list(dict.fromkeys(column for view in planned for column, _ in view.features))


def _held_or_spilled(reader: pa.RecordBatchReader, spill: Spill) -> pa.Table:
    schema = plain_lists(reader.schema)
    pieces = (batch.cast(schema) for batch in reader)
    held, size = [], 0
    for batch in pieces:
        held.append(batch)
        size += batch.nbytes
        if size > spill.most_bytes:
            return _spilled(chain(held, pieces), schema, spill.folder)
    table = pa.Table.from_batches(held, schema)
    held.clear()
    return pa.table([column.combine_chunks() for column in table.columns], names=table.column_names)


def _spilled(batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> pa.Table:
    path = folder / f"{os.urandom(8).hex()}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@dataclass(frozen=True)
class Joined:
    """A request with the rows it found; columns are made when asked for."""

    request: pa.Table
    features: tuple[tuple[str, Gathered, str], ...]
    """Name in the result, where it comes from, its column there."""
    threads: int

    def table(self) -> pa.Table:
        """All rows, one chunk per column."""
        return self._rows(0, self.request.num_rows)

    def batches(self, rows: int) -> Iterator[pa.Table]:
        """Consecutive pieces of at most `rows` rows; one empty piece for an empty request."""
        whole = self._combined()
        for start in range(0, max(1, self.request.num_rows), rows):
            yield whole._rows(start, rows)

    @property
    def bytes_expected(self) -> int:
        """About as large as `table` will be."""
        sides = {id(gathered): gathered for _, gathered, _ in self.features}.values()
        per_row = sum(side.bytes_per_row for side in sides)
        return int(self.request.nbytes + per_row * self.request.num_rows)

    def _combined(self) -> Joined:
        """The same with one chunk per source column, which is worth its copy where every piece reads them again."""
        sides = {id(side): side for _, side, _ in self.features}
        combined = {
            at: Gathered(side.index, side.wide.combine_chunks())
            if any(column.num_chunks > 1 for column in side.wide.columns)
            else side
            for at, side in sides.items()
        }
        features = tuple((shown, combined[id(side)], column) for shown, side, column in self.features)
        return Joined(self.request, features, self.threads)

    def _rows(self, start: int, length: int) -> pa.Table:
        asked = self.request.slice(start, length)
        places = {
            id(side): Places(side.index.slice(start, length))
            for side in (side for _, side, _ in self.features)
        }
        with ThreadPoolExecutor(self.threads) as pool:
            taken = pool.map(
                lambda feature: places[id(feature[1])].take(feature[1].wide.column(feature[2])), self.features
            )
            columns = [*asked.columns, *taken]
        return pa.table(columns, names=[*asked.column_names, *(shown for shown, _, _ in self.features)])
