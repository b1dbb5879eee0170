"""Sort the rows of a source table into those to keep and those to put aside, each with one reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import EventDataError
from materialization.events.writer import EventWriter

UNKNOWN_CODE = -124
"""What KuaiRand writes for an unknown number."""
NUMBER = r"^[+-]?\d{1,15}(\.\d+)?$"
ID = r"^\d+$"
EARLIEST_MS = 946_684_800_000
"""2000-01-01 UTC: no event of a log is older."""
LATEST_MS = 4_102_444_800_000
"""2100-01-01 UTC."""
DUPLICATE = "exact duplicate of another row"

Rows = npt.NDArray[np.bool_]


class Sieve:
    """The rows of one source file; a row keeps the first reason it is rejected for."""

    def __init__(self, file: Path, table: pa.Table) -> None:
        self._file = file
        self.table = table.combine_chunks()
        self._reasons: npt.NDArray[Any] = np.full(table.num_rows, None, object)

    @property
    def kept(self) -> Rows:
        """bool [rows]: not rejected so far."""
        return np.array([reason is None for reason in self._reasons], bool)

    def reject(self, bad: pa.ChunkedArray | pa.Array | Rows, reason: str) -> None:
        """Put the rows aside for which `bad` is true; null counts as false."""
        mask = bad if isinstance(bad, np.ndarray) else pc.fill_null(bad, False).to_numpy(zero_copy_only=False)
        self._reasons[mask.astype(bool) & self.kept] = reason

    def reject_missing(self, columns: Sequence[str]) -> None:
        """Put rows without a value aside."""
        for column in columns:
            self.reject(pc.is_null(self.table[column]), f"{column} is missing")

    def reject_implausible_times(self, column: str, *, unit_ms: int = 1) -> None:
        """Put rows aside whose Unix time, counted in `unit_ms` milliseconds, lies outside 2000..2100."""
        times = self.table[column]
        outside = pc.or_(
            pc.less(times, EARLIEST_MS // unit_ms), pc.greater_equal(times, LATEST_MS // unit_ms)
        )
        self.reject(outside, f"{column} is not a time between 2000 and 2100")

    def reject_unless_flag(self, column: str) -> None:
        """Put rows aside whose value is neither 0, 1 nor null."""
        self.reject(
            pc.invert(pc.is_in(self.table[column], pa.array([0, 1, None], pa.int64()))),
            f"{column} is not 0 or 1",
        )

    def reject_unless_number(self, column: str) -> None:
        """Put rows aside whose text id is no number."""
        self.reject(pc.invert(pc.match_substring_regex(self.table[column], ID)), f"{column} is not a number")

    def reject_duplicates(self) -> None:
        """Put aside the kept rows that equal an earlier kept row in every column."""
        kept = np.flatnonzero(self.kept)
        repeated = np.zeros(len(self.table), bool)
        rows = self.table.take(pa.array(kept)).to_pandas()
        repeated[kept] = rows.duplicated(keep="first").to_numpy()
        self.reject(repeated, DUPLICATE)

    def reject_repeats(self, column: str) -> None:
        """Put aside the kept rows whose key an earlier kept row already has."""
        kept = np.flatnonzero(self.kept)
        repeated = np.zeros(len(self.table), bool)
        keys = self.table[column].take(pa.array(kept)).to_pandas()
        repeated[kept] = keys.duplicated(keep="first").to_numpy()
        self.reject(repeated, f"{column} repeats an earlier row's")

    def numbers(self, columns: Sequence[str], *, largest: int = 2**31 - 1) -> None:
        """Turn text columns into int64: the unknown code is null, rows go whose text is no number, or
        one whose size is above `largest`.
        """
        for column in columns:
            text = self.table[column]
            readable = pc.match_substring_regex(text, NUMBER)
            self.reject(pc.invert(readable), f"{column} is not a number")
            whole = pc.if_else(readable, text, pa.scalar(None, pa.string())).cast(pa.float64())
            self.reject(pc.greater(pc.abs(whole), largest), f"{column} is above {largest:,}")
            self._replace(column, unknown_to_null(pc.trunc(whole).cast(pa.int64())))

    def _replace(self, column: str, values: pa.ChunkedArray | pa.Array) -> None:
        index = self.table.schema.get_field_index(column)
        self.table = self.table.set_column(index, column, values)

    def accepted(self) -> pa.Table:
        """The rows kept. Raises EventDataError when the file has none, naming the commonest reason."""
        kept = self.kept
        if not kept.any():
            reasons, counts = np.unique(self._reasons.astype(str), return_counts=True)
            raise EventDataError(
                f"{self._file} is not what it should be: no row is usable, most because "
                f"{reasons[counts.argmax()]} ({counts.max():,} of {len(self.table):,})"
            )
        return self.table.filter(pa.array(kept))

    def rejected(self, original: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """Each reason with its rows of `original` and their `source_row` (0-based, header not counted)."""
        numbered = original.append_column("source_row", pa.array(np.arange(len(original))))
        for reason in sorted(set(self._reasons[~self.kept])):
            yield reason, numbered.filter(pa.array(np.equal(self._reasons, reason).astype(bool)))

    def put_aside(self, writer: EventWriter, table_name: str, original: pa.Table) -> None:
        """Quarantine what was rejected, with the values `original` had."""
        for reason, rows in self.rejected(original):
            writer.quarantine(table_name, rows, reason)


def unknown_to_null(values: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Integers with the unknown code replaced by null."""
    return pc.if_else(pc.equal(values, UNKNOWN_CODE), pa.scalar(None, values.type), values)


def zero_to_null(values: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Integers with 0 replaced by null."""
    return pc.if_else(pc.equal(values, 0), pa.scalar(None, values.type), values)


def number_repeats(ids: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Text ids made unique: the second row of an id gets `-2` appended, the third `-3`."""
    names = ids.to_pandas()
    ordinal = names.groupby(names).cumcount() + 1
    repeated = ordinal > 1
    names[repeated] = names[repeated] + "-" + ordinal[repeated].astype(str)
    return pa.array(names, pa.string())
