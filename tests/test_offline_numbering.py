"""Positions of rows in several files, as the join finds them again."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from materialization.data_plane.offline.asof_numbering import found_at, needed
from materialization.data_plane.offline.duck_sources import FILE_SHIFT

POSITION = st.builds(lambda file, row: file << FILE_SHIFT | row, st.integers(0, 4), st.integers(0, 9))
FAR = st.builds(lambda row: 7 << FILE_SHIFT | row, st.integers(10**9, 10**9 + 3))
WANTED = st.lists(st.none() | POSITION, max_size=60) | st.lists(st.none() | POSITION | FAR, max_size=8)


@given(WANTED, st.randoms(use_true_random=False))
def test_every_request_row_finds_its_row_whatever_order_they_were_read_in(
    wanted: list, random: object
) -> None:
    positions = pa.array(wanted, pa.int64())
    rows = needed(positions).to_pylist()
    assert sorted(rows) == sorted({position for position in wanted if position is not None})
    random.shuffle(rows)
    half = len(rows) // 2
    read = pa.chunked_array([rows[:half], rows[half:]], pa.int64())
    index = found_at(positions, read)
    assert index.equals(pc.index_in(positions, value_set=read.combine_chunks()).cast(index.type)) or not rows
    assert [None if at is None else rows[at] for at in index.to_pylist()] == wanted
