"""Stock Feast behind the same call.

python -m ranking_service.bench.stock_server CASE ANSWER PORT PLACES

Asks `get_online_features` for what the model sees: stored values, and the outputs of on-demand views, which Feast
computes from their inputs and the request. Of that it makes the float32 matrix, and runs the model on it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from feast import FeatureStore

from feature_repo.columns import Column, Ragged
from feature_repo.errors import OnlineStoreError
from ranking_service.assemble import encode, fill
from ranking_service.bench.floor_server import patient_link, serve
from ranking_service.bench.slates import Case
from ranking_service.bench.stock import open_stock, quiet
from ranking_service.bench.stored import StoredRows
from ranking_service.bundle import Bundle, load
from ranking_service.contract import Contract, Field
from ranking_service.online.request import RankRequest
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.wire import decode

ABSOLUTE, RELATIVE = 1e-9, 2.0**-22
"""How far a number may be from ours: two units in the last place of a float32, as when requests are replayed."""

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Stock(ranking_pb2_grpc.RankingServiceServicer):  # type: ignore[misc]
    """Reads, computes, scores, and gives the prepared answer."""

    store: FeatureStore
    bundle: Bundle
    answer: ranking_pb2.RankResponse

    async def Rank(self, message: ranking_pb2.RankRequest, _context: Any) -> ranking_pb2.RankResponse:
        self.bundle.booster.inplace_predict(self.matrix(message))
        return self.answer

    def matrix(self, message: ranking_pb2.RankRequest) -> Matrix:
        """What the model sees: float32 [candidates, features].

        Of Feast's ways the fastest, if by little: columns of the request instead of a dict for each candidate, which
        Feast turns into columns; `to_dict`, which `to_df` and `to_arrow` start with.
        """
        contract = self.bundle.contract
        with quiet():
            response = self.store.get_online_features(
                features=[f"{feature.origin}:{feature.name}" for feature in contract.features],
                entity_rows=entity_columns(decode(message, time.time), contract),
            )
        found = response.to_dict()
        columns = [
            encode(fill(_column(found[feature.name], feature.field), feature.field), feature)
            for feature in contract.features
        ]
        return np.stack(columns, axis=1, dtype=np.float32, casting="same_kind")


def entity_columns(request: RankRequest, contract: Contract) -> dict[str, list[Any]]:
    """The ids and, where on-demand views read it, the request itself: a value for each candidate."""
    given = request.columns(contract) if contract.transforms else {}
    fields = {field.name: field for field in contract.request_fields}
    return {
        "user_id": [request.user_id] * len(request.candidate_ids),
        "item_id": list(request.candidate_ids),
        **{name: _values(fill(column, fields[name])) for name, column in given.items()},
    }


def _values(column: Column) -> list[Any]:
    return column.to_lists() if isinstance(column, Ragged) else column.tolist()


def _column(values: list[Any], field: Field) -> Column:
    """Of what Feast gives, where None is missing."""
    return np.array(values, object if field.is_text else np.float64)


def check_matrix(matrix: Matrix, ours: Matrix, contract: Contract) -> None:
    """Stock sees what the server sees. Raises OnlineStoreError naming every feature it has otherwise."""
    relative = [0.0 if feature.field.is_text else RELATIVE for feature in contract.features]
    same = np.isclose(matrix, ours, rtol=relative, atol=ABSOLUTE, equal_nan=True).all(axis=0)
    if not same.all():
        names = ", ".join(contract.feature_names[place] for place in np.flatnonzero(~same))
        raise OnlineStoreError(
            f"stock Feast has other values than the server of {names}; a figure would say nothing"
        )


def main(case: Case, answer: bytes, port: int, places: dict[str, str]) -> None:
    bundle = load(case.bundle)
    bundle.booster.set_param({"nthread": 1})
    contract = bundle.contract
    store = open_stock(Path(places["registry"]), places["redis_url"], contract.project)
    stock = Stock(store, bundle, ranking_pb2.RankResponse.FromString(answer))
    ours = StoredRows.of(contract).matrix(patient_link(case.redis_url), case.slates[0], case.at)
    check_matrix(stock.matrix(case.messages()[0]), ours, contract)
    asyncio.run(serve(stock, port))


if __name__ == "__main__":
    main(
        Case.read(Path(sys.argv[1])),
        Path(sys.argv[2]).read_bytes(),
        int(sys.argv[3]),
        json.loads(sys.argv[4]),
    )
