"""Features as they were known at request time: the join that training and replay share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from feature_repo.columns import Columns
from feature_repo.errors import TrainingDataError
from feature_repo.frames import columns_from_table
from materialization.events.schemas import TIMESTAMP
from materialization.feast_store import reading_features
from ranking_service.assemble import assemble
from ranking_service.contract import Contract

KEYS = ("user_id", "item_id")
ROW_ID = "row_id"
EVENT_TIMESTAMP = "event_timestamp"
REQUEST_TIMESTAMP = "request_timestamp"
CHUNK_ROWS = 16_384


def training_join(store: FeatureStore, contract: Contract, requests: pa.Table) -> pa.Table:
    """Join every stored view of the contract to `requests`, as of each row's `request_timestamp` (Unix seconds).

    `requests` has user_id, item_id, request_timestamp and may have more, which is kept. Same rows, same order:
    each row carries an explicit id through Feast's join, so rows that share keys and time stay apart.
    Raises TrainingDataError if Feast's answer is not exactly those rows, FeatureError where a view's partitions are
    missing or damaged.
    """
    entity = _entity_table(requests).to_pandas()
    references = [f"{view.name}:{field.name}" for view in contract.views for field in view.fields]
    with reading_features(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joined = store.get_historical_features(entity, references).to_arrow()
    features = _in_request_order(joined, len(requests)).select([ref.split(":")[1] for ref in references])
    for name in features.column_names:
        requests = requests.append_column(name, features.column(name))
    return requests


def _entity_table(requests: pa.Table) -> pa.Table:
    micros = pc.cast(pc.round(pc.multiply(requests.column(REQUEST_TIMESTAMP), 1e6)), pa.int64())
    columns = {name: requests.column(name) for name in KEYS}
    return pa.table(
        {
            ROW_ID: pa.array(np.arange(len(requests))),
            **columns,
            EVENT_TIMESTAMP: pc.cast(micros, TIMESTAMP),
        }
    )


def _in_request_order(joined: pa.Table, rows: int) -> pa.Table:
    ids = joined.column(ROW_ID).to_numpy()
    order = np.argsort(ids, kind="stable")
    if len(ids) != rows or not np.array_equal(ids[order], np.arange(rows)):
        raise TrainingDataError(
            f"the historical join answered {len(ids)} rows ({len(np.unique(ids))} different) for {rows} requests; "
            "its offline store drops or repeats rows"
        )
    return joined.take(pa.array(order))


def assemble_table(table: pa.Table, contract: Contract) -> npt.NDArray[np.float32]:
    """The model's matrix for joined rows: float32 [rows, features]. Assembles in chunks, to bound memory."""
    result = np.empty((len(table), len(contract.features)), np.float32)
    start = 0
    for columns in column_chunks(table, contract):
        matrix = assemble(columns, contract)
        result[start : start + len(matrix)] = matrix
        start += len(matrix)
    return result


def column_chunks(table: pa.Table, contract: Contract) -> Iterator[Columns]:
    """The columns `assemble` needs, some thousand rows at a time, in order."""
    stored = [field.name for view in contract.views for field in view.fields]
    needed = table.select([*stored, *(field.name for field in contract.request_fields)])
    for start in range(0, len(table), CHUNK_ROWS):
        yield columns_from_table(needed.slice(start, CHUNK_ROWS))
