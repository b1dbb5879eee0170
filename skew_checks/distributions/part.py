"""What the distribution checks are fed with: some requests with their candidates, as served and as replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.columns import Array, Ragged
from feature_repo.frames import columns_from_table
from skew_checks.replay.served import Served

SLICES = ("surface", "device")
"""Columns of the log's requests that are slices whenever the service has them."""


@dataclass(frozen=True)
class Part:
    """Requests and their candidates; every request is whole, and in one part only."""

    model_input: npt.NDArray[np.float32]
    """float32 [rows, features]: as the booster read it; columns in the order of the judging contract."""
    request: npt.NDArray[np.int64]
    """int64 [rows]: which request of the part, counted from 0."""
    user_id: Array
    """Text [requests]."""
    item_id: Array
    """Text [rows]."""
    request_timestamp: npt.NDArray[np.float64]
    """Unix seconds [requests]."""
    offline_input: npt.NDArray[np.float32] | None = None
    """float32 [rows, features]: what replay gives; None where there is nothing to compare in pairs.

    Where a served row is older than the offline one and that is no mismatch (legitimate lag), put the served value.
    """
    returned: npt.NDArray[np.bool_] | None = None
    """bool [rows]: candidates that the answer returned. Drift is counted over these, because training learned from
    what was shown; None takes every row. The paired comparison always takes every row."""
    slices: Mapping[str, Array] = field(default_factory=dict)
    """Text [requests] by dimension: "surface", "device", "country", "user age", "replica", "hour"; None is none."""
    embeddings: Mapping[str, Ragged] = field(default_factory=dict)
    """Lists of floats [rows], by feature, as served."""

    @classmethod
    def of(
        cls,
        served: Served,
        *,
        offline_input: npt.NDArray[np.float32] | None = None,
        slices: Mapping[str, Array] | None = None,
    ) -> Part:
        """Of what was read from the log; the request fields in SLICES are added to `slices`."""
        requests = columns_from_table(
            served.requests.select([name for name in SLICES if name in served.requests.column_names])
        )
        return cls(
            model_input=served.model_input,
            request=served.request,
            user_id=_texts(served.requests["user_id"]),
            item_id=_texts(served.candidates["item_id"]),
            request_timestamp=np.asarray(served.requests["request_timestamp"].to_numpy(), np.float64),
            offline_input=offline_input,
            returned=np.asarray(served.candidates["is_returned"].to_numpy(), np.bool_),
            slices={**{name: np.asarray(requests[name]) for name in requests}, **(slices or {})},
            embeddings={
                name: column
                for name, column in columns_from_table(_float_lists(served)).items()
                if isinstance(column, Ragged)
            },
        )


def _texts(column: pa.ChunkedArray) -> Array:
    return np.asarray(column.to_pandas(), dtype=object)


def _float_lists(served: Served) -> pa.Table:
    """The list-of-number columns of candidates, and those of requests repeated for their candidates."""
    of_rows = served.candidates.select(_list_names(served.candidates))
    of_requests = served.requests.select(_list_names(served.requests))
    if of_requests.num_columns:
        repeated = of_requests.take(pa.array(served.request))
        for name in repeated.column_names:
            of_rows = of_rows.append_column(name, repeated[name])
    return of_rows


def _list_names(table: pa.Table) -> list[str]:
    return [
        field.name
        for field in table.schema
        if pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type)
    ]
