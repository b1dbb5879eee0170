"""A baseline from the rows a model learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.columns import Ragged
from feature_repo.frames import column_from_arrow
from ranking_service.contract import Contract
from ranking_service.training.baseline.bins import FeatureBins, Kind, choose_bins, kind_of, kinds, number_bins
from ranking_service.training.baseline.embeddings import dimension_of, names_of, projected, with_embeddings
from ranking_service.training.baseline.file import Baseline
from ranking_service.training.baseline.population import Population
from ranking_service.training.baseline.rows import RowKeys, hash_texts

CHOOSING = 200_000
"""Rows, evenly over time, whose quantiles and atoms make the bins; every row is counted."""
SLICES = ("surface", "device")
BATCH = 200_000
Matrix = npt.NDArray[np.float32]


def learned_baseline(
    matrix: Matrix, requests: pa.Table, contract: Contract, embeddings: Mapping[str, Ragged]
) -> Baseline:
    """Of rows in time order with request_id, user_id, item_id, request_timestamp and the request fields."""
    dimensions = {
        name: length for name, column in embeddings.items() if (length := dimension_of(column)) is not None
    }
    chosen = np.unique(np.linspace(0, len(matrix) - 1, min(len(matrix), CHOOSING)).astype(np.int64))
    bins = tuple(
        choose_bins(matrix[chosen, place], feature, kind)
        for place, (feature, kind) in enumerate(zip(contract.features, kinds(contract), strict=True))
    )
    for name, dimension in dimensions.items():
        bins += _embedding_bins(embeddings[name].take(chosen), name, dimension, contract)
    population = Population(bins)
    keys = row_keys(requests)
    for rows in batches(keys, BATCH):
        lists = {name: embeddings[name].take(rows) for name in dimensions}
        population.add(with_embeddings(matrix[rows], lists, dimensions), keys.take(rows))
    assert population.sample is not None, "a training set has rows"
    return Baseline(population.frozen(), population.sample, dimensions)


def float_lists(table: pa.Table, contract: Contract) -> dict[str, Ragged]:
    """The stored lists of numbers of joined rows: what may be embeddings."""
    names = [
        field.name
        for view in contract.views
        for field in view.fields
        if field.value_type in ("FLOAT_LIST", "DOUBLE_LIST") and field.name in table.column_names
    ]
    columns = {name: column_from_arrow(table[name]) for name in names}
    return {name: column for name, column in columns.items() if isinstance(column, Ragged)}


def row_keys(requests: pa.Table) -> RowKeys:
    """Rows of one request id, user and moment are one request's."""

    def texts(name: str) -> npt.NDArray[np.object_]:
        return np.asarray(requests[name].to_pandas(), dtype=object)

    users = hash_texts(texts("user_id"))
    seconds = np.asarray(requests["request_timestamp"].to_numpy(), np.float64)
    names = requests["request_id"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    alike = np.stack([names.astype(np.int64), users.view(np.int64)])
    _, first, request = np.unique(alike, axis=1, return_index=True, return_inverse=True)
    return RowKeys(
        request=np.asarray(request, np.int64).reshape(-1),
        user=users[first],
        item=hash_texts(texts("item_id")),
        seconds=seconds[first],
        slices={name: texts(name)[first] for name in SLICES if name in requests.column_names},
    )


def batches(keys: RowKeys, size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of about `size`, never part of a request."""
    order = np.argsort(keys.request, kind="stable")
    starts = np.append(0, np.flatnonzero(np.diff(keys.request[order])) + 1)
    cuts = np.unique(starts[np.searchsorted(starts, np.arange(0, len(order), size), side="right") - 1])
    yield from (part for part in np.split(order, cuts) if len(part))


def _embedding_bins(
    column: Ragged, feature: str, dimension: int, contract: Contract
) -> tuple[FeatureBins, ...]:
    view = next(view for view in contract.views for field in view.fields if field.name == feature)
    kind: Kind = kind_of(view.join_keys)
    block = projected(column, feature, dimension)
    return tuple(
        number_bins(block[:, place], name=name, origin=view.name, kind=kind)
        for place, name in enumerate(names_of(feature))
    )
