"""Made-up rows of any view, packed and written by the data plane's own writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from materialization.data_plane.online.connection import ConnectionSettings, RedisConnections
from materialization.data_plane.online.writing import RowWriter
from materialization.data_plane.rows.keys import ViewKeys, text_entities
from materialization.data_plane.rows.packing import pack
from ranking_service.bench.stored import layout
from ranking_service.contract import Contract, Field, ViewPlan

WORDS = ("drama", "comedy", "home", "search", "DE", "FR", "tv", "phone")
"""What made-up texts say: few words, so that texts of different views match now and then."""
LONGEST_LIST = 4
ROWS_PER_WRITE = 20_000

Offsets = npt.NDArray[np.int32]
Ids = Mapping[str, Sequence[str]]
"""Ids by join key, one for each row."""


def write_rows(
    redis_url: str,
    contract: Contract,
    ids: Mapping[frozenset[str], Ids],
    *,
    at: datetime,
    random: np.random.Generator,
) -> None:
    """A row of every view for each of its entities; `ids` by the set of a view's join keys.

    Raises OnlineStoreError.
    """
    address = redis_url.removeprefix("redis://").split("/")[0]
    connections = RedisConnections(ConnectionSettings(address))
    for view in contract.views:
        keys = ViewKeys(contract.project, view.name, view.join_keys)
        writer = RowWriter(connections, keys)
        writer.register(layout(view))
        entities = [text_entities(ids[frozenset(view.join_keys)][key]) for key in view.join_keys]
        for start in range(0, len(entities[0]), ROWS_PER_WRITE):
            part = [column[start : start + ROWS_PER_WRITE] for column in entities]
            rows = _packed(view, len(part[0]), at, random)
            fields = [keys.field(entity) for entity in zip(*part, strict=True)] if keys.is_hash else None
            writer.write([keys.key((first,)) for first in part[0]], fields, rows)


def _packed(view: ViewPlan, count: int, at: datetime, random: np.random.Generator) -> list[bytes]:
    offsets: Offsets = np.zeros(count + 1, np.int32)
    np.cumsum(random.integers(0, LONGEST_LIST + 1, count), out=offsets[1:])
    arrays = {
        field.name: pa.ListArray.from_arrays(pa.array(offsets), _values(field, offsets[-1], random))
        if field.is_list
        else _values(field, count, random)
        for field in view.fields
    }
    event = np.full(count, round(at.timestamp() * 1e6), np.int64)
    rows: list[bytes] = pack(layout(view), arrays, event=event).to_pylist()
    return rows


def _values(field: Field, count: int, random: np.random.Generator) -> pa.Array:
    """Of the field, or of the lists in it. The lists of a view's row belong together: they are equally long."""
    kind = field.value_type.removesuffix("_LIST")
    if kind == "FLOAT":
        return pa.array(random.standard_normal(count, np.float32))
    if kind == "DOUBLE":
        return pa.array(random.standard_normal(count))
    if kind == "STRING":
        return pa.array(random.choice(WORDS, count), pa.string())
    return pa.array(random.integers(0, 100, count))
