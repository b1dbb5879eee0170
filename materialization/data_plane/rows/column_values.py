"""Source columns as the arrays `packing.pack` takes, with the values Feast's own conversion would give.

Where Arrow and Feast agree, a column is passed on or cast as a whole. The rest (maps, structs, JSON, sets, decimals,
times as text ...) goes through Feast's `python_values_to_proto_values`, one column of one batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from feature_repo.errors import FeatureError
from materialization.data_plane.rows.layout import BLOB_LISTS, BLOBS, FIXED, LISTS, Column

ARROW_OF = {
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "INT64": pa.int64(),
    "INT32": pa.int32(),
    "UNIX_TIMESTAMP": pa.int64(),
    "BOOL": pa.bool_(),
    "STRING": pa.large_string(),
    "BYTES": pa.large_binary(),
}
"""Value types with an encoding of their own, and the Arrow type their values become."""


def packable(column: Column, array: pa.Array) -> pa.Array:
    """An array for `pack`: NaN in a column of single numbers is null, as in Feast.

    Raises FeatureError that names the column where its values cannot be what the schema declares.
    """
    try:
        array = _plain(array)
        if _is_vectorized(column.value_type, array):
            return _nan_as_null(_prepared(column.value_type, array))
        return _through_feast(column.value_type, array)
    except (AssertionError, TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        raise unsuitable(column, array.type, error) from error


def unsuitable(column: Column, found: pa.DataType, error: BaseException) -> FeatureError:
    """The error for a column whose values are not what the schema declares."""
    return FeatureError(
        f"column {column.name} is declared {column.value_type}, its source holds {found}, and not every value "
        f"converts ({str(error).strip() or type(error).__name__}); correct the schema or the source"
    )


def _plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_vectorized(declared: str, array: pa.Array) -> bool:
    """Whether `pack` makes of the array what Feast would."""
    found = array.type
    if pa.types.is_null(found):
        return declared in FIXED or declared in BLOBS
    if declared in LISTS or declared in BLOB_LISTS:
        return _is_list(found) and _is_vectorized_list(declared.removesuffix("_LIST"), array)
    if declared == "UNIX_TIMESTAMP":
        return _is(found, pa.types.is_timestamp, pa.types.is_date, pa.types.is_integer)
    if declared == "BOOL":
        return _is(found, pa.types.is_boolean, pa.types.is_integer)
    if declared in FIXED:
        instants = declared == "INT64" and pa.types.is_timestamp(found)
        return instants or _is_number(found) or _is(found, pa.types.is_boolean)
    if declared == "STRING":
        return _is_text(found) or pa.types.is_integer(found)
    return declared == "BYTES" and _is_bytes(found)


def _is_vectorized_list(declared: str, lists: pa.Array) -> bool:
    found, has_nulls = lists.type.value_type, lists.flatten().null_count > 0
    if declared in ("FLOAT", "DOUBLE"):
        return _is_number(found)
    if declared in ("INT32", "INT64"):
        return _is(found, pa.types.is_integer) and not has_nulls
    if declared == "UNIX_TIMESTAMP":
        return _is(found, pa.types.is_timestamp, pa.types.is_integer) and not has_nulls
    if declared == "BOOL":
        return _is(found, pa.types.is_boolean) and not has_nulls
    return (_is_text(found) if declared == "STRING" else _is_bytes(found)) and not has_nulls


def _prepared(declared: str, array: pa.Array) -> pa.Array:
    """What `pack` would refuse or read otherwise than Feast, put right."""
    found = array.type
    if pa.types.is_null(found):
        return array.cast(ARROW_OF[declared])
    if declared in ("FLOAT_LIST", "DOUBLE_LIST"):
        return _nulls_as_nan(array)
    if declared == "INT64" and pa.types.is_timestamp(found):
        return array.cast(pa.int64())
    if declared == "BOOL" and pa.types.is_integer(found):
        return pc.not_equal(array, pa.scalar(0, found))
    if declared in FIXED and declared != "BOOL" and pa.types.is_boolean(found):
        return array.cast(pa.uint8())
    if pa.types.is_decimal(found):
        return array.cast(pa.float64())
    return array


def _nan_as_null(array: pa.Array) -> pa.Array:
    """In single numbers only: a list keeps its NaN."""
    if not pa.types.is_floating(array.type):
        return array
    nan = pc.is_nan(array)
    return pc.if_else(nan, pa.scalar(None, array.type), array) if pc.any(nan).as_py() else array


def _nulls_as_nan(lists: pa.Array) -> pa.Array:
    """Feast reads a null inside a list of floats as NaN."""
    lists = lists.cast(pa.large_list(lists.type.value_type))
    values = lists.values
    if not values.null_count:
        return lists
    if not pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
    filled = values.fill_null(pa.scalar(float("nan"), values.type))
    return pa.LargeListArray.from_arrays(lists.offsets, filled, mask=lists.is_null())


def _through_feast(declared: str, array: pa.Array) -> pa.Array:
    if declared in ARROW_OF and _is_list(array.type):
        raise ValueError("a list is no single value")
    values = python_values_to_proto_values(array.to_numpy(zero_copy_only=False), ValueType[declared])
    if declared in ARROW_OF:
        return pa.array([_only(value) for value in values], ARROW_OF[declared])
    if declared in LISTS or declared in BLOB_LISTS:
        of = pa.large_list(ARROW_OF[declared.removesuffix("_LIST")])
        return pa.array([None if (one := _only(value)) is None else list(one.val) for value in values], of)
    return serialized(values)


def serialized(values: Sequence[Value]) -> pa.LargeBinaryArray:
    """Feast Values as binary; one that holds nothing is null."""
    return pa.array(
        [
            None if value.WhichOneof("val") is None else value.SerializeToString(deterministic=True)
            for value in values
        ],
        pa.large_binary(),
    )


def _only(value: Value) -> Any:
    field = value.WhichOneof("val")
    return None if field is None else getattr(value, field)


def _is(found: pa.DataType, *kinds: Callable[[pa.DataType], bool]) -> bool:
    return any(kind(found) for kind in kinds)


def _is_list(found: pa.DataType) -> bool:
    return _is(found, pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def _is_number(found: pa.DataType) -> bool:
    return _is(found, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)


def _is_text(found: pa.DataType) -> bool:
    return _is(found, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _is_bytes(found: pa.DataType) -> bool:
    return _is(found, pa.types.is_binary, pa.types.is_large_binary)
