"""The request of a point-in-time join: rows in their order, each with its label's time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError

from feature_repo.errors import FeatureError
from materialization.data_plane.offline.duck import DuckSettings, connect, literal

EVENT_TIMESTAMP = "event_timestamp"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RESULT_TIME = pa.timestamp("us", tz="UTC")
INT64_MAX = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Request:
    """Rows to be joined. Naive times are UTC."""

    table: pa.Table
    """Every column of the caller, one chunk each; the time column as microseconds in UTC."""
    time_column: str
    at: pa.Array
    """The label's time of every row, as a timestamp in UTC of microseconds or nanoseconds."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def is_ns(self) -> bool:
        return bool(self.at.type.unit == "ns")

    def instants(self, *, ns: bool) -> pa.Array:
        """Label times as integers since the epoch; those beyond the range of nanoseconds become its ends."""
        ticks = self.at.cast(pa.int64())
        if not ns or self.is_ns:
            return ticks
        bound = INT64_MAX // 1000
        return pc.multiply(
            pc.max_element_wise(
                pc.min_element_wise(ticks, bound, skip_nulls=False), -bound, skip_nulls=False
            ),
            1000,
        )

    def bounds(self) -> tuple[datetime, datetime] | None:
        """The first and the last label, in whole microseconds; None without any, or beyond datetime's range."""
        ends = pc.min_max(self.at.cast(pa.int64()))
        if not ends["min"].is_valid:
            return None
        per = 1000 if self.is_ns else 1
        try:
            return (
                EPOCH + timedelta(microseconds=ends["min"].as_py() // per),
                EPOCH + timedelta(microseconds=ends["max"].as_py() // per),
            )
        except OverflowError:
            return None

    def require(self, columns: Sequence[str]) -> None:
        """Raises Feast's own error where the request lacks key columns."""
        missing = set(columns) - set(self.table.column_names)
        if missing:
            raise FeastEntityDFMissingColumnsError(set(columns), missing)


def read_request(entity_df: Any, settings: DuckSettings) -> Request:
    """From a pandas frame, an Arrow table or batch, the path of a parquet file (ending in .parquet) or SQL.

    The caller's frame is left as it is. The time column is `event_timestamp`, else the only timestamp there is.
    """
    table = _arrow(entity_df, settings)
    if len(set(table.column_names)) < len(table.column_names):
        raise FeatureError(
            f"the entity frame has columns of the same name: {table.column_names}; rename them"
        )
    columns = [_plain(column) for column in table.columns]
    table = pa.table(columns, names=table.column_names)
    time_column = _time_column(table)
    at = _instants(table.column(time_column).chunk(0), time_column)
    position = table.column_names.index(time_column)
    shown = pc.floor_temporal(at, unit="microsecond").cast(RESULT_TIME) if at.type.unit == "ns" else at
    return Request(table.set_column(position, time_column, shown), time_column, at)


def _arrow(entity_df: Any, settings: DuckSettings) -> pa.Table:
    if isinstance(entity_df, pa.Table):
        return entity_df
    if isinstance(entity_df, pa.RecordBatch):
        return pa.Table.from_batches([entity_df])
    if isinstance(entity_df, pd.DataFrame):
        return _from_pandas(entity_df)
    if isinstance(entity_df, (str, Path)):
        is_path = isinstance(entity_df, Path) or entity_df.strip().endswith(".parquet")
        query = f"FROM read_parquet({literal(str(entity_df).strip())})" if is_path else str(entity_df)
        with connect(settings) as connection:
            return connection.sql(query).to_arrow_table()
    raise FeatureError(
        f"the entity frame is a {type(entity_df).__name__}; pass a pandas frame, an Arrow table, the path of a "
        "parquet file, or SQL"
    )


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise FeatureError(
            f"the entity frame cannot become a table ({'; '.join(map(str, error.args))}); give each column one type"
        ) from error


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One chunk, categories as what they stand for."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def _time_column(table: pa.Table) -> str:
    if EVENT_TIMESTAMP in table.column_names:
        return EVENT_TIMESTAMP
    found = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if len(found) != 1:
        raise EntityTimestampInferenceException(EVENT_TIMESTAMP)
    return str(found[0])


def _instants(column: pa.Array, name: str) -> pa.Array:
    """In UTC; dates and text as pandas reads them."""
    if not pa.types.is_timestamp(column.type):
        if column.null_count == len(column):
            return pa.nulls(len(column), RESULT_TIME)
        if pa.types.is_date(column.type):
            return column.cast(pa.timestamp("us")).cast(RESULT_TIME)
        column = _parsed(column, name)
    if column.type.unit in ("s", "ms"):
        column = column.cast(pa.timestamp("us", tz=column.type.tz))
    return column.cast(pa.timestamp(column.type.unit, tz="UTC"))


def _parsed(column: pa.Array, name: str) -> pa.Array:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise FeatureError(f"column {name} of the entity frame is {column.type}; expected timestamps")
    try:
        return pa.array(pd.to_datetime(column.to_pandas(), utc=True, format="mixed"))
    except ValueError as error:
        raise FeatureError(f"column {name} of the entity frame is no timestamp ({error})") from error


def scattered(rows: npt.NDArray[np.int64], values: npt.NDArray[np.int64], length: int) -> pa.Array:
    """`values` at `rows` of an array of that length, null elsewhere."""
    whole = np.full(length, -1, np.int64)
    whole[rows] = values
    return pa.array(whole, mask=whole < 0)
