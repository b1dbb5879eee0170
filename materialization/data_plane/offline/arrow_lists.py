"""DuckDB names the elements of an Arrow list `l`, everyone else `item`; Feast reads types by their names."""

from __future__ import annotations

import pyarrow as pa


def plain_lists(schema: pa.Schema) -> pa.Schema:
    """The schema with the usual name for list elements, at any depth; casting to it copies no values."""
    return pa.schema([field.with_type(plain_list(field.type)) for field in schema])


def plain_list(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(pa.field("item", plain_list(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_list(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain_list(kind.key_type), plain_list(kind.item_type))
    return kind
