"""Entities of requests and writes: checked against what the view declares, never coerced."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

from feature_repo.errors import RequestError
from materialization.data_plane.rows.entity_encoding import encoded
from materialization.data_plane.rows.keys import TAGS, ViewKeys
from materialization.data_plane.rows.layout import Column


class EntityError(RequestError, KeyError, ValueError):
    """An entity is missing, or is not what its view declares; names it. KeyError and ValueError, as Feast's are."""

    def __str__(self) -> str:
        return str(self.args[0])


KINDS = {f"{name.lower()}_val": name for name in TAGS}
"""Value types that an entity may have, by their field of `Value`."""
WHOLE = {"INT32": 32, "INT64": 64}
PLAIN: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "BYTES": (bytes,),
    "BOOL": (bool, np.bool_),
    "FLOAT": (int, float, np.integer, np.floating),
    "DOUBLE": (int, float, np.integer, np.floating),
    "UNIX_TIMESTAMP": (int, np.integer, datetime, np.datetime64),
    "UUID": (str, uuid.UUID),
    "TIME_UUID": (str, uuid.UUID),
}
"""Python types that hold an entity of a value type exactly."""


def columns_of_rows(entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
    """A request's columns. Raises EntityError where rows do not all have the same names."""
    if isinstance(entity_rows, Mapping):
        return dict(entity_rows)
    if not entity_rows:
        raise EntityError("entity_rows", "the request has no rows; give at least one")
    names = entity_rows[0].keys()
    for number, row in enumerate(entity_rows):
        if row.keys() != names:
            raise EntityError(
                "entity_rows",
                f"All entity_rows must have the same keys: row 0 has {', '.join(names)}, row {number} has "
                f"{', '.join(row)}",
            )
    return {name: [row[name] for row in entity_rows] for name in names}


def exact_values(name: str, column: Sequence[Any] | RepeatedValue, declared: str) -> list[Any]:
    """A column's entities as plain Python values. Raises EntityError for one that is not of the declared type."""
    values = column.val if isinstance(column, RepeatedValue) else column
    return [_exact(name, value, declared) for value in values]


def _exact(name: str, value: Any, declared: str) -> Any:
    """The value where it is of the declared type. Raises EntityError where it is not, or is missing."""
    if isinstance(value, Value):
        kind = value.WhichOneof("val")
        if kind is None or kind == "null_val":
            value = None
        elif KINDS.get(kind, kind) == declared or declared not in TAGS:
            return getattr(value, kind)
    if value is None or value is np.ma.masked or (isinstance(value, float) and np.isnan(value)):
        raise EntityError(
            name, f"is missing (None) in the request, and is declared {declared}; give a value for it"
        )
    if isinstance(value, bool) and declared not in ("BOOL", "UNKNOWN"):
        raise _unsuitable(name, value, declared)
    if declared in WHOLE:
        bound = 1 << WHOLE[declared] - 1
        if isinstance(value, (int, np.integer)) and -bound <= value < bound:
            return int(value)
    elif isinstance(value, PLAIN.get(declared, object)):
        return value
    raise _unsuitable(name, value, declared)


def _unsuitable(name: str, value: Any, declared: str) -> EntityError:
    return EntityError(
        name, f"is declared {declared}, found {value!r} ({type(value).__name__}); keys are never converted"
    )


def columns_of_keys(entity_keys: Sequence[EntityKey]) -> dict[str, list[Value]]:
    """Entity keys as columns by join key; keys of a view without entity may have no names.

    Raises EntityError where they do not all have the same names.
    """
    names = sorted(entity_keys[0].join_keys) if entity_keys else []
    columns: dict[str, list[Value]] = {name: [] for name in names}
    for key in entity_keys:
        if sorted(key.join_keys) != names:
            raise EntityError(
                ", ".join(key.join_keys),
                f"the other keys of the call are of {', '.join(names)}; pass them apart",
            )
        for name, value in zip(key.join_keys, key.entity_values, strict=True):
            columns[name].append(value)
    return columns or {DUMMY_ENTITY_ID: [Value(string_val="")] * len(entity_keys)}


def encoded_columns(
    keys: ViewKeys, columns: Mapping[str, Sequence[Value]], declared: Mapping[str, str]
) -> list[list[bytes]]:
    """Encoded entities of each join key, in the order of `keys`; `declared` are the join keys' value types.

    Raises EntityError where the names are not exactly the view's join keys, or a value is no entity.
    """
    if sorted(columns) != sorted(keys.join_keys):
        raise EntityError(
            ", ".join(keys.join_keys),
            f"view {keys.view} is keyed by {', '.join(keys.join_keys)}, found {', '.join(columns) or 'nothing'}; "
            "give exactly the view's join keys",
        )
    return [_encoded(name, columns[name], declared.get(name, "")) for name in keys.join_keys]


def located(keys: ViewKeys, entities: Sequence[Sequence[bytes]]) -> tuple[list[bytes], list[bytes] | None]:
    """Redis keys of rows and, in hashes, their fields."""
    places = [keys.prefix + first for first in entities[0]]
    return places, [keys.field(row) for row in zip(*entities, strict=True)] if keys.is_hash else None


def _encoded(name: str, values: Iterable[Value], declared: str) -> list[bytes]:
    """Each entity as its type's letter and its value; whole numbers under the declared width."""
    encoders = dict(_ENCODERS)
    if declared in WHOLE:
        encoders["int32_val"] = encoders["int64_val"] = _WHOLE_ENCODERS[declared]
    return [encoders.get(value.WhichOneof("val"), _other)(name, value) for value in values]


def _other(name: str, value: Value) -> bytes:
    """Of a type that is rarely a key; as the batch engine writes it."""
    kind = value.WhichOneof("val")
    if kind is None or kind == "null_val":
        raise EntityError(name, "is missing (None); every row needs all join keys")
    if kind not in KINDS:
        raise EntityError(
            name, f"found a {kind.removesuffix('_val')}, which cannot be a key; use {', '.join(TAGS)}"
        )
    array = pa.array([getattr(value, kind)], pa.float32() if kind == "float_val" else None)
    return bytes(encoded(Column(name, KINDS[kind]), array)[0].as_py())


_ENCODERS: dict[str | None, Callable[[str, Value], bytes]] = {
    "string_val": lambda _, value: b"s" + value.string_val.encode(),
    "bytes_val": lambda _, value: b"b" + value.bytes_val,
    "int32_val": lambda _, value: b"i%d" % value.int32_val,
    "int64_val": lambda _, value: b"l%d" % value.int64_val,
    "unix_timestamp_val": lambda _, value: b"t%d" % value.unix_timestamp_val,
}
_WHOLE_ENCODERS: dict[str, Callable[[str, Value], bytes]] = {
    "INT32": lambda _, value: b"i%d" % (value.int32_val or value.int64_val),
    "INT64": lambda _, value: b"l%d" % (value.int64_val or value.int32_val),
}
