"""The fast gather gives what Arrow's own `take` gives, for every type and every pattern of nulls."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from materialization.data_plane.offline.asof_take import Places

NUMBERS = st.lists(st.one_of(st.integers(0, 100), st.none()), max_size=12)
TYPES = {
    pa.int8(): int,
    pa.uint64(): int,
    pa.float32(): float,
    pa.float64(): float,
    pa.timestamp("ns", tz="UTC"): int,
    pa.date32(): int,
    pa.time64("us"): int,
    pa.duration("ms"): int,
    pa.bool_(): lambda number: number > 50,
    pa.string(): str,
    pa.decimal128(20, 2): int,
    pa.list_(pa.int64()): lambda number: [number, None],
    pa.struct([("a", pa.int64())]): lambda number: {"a": number},
    pa.null(): lambda _: None,
}


@pytest.mark.parametrize("kind", TYPES, ids=str)
@given(numbers=NUMBERS, start=st.integers(0, 3), pieces=st.integers(1, 2), data=st.data())
def test_taking_is_what_arrow_takes(
    kind: pa.DataType, numbers: list[int | None], start: int, pieces: int, data: st.DataObject
) -> None:
    values = pa.array([None if number is None else TYPES[kind](number) for number in numbers], kind).slice(
        start
    )
    row = st.one_of(st.integers(0, len(values) - 1), st.none()) if len(values) else st.none()
    index = pa.array(data.draw(st.lists(row, max_size=20)), pa.int32()).slice(data.draw(st.integers(0, 2)))
    middle = len(values) // 2
    column = pa.chunked_array([values] if pieces == 1 else [values.slice(0, middle), values.slice(middle)])
    taken = Places(index).take(column)
    taken.validate(full=True)
    assert taken.equals(values.take(index))
