"""Stock Feast behind the same call.

python -m ranking_service.bench.stock_server CASE ANSWER PORT PLACES

Reads every stored value with `get_online_features`, makes a float32 matrix of the numbers, and runs the model. What
stands between the two for texts, lists and request-time transforms is left out, in stock's favour, where the model
has such features: then the model sees a matrix that is always the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from feast import FeatureStore

from feature_repo.errors import OnlineStoreError
from ranking_service.bench.floor_server import patient_link, serve
from ranking_service.bench.slates import Case
from ranking_service.bench.stock import open_stock, quiet
from ranking_service.bench.stored import StoredRows
from ranking_service.bundle import Bundle, load
from ranking_service.contract import Contract
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc


@dataclass(frozen=True)
class Stock(ranking_pb2_grpc.RankingServiceServicer):  # type: ignore[misc]
    """Reads, scores, and gives the prepared answer."""

    store: FeatureStore
    bundle: Bundle
    references: list[str]
    """view:feature of every stored value."""
    numbers: list[str]
    """Those that become columns of the matrix."""
    answer: ranking_pb2.RankResponse
    matrix: npt.NDArray[np.float32]

    async def Rank(self, message: ranking_pb2.RankRequest, _context: Any) -> ranking_pb2.RankResponse:
        rows = self.numeric_rows(message)
        self.bundle.booster.inplace_predict(rows if rows.shape == self.matrix.shape else self.matrix)
        return self.answer

    def numeric_rows(self, message: ranking_pb2.RankRequest) -> npt.NDArray[np.float32]:
        """float32 [candidates, numbers]."""
        with quiet():
            response = self.store.get_online_features(
                features=self.references,
                entity_rows=[{"user_id": message.user_id, "item_id": item} for item in message.candidate_ids],
            )
        columns = response.to_dict()
        return np.array([columns[name] for name in self.numbers], np.float32).T


def references_of(contract: Contract) -> list[str]:
    return [f"{view.name}:{field.name}" for view in contract.views for field in view.fields]


def numbers_of(contract: Contract) -> list[str]:
    fields = [field for view in contract.views for field in view.fields]
    return [field.name for field in fields if not field.is_text and not field.is_list]


def main(case: Case, answer: bytes, port: int, places: dict[str, str]) -> None:
    bundle = load(case.bundle)
    bundle.booster.set_param({"nthread": 1})
    contract = bundle.contract
    matrix = StoredRows.of(contract).matrix(patient_link(case.redis_url), case.slates[0], case.at)
    store = open_stock(Path(places["registry"]), places["redis_url"], contract.project)
    response = ranking_pb2.RankResponse.FromString(answer)
    stock = Stock(store, bundle, references_of(contract), numbers_of(contract), response, matrix)
    _check(stock, case)
    asyncio.run(serve(stock, port))


def _check(stock: Stock, case: Case) -> None:
    """Stock reads what ours reads, where the matrix is nothing but stored numbers."""
    rows = stock.numeric_rows(case.messages()[0])
    comparable = tuple(stock.numbers) == stock.bundle.contract.feature_names
    if comparable and not np.array_equal(rows, stock.matrix, equal_nan=True):
        raise OnlineStoreError("stock Feast reads other values than the server; a figure would say nothing")


if __name__ == "__main__":
    main(
        Case.read(Path(sys.argv[1])),
        Path(sys.argv[2]).read_bytes(),
        int(sys.argv[3]),
        json.loads(sys.argv[4]),
    )
