"""From a batch of a view's source to packed rows and their places in Redis."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.feature_view import DUMMY_ENTITY_ID

from materialization.data_plane.batch.newest_rows import CREATED, EVENT, instants
from materialization.data_plane.rows.column_values import ARROW_OF, packable, unsuitable
from materialization.data_plane.rows.entity_encoding import encoded, places
from materialization.data_plane.rows.keys import ViewKeys
from materialization.data_plane.rows.layout import NO_TIME, Column, Layout
from materialization.data_plane.rows.packing import pack, seconds


@dataclass(frozen=True)
class PackedBatch:
    """Rows ready to be written, one list entry each."""

    keys: list[bytes]
    fields: list[bytes] | None
    """Of hashes; None for a view of strings."""
    rows: list[bytes]
    keyless: int
    """Rows left out because a join key is null: nobody can ask for them."""


@dataclass(frozen=True)
class RowMaker:
    """How the rows of one view are made."""

    layout: Layout
    keys: ViewKeys
    entities: tuple[Column, ...]
    """The join keys and their types, in the order of `keys`."""

    def __call__(self, batch: pa.RecordBatch) -> PackedBatch:
        """Raises FeatureError where a value does not fit its declared type."""
        entities = self.encoded(batch)
        keyed = _all_valid(entities)
        if keyed is not None:
            batch, entities = batch.filter(keyed), [entity.filter(keyed) for entity in entities]
        keys, fields = places(self.keys, entities)
        arrays = {column.name: packable(column, batch.column(column.name)) for column in self.layout.columns}
        created = batch.column(CREATED) if CREATED in batch.schema.names else None
        try:
            rows = pack(
                self.layout,
                arrays,
                event=instants(batch.column(EVENT), missing=NO_TIME),
                created=None if created is None else instants(created, missing=NO_TIME),
            )
        except (ValueError, pa.ArrowException) as error:
            raise self._blamed(arrays, batch, error) from error
        return PackedBatch(keys, fields, rows.to_pylist(), 0 if keyed is None else keyed.false_count)

    def encoded(self, batch: pa.RecordBatch) -> list[pa.LargeBinaryArray]:
        """The entities of each join key; null where the key is."""
        return [self._entity(column, batch) for column in self.entities]

    def _entity(self, column: Column, batch: pa.RecordBatch) -> pa.LargeBinaryArray:
        if column.name == DUMMY_ENTITY_ID:
            return pa.array([b"s"] * len(batch), pa.large_binary())
        found = batch.column(column.name)
        stored = Column(column.name, column.value_type if column.value_type in ARROW_OF else "STRING")
        try:
            array = packable(stored, found)
            if stored.value_type == "UNIX_TIMESTAMP":
                array = seconds(array)
            return encoded(column, array.cast(ARROW_OF[stored.value_type]))
        except pa.ArrowException as error:
            raise unsuitable(column, found.type, error) from error

    def _blamed(
        self, arrays: Mapping[str, pa.Array], batch: pa.RecordBatch, error: BaseException
    ) -> BaseException:
        """The error with the name of the first column that cannot be packed alone."""
        for column in self.layout.columns:
            alone = Layout((column,))
            try:
                pack(alone, arrays, event=np.zeros(len(batch), np.int64))
            except (ValueError, pa.ArrowException) as its_own:
                return unsuitable(column, batch.column(column.name).type, its_own)
        return error


def _all_valid(entities: Sequence[pa.LargeBinaryArray]) -> pa.BooleanArray | None:
    """Which rows have all keys; None when all rows do."""
    if not any(entity.null_count for entity in entities):
        return None
    return functools.reduce(pc.and_, [entity.is_valid() for entity in entities])
