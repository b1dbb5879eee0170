"""Packed batches into Redis: while one is written, the next is read and packed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from materialization.data_plane.batch.view_rows import ViewRows
from materialization.data_plane.online.writing import Written
from materialization.data_plane.rows.row_making import PackedBatch


@dataclass(frozen=True)
class Loaded:
    """What became of the rows of one view."""

    applied: int = 0
    superseded: int = 0
    """Redis knew something newer."""
    keyless: int = 0
    """Left out, because a join key is null."""

    def plus(self, written: Written, keyless: int) -> Loaded:
        """With one batch more."""
        return Loaded(
            self.applied + written.applied, self.superseded + written.superseded, self.keyless + keyless
        )


def load(
    batches: Iterable[pa.RecordBatch],
    *,
    rows: ViewRows,
    advance: Callable[[int], object],
) -> Loaded:
    """Write all batches, at most two of them in memory; `advance` is told of rows written, or left out."""
    loaded = Loaded()

    def settle(under_way: tuple[PackedBatch, Future[Written]]) -> Loaded:
        packed, future = under_way
        written = future.result()
        advance(len(packed.rows) + packed.keyless)
        return loaded.plus(written, packed.keyless)

    with ThreadPoolExecutor(1, thread_name_prefix="row-writer") as thread:
        under_way: tuple[PackedBatch, Future[Written]] | None = None
        for batch in batches:
            packed = rows.maker(batch)
            if under_way is not None:
                loaded = settle(under_way)
            under_way = packed, thread.submit(rows.writer.write, packed.keys, packed.fields, packed.rows)
        return loaded if under_way is None else settle(under_way)
