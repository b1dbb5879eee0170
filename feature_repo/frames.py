"""Arrow tables and pandas frames as columns of a slate, with the conventions of `columns.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo.columns import Array, Column, Columns, Ragged


def columns_from_table(table: pa.Table) -> dict[str, Column]:
    """Every column of an Arrow table; rows keep their order."""
    return {name: column_from_arrow(table.column(name)) for name in table.column_names}


def column_from_arrow(chunked: pa.ChunkedArray | pa.Array) -> Column:
    """Numbers and booleans as float64 (null is NaN), text as objects (null is None), lists as `Ragged`."""
    array = chunked.combine_chunks() if isinstance(chunked, pa.ChunkedArray) else chunked
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _ragged(array)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(array.to_pandas(), dtype=object)
    if pa.types.is_timestamp(kind):
        micros = array.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.asarray(micros / 1e6)
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _ragged(array: pa.ListArray) -> Ragged:
    values = array.flatten()
    lengths = np.nan_to_num(array.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    flat = np.asarray(values.to_pandas(), dtype=object) if is_text else values.to_numpy(zero_copy_only=False)
    return Ragged(offsets, flat, np.arange(len(array)))


def apply_to_frame(transform: Callable[[Columns], dict[str, Array]], inputs: pd.DataFrame) -> pd.DataFrame:
    """Run a request-time transform inside Feast: missing text counts as empty, as after defaults."""
    return pd.DataFrame(transform(_FrameColumns(inputs)), index=inputs.index)


class _FrameColumns(Mapping[str, Column]):
    """Feast hands over every column of the sources, twice; a column is converted when it is looked at."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __getitem__(self, name: str) -> Column:
        return column_from_series(self._frame[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._frame.columns)

    def __len__(self) -> int:
        return len(self._frame.columns)


def column_from_series(series: pd.Series) -> Column:
    """A pandas column by what it holds: lists, text or numbers; numbers, all missing, if it holds nothing."""
    if series.dtype.kind in "fiub":
        return np.asarray(series.to_numpy(np.float64))
    filled = [_none_if_missing(value) for value in series]
    present = [value for value in filled if value is not None]
    if not present:
        return np.full(len(filled), np.nan)
    if any(isinstance(value, (list, tuple, np.ndarray)) for value in present):
        is_text = any(isinstance(value, str) for row in present for value in row)
        return Ragged.from_lists(filled, object if is_text else np.float64)
    return np.array(["" if value is None else value for value in filled], dtype=object)


def _none_if_missing(value: Any) -> Any:
    return (
        None if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)) else value
    )
