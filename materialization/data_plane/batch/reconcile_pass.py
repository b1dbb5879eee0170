"""One view's comparison: offline rows against Redis in batches, then what only Redis has."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import duckdb
import pyarrow as pa

from materialization.data_plane.batch.newest_rows import NewestRows
from materialization.data_plane.batch.reconcile_compare import (
    DELETED,
    FOUND,
    Bounds,
    Cause,
    compare,
    judge_leftovers,
)
from materialization.data_plane.batch.reconcile_sample import EVERYTHING, Sample, choose
from materialization.data_plane.batch.view_rows import ViewRows
from materialization.data_plane.online.scanning import OnlineRows, Place, batched, shown
from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.row_making import PackedBatch

BATCH_ROWS = 8_192
EXAMPLES = 5
"""Of each cause, kept for the report."""
Report: TypeAlias = Callable[[str, int, int], None]


@dataclass
class Findings:
    """What one pass over a view found and did; counted as it goes."""

    offline: int = 0
    """Offline rows compared."""
    online: int = 0
    """Online rows looked at."""
    share: float = 1.0
    """Of the entities; less than 1 in a sample."""
    keyless: int = 0
    """Offline rows without a key; they belong nowhere."""
    causes: Counter[Cause] = field(default_factory=Counter)
    examples: dict[Cause, list[str]] = field(default_factory=dict)
    """Some keys of each cause that calls for a repair."""
    written: int = 0
    deleted: int = 0

    @property
    def found(self) -> int:
        """Rows that call for a repair."""
        return sum(self.causes[cause] for cause in FOUND)

    def note(self, cause: Cause, key: str) -> None:
        """Count a row; `key` may become an example."""
        self.causes[cause] += 1
        if cause in FOUND and len(examples := self.examples.setdefault(cause, [])) < EXAMPLES:
            examples.append(key)


@dataclass(frozen=True)
class Pass:
    """How to compare one view."""

    newest: NewestRows
    rows: ViewRows
    online: OnlineRows
    bounds: Bounds
    is_pushed: bool
    """Whether rows are also pushed, so that Redis may rightly have entities the source has not."""
    dry_run: bool
    report: Report
    findings: Findings = field(default_factory=Findings)
    _layouts: dict[bytes, Layout | None] = field(default_factory=dict)

    def run(self, sample: int | None) -> Findings:
        """Compare, and repair unless it is a dry run."""
        chosen = EVERYTHING if sample is None else self._choose(sample)
        self.findings.share = chosen.share
        if not self.dry_run:
            self.rows.writer.register(self.rows.maker.layout)
        side = self.newest.connection.cursor()
        side.execute("CREATE TABLE offline_places (key BLOB, field BLOB)")
        side.execute("CREATE TABLE online_places (key BLOB, field BLOB)")
        self._compare_offline(side)
        self._judge_the_rest(side, chosen)
        return self.findings

    def _choose(self, size: int) -> Sample:
        """Restricts the offline rows to those of the sample."""
        maker = self.rows.maker
        keys = (
            (maker.encoded(batch)[0].to_pylist(), batch.column(-1).to_numpy())
            for batch in self.newest.keys(BATCH_ROWS)
        )
        chosen, places = choose(keys, size=size, salt=self.bounds.watermark)
        if chosen is not EVERYTHING:
            self.newest.keep(places)
        return chosen

    def _compare_offline(self, side: duckdb.DuckDBPyConnection) -> None:
        total, done, layout = self.newest.count(), 0, self.rows.maker.layout
        for batch in self.newest.batches(BATCH_ROWS):
            packed = self.rows.maker(batch)
            places = list(zip(packed.keys, packed.fields or itertools.repeat(b""), strict=False))
            _insert(side, "offline_places", places)
            online = self.online.fetch(places)
            causes = compare(layout, packed.rows, online, self._find_layout)
            self._note(causes, places)
            self.findings.offline += len(places)
            self.findings.keyless += packed.keyless
            if not self.dry_run:
                self._write(packed, places, online, causes)
            done += len(batch)
            self.report("comparing", done, total)

    def _write(
        self,
        packed: PackedBatch,
        places: Sequence[Place],
        online: Sequence[bytes | None],
        causes: Sequence[Cause],
    ) -> None:
        """A damaged row goes first: the times it claims could keep the right one out."""
        damaged = [at for at, cause in enumerate(causes) if cause is Cause.DAMAGED]
        self.online.delete_unchanged([places[at] for at in damaged], [online[at] or b"" for at in damaged])
        wanted = [at for at, cause in enumerate(causes) if cause in FOUND]
        written = self.rows.writer.write(
            [packed.keys[at] for at in wanted],
            None if packed.fields is None else [packed.fields[at] for at in wanted],
            [packed.rows[at] for at in wanted],
        )
        self.findings.written += written.applied

    def _judge_the_rest(self, side: duckdb.DuckDBPyConnection, chosen: Sample) -> None:
        """Online rows whose entity the source has no row of."""
        seen = 0
        for places in batched(self.online.places(chosen.has), BATCH_ROWS):
            _insert(side, "online_places", places)
            seen += len(places)
            self.report("looking for rows to delete", seen, seen)
        self.findings.online += _count(side, "SELECT count(DISTINCT (key, field)) FROM online_places")
        rest = "SELECT DISTINCT key, field FROM online_places ANTI JOIN offline_places USING (key, field)"
        for batch in side.sql(rest).to_arrow_reader(BATCH_ROWS):
            places = list(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
            online = self.online.fetch(places)
            causes = judge_leftovers(
                self.rows.maker.layout,
                online,
                self._find_layout,
                bounds=self.bounds,
                is_pushed=self.is_pushed,
            )
            self._note(causes, places)
            if not self.dry_run:
                doomed = [at for at, cause in enumerate(causes) if cause in (*DELETED, Cause.DAMAGED)]
                self.findings.deleted += self.online.delete_unchanged(
                    [places[at] for at in doomed], [online[at] or b"" for at in doomed]
                )

    def _note(self, causes: Sequence[Cause], places: Sequence[Place]) -> None:
        for cause, place in zip(causes, places, strict=True):
            self.findings.note(cause, shown(self.online.keys, place) if cause in FOUND else "")

    def _find_layout(self, fingerprint: bytes) -> Layout | None:
        if fingerprint not in self._layouts:
            self._layouts[fingerprint] = self.online.find_layout(fingerprint)
        return self._layouts[fingerprint]


def _insert(side: duckdb.DuckDBPyConnection, table: str, places: Sequence[Place]) -> None:
    keys, fields = [key for key, _ in places], [within for _, within in places]
    side.register(
        "some_places",
        pa.table({"key": pa.array(keys, pa.large_binary()), "field": pa.array(fields, pa.large_binary())}),
    )
    side.execute(f"INSERT INTO {table} SELECT key, field FROM some_places")
    side.unregister("some_places")


def _count(side: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(side.execute(query).fetchall()[0][0])
