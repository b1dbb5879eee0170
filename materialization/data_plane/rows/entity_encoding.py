"""Entity columns as the encoded entities of `keys`, a whole column at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from materialization.data_plane.rows.keys import TAGS, ViewKeys
from materialization.data_plane.rows.layout import Column

NOTHING = pa.scalar(b"", pa.large_binary())


def encoded(column: Column, array: pa.Array) -> pa.LargeBinaryArray:
    """Each entity as its type's letter and its value; null where it is null. `array` holds the declared type."""
    tag = pa.scalar(TAGS[column.value_type], pa.large_binary())
    if column.value_type not in ("STRING", "BYTES") or pa.types.is_string(array.type):
        array = array.cast(pa.large_string())
    return pc.binary_join_element_wise(tag, array.cast(pa.large_binary()), NOTHING)


def places(keys: ViewKeys, entities: Sequence[pa.LargeBinaryArray]) -> tuple[list[bytes], list[bytes] | None]:
    """Redis keys of rows and, in hashes, their fields; `entities` in the order of the join keys."""
    prefix = pa.scalar(keys.prefix, pa.large_binary())
    found = pc.binary_join_element_wise(prefix, entities[0], NOTHING).to_pylist()
    if not keys.is_hash:
        return found, None
    if len(entities) == 2:
        return found, entities[1].to_pylist()
    return found, pc.binary_join_element_wise(*map(netstrings, entities[1:]), NOTHING).to_pylist()


def netstrings(values: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """`keys.netstring` of each."""
    lengths = pc.binary_length(values).cast(pa.large_string()).cast(pa.large_binary())
    return pc.binary_join_element_wise(lengths, values, pa.scalar(b":", pa.large_binary()))
