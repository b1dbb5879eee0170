"""The built partitions of a world: read by run, and rewritten for one night."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from materialization.declared import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from materialization.feature_build.snapshot import partitions
from ranking_service.contract import ViewPlan
from skew_checks.bench.world import World

TIMES = (EVENT_TIMESTAMP, CREATED_TIMESTAMP)


@dataclass
class Partitions:
    """Every file that is rewritten is remembered with its bytes and the time it was written at."""

    world: World
    before: dict[Path, bytes] = field(default_factory=dict)
    _written: dict[Path, int] = field(default_factory=dict)
    _read: dict[Path, pa.Table] = field(default_factory=dict)

    def instants(self, view: ViewPlan) -> dict[datetime, Path]:
        """Of the view's partitions, oldest first."""
        return dict(sorted(partitions(self.world.workspace.feature_path(view.name)).items()))

    def at(self, view: ViewPlan, instant: datetime) -> pa.Table:
        """The newest snapshot that is not newer than `instant`, as it was built."""
        found = self.instants(view)
        return self._table(found[max(built for built in found if built <= instant)])

    def after(self, view: ViewPlan, instant: datetime) -> pa.Table | None:
        """The first snapshot newer than `instant`."""
        later = [path for built, path in self.instants(view).items() if built > instant]
        return self._table(later[0]) if later else None

    def rewrite(self, path: Path, table: pa.Table) -> None:
        """For this night."""
        if path not in self.before:
            self.before[path] = path.read_bytes()
            self._written[path] = path.stat().st_mtime_ns
        pq.write_table(table, path, compression="zstd")

    def restore(self) -> None:
        """Put everything back."""
        for path, content in self.before.items():
            path.write_bytes(content)
            os.utime(path, ns=(self._written[path], self._written[path]))
        self.before.clear()

    def _table(self, path: Path) -> pa.Table:
        """As built: what this night rewrote is not what was."""
        if path not in self._read:
            source = pa.BufferReader(self.before[path]) if path in self.before else path
            self._read[path] = pq.read_table(source, partitioning=None).combine_chunks()
        return self._read[path]


def keys_in(table: pa.Table, view: ViewPlan) -> list[tuple[str, ...]]:
    """The entity of each row, in the order of the view's join keys."""
    return list(zip(*(table[key].to_pylist() for key in view.join_keys), strict=True))


def rows_of(table: pa.Table, view: ViewPlan, keys: set[tuple[str, ...]]) -> pa.Table:
    """The rows of these entities, in the table's order."""
    return table.filter(pa.array([key in keys for key in keys_in(table, view)], pa.bool_()))


def with_rows(table: pa.Table, view: ViewPlan, rows: pa.Table) -> pa.Table:
    """The table with the rows of the same entities in the place of its own."""
    taken = set(keys_in(rows, view))
    kept = table.filter(pa.array([key not in taken for key in keys_in(table, view)], pa.bool_()))
    return pa.concat_tables([kept, rows.cast(table.schema)]).combine_chunks()


def aligned(table: pa.Table, other: pa.Table, view: ViewPlan) -> pa.Table:
    """`other`'s row of each entity of `table`; the table's own where it has none."""
    place = {key: row for row, key in enumerate(keys_in(other, view))}
    wanted = [place.get(key, len(other) + row) for row, key in enumerate(keys_in(table, view))]
    return (
        pa.concat_tables([other.cast(table.schema), table])
        .take(pa.array(wanted, pa.int64()))
        .combine_chunks()
    )


def changed_rows(left: pa.Table, right: pa.Table, view: ViewPlan) -> npt.NDArray[np.bool_]:
    """bool [rows]: where any feature differs; times do not count."""
    result = np.zeros(len(left), np.bool_)
    for name in (declared.name for declared in view.fields):
        if not left[name].equals(right[name]):
            pairs = zip(left[name].to_pylist(), right[name].to_pylist(), strict=True)
            result |= np.array([one != other and (one == one or other == other) for one, other in pairs])
    return result


def with_columns(table: pa.Table, values: Mapping[str, pa.Array]) -> pa.Table:
    """These columns in the place of the table's own, in its types; NaN is null."""
    for name, column in values.items():
        place = table.schema.get_field_index(name)
        kind = table.schema.field(name)
        table = table.set_column(place, kind, pa.chunked_array([column.cast(kind.type, safe=False)]))
    return table


def later(table: pa.Table, name: str, by: timedelta) -> pa.Table:
    """The table with one of its times moved."""
    place = table.schema.get_field_index(name)
    micros = np.asarray(table[name].cast(pa.int64()).to_numpy()) + int(by / timedelta(microseconds=1))
    moved = pa.array(micros).cast(table.schema.field(name).type)
    return table.set_column(place, table.schema.field(name), pa.chunked_array([moved]))
