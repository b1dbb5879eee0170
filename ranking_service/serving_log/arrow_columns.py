"""Columns of many rankings as one Arrow column each, without a step per candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from feature_repo.columns import Array, Column, Ragged
from ranking_service.contract import Field

TIMESTAMP = pa.timestamp("us", tz="UTC")


def column(parts: Sequence[Column | int], declared: Field, *, is_stored: bool = False) -> pa.Array:
    """One column over all rankings; a number in the place of a part is so many missing values.

    FLOAT features as stored are float32, other numbers float64.
    """
    if declared.is_list:
        return _lists(parts, pa.string() if declared.value_type == "STRING_LIST" else pa.float64())
    missing = None if declared.is_text else np.nan
    values = [np.full(part, missing) if isinstance(part, int) else part for part in parts]
    joined = np.concatenate([part for part in values if not isinstance(part, Ragged)])
    if declared.is_text:
        return pa.array(joined, pa.string())
    return numbers(joined, pa.float32() if is_stored and declared.value_type == "FLOAT" else pa.float64())


def numbers(values: Array, kind: pa.DataType) -> pa.Array:
    """NaN is null."""
    missing = np.isnan(values)
    return pa.array(
        np.ascontiguousarray(values, kind.to_pandas_dtype()), kind, mask=missing if missing.any() else None
    )


def instants(seconds: Array) -> pa.Array:
    """Unix seconds to microseconds; NaN is null."""
    missing = np.isnan(seconds)
    micros = np.round(np.where(missing, 0, seconds) * 1e6).astype(np.int64)
    return pa.array(micros, pa.int64(), mask=missing).cast(TIMESTAMP)


def _lists(parts: Sequence[Column | int], entry: pa.DataType) -> pa.Array:
    """Missing lists are empty."""
    lengths, values = [], []
    for part in parts:
        if isinstance(part, Ragged):
            lengths.append(part.lengths)
            values.append(part.values[part.flat()[1]])
        elif isinstance(part, int):
            lengths.append(np.zeros(part, np.int64))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int32)
    flat = pa.array(np.concatenate(values), entry) if values else pa.array([], entry)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)
