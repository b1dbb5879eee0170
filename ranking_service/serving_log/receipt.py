"""A receipt: what happened to one request, from the log alone, and the proof that it is true.

The proof makes the model's input from the logged raw values by the function that serving and training share, scores
it with the logged bundle, and compares both with what was logged: every bit of every float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.errors import EventDataError, RequestError
from feature_repo.frames import columns_from_table
from ranking_service.assemble import assemble
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract
from ranking_service.online.explain import Explanation, explain
from ranking_service.serving_log.feature_lines import FeatureLine, feature_lines
from ranking_service.serving_log.find import LoggedRequest
from ranking_service.serving_log.tables import CANDIDATE_COLUMNS, MODEL_PREFIX, REQUEST_COLUMNS
from ranking_service.transform_code import changed_transforms

MODEL_FREE = 3

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ItemReceipt:
    """One candidate."""

    item_id: str
    position: int
    rank: int
    is_returned: bool
    score: float | None
    margin: float | None
    base: float | None
    """What the model expects without knowing any feature: margin = base + contributions."""
    features: tuple[FeatureLine, ...]
    """Largest contribution first."""


@dataclass(frozen=True)
class Proof:
    """Logged against recomputed."""

    candidates: int
    features: int
    wrong_inputs: tuple[tuple[str, str, float, float], ...]
    """(item, feature, logged, recomputed)"""
    wrong_scores: tuple[tuple[str, float, float], ...]
    """(item, logged, recomputed)"""
    wrong_order: tuple[str, ...]
    """Items at another place than their scores give them."""
    changed_transforms: tuple[str, ...] = ()
    """Whose code is not what the bundle was trained with, so that differences are to be expected."""

    @property
    def is_possible(self) -> bool:
        """An answer without the model has nothing to recompute."""
        return self.candidates > 0

    @property
    def holds(self) -> bool:
        return self.is_possible and not (self.wrong_inputs or self.wrong_scores or self.wrong_order)


NOT_PROVABLE = Proof(0, 0, (), (), ())


@dataclass(frozen=True)
class Receipt:
    """Everything about one request."""

    request: dict[str, Any]
    """The log's own columns, and the request fields as sent."""
    items: tuple[ItemReceipt, ...]
    """Best first."""
    proof: Proof


def receipt(logged: LoggedRequest, bundle: Bundle, *, items: Sequence[str] = (), top: int = 0) -> Receipt:
    """The receipt of the named `items`, else of the `top` best (0: all); the proof is always of all candidates.

    Raises EventDataError where the log lacks what the bundle reads, RequestError for an item that was no candidate.
    """
    contract = bundle.contract
    rows = _side_by_side(logged)
    _check(rows, contract, bundle)
    chosen = _chosen(rows, items, top)
    columns = columns_from_table(rows.select(list(contract.raw_fields)))
    recomputed = assemble(columns, contract)
    request = logged.request.select([*REQUEST_COLUMNS, *(field.name for field in contract.request_fields)])
    answered = request["level"][0].as_py() < MODEL_FREE
    explanations = explain(bundle, recomputed[chosen], len(contract.features)) if answered else ()
    shown = rows.take(pa.array(chosen))
    lines = feature_lines(shown, contract, explanations)
    made = [
        _item(row, explanations[place] if answered else None, lines[place])
        for place, row in enumerate(shown.select(list(CANDIDATE_COLUMNS)).to_pylist())
    ]
    proof = _proof(rows, recomputed, bundle) if answered else NOT_PROVABLE
    return Receipt(request.to_pylist()[0], tuple(made), proof)


def _side_by_side(logged: LoggedRequest) -> pa.Table:
    """The candidates with their request's columns beside them."""
    table = logged.candidates
    every = pa.array(np.zeros(len(table), np.int64))
    for name in logged.request.column_names:
        if name not in table.column_names:
            table = table.append_column(name, logged.request[name].take(every))
    return table


def _check(rows: pa.Table, contract: Contract, bundle: Bundle) -> None:
    wanted = [*contract.raw_fields, *(MODEL_PREFIX + name for name in contract.feature_names)]
    absent = [name for name in wanted if name not in rows.column_names]
    if absent:
        raise EventDataError(
            f"the log of this request lacks {', '.join(absent)}, which bundle {bundle.version} reads; it is not the "
            "bundle that served it, name that one with --bundle"
        )


def _chosen(rows: pa.Table, items: Sequence[str], top: int) -> npt.NDArray[np.intp]:
    """int: rows of the items, best first."""
    best_first = np.argsort(rows["rank"].to_numpy())
    if not items:
        return best_first[: top or None]
    ids = rows["item_id"].to_pylist()
    strangers = [item for item in items if item not in ids]
    if strangers:
        raise RequestError("item", f"{', '.join(strangers)}: no candidate of this request; it had {len(ids)}")
    return np.array([row for row in best_first if ids[row] in items], np.intp)


def _item(
    row: dict[str, Any], explanation: Explanation | None, lines: tuple[FeatureLine, ...]
) -> ItemReceipt:
    return ItemReceipt(
        item_id=row["item_id"],
        position=row["position"],
        rank=row["rank"],
        is_returned=row["is_returned"],
        score=row["score"],
        margin=explanation.margin if explanation else None,
        base=explanation.base if explanation else None,
        features=lines,
    )


def _proof(rows: pa.Table, recomputed: Matrix, bundle: Bundle) -> Proof:
    items = rows["item_id"].to_pylist()
    names = bundle.contract.feature_names
    logged = np.stack([_floats(rows[MODEL_PREFIX + name]) for name in names], axis=1)
    scores, logged_scores = bundle.booster.inplace_predict(recomputed), _floats(rows["score"])
    ranks = np.empty(len(scores), np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return Proof(
        candidates=len(items),
        features=len(names),
        wrong_inputs=tuple(
            (items[row], names[place], float(logged[row, place]), float(recomputed[row, place]))
            for row, place in np.argwhere(_differ(logged, recomputed))
        ),
        wrong_scores=tuple(
            (items[row], float(logged_scores[row]), float(scores[row]))
            for (row,) in np.argwhere(_differ(logged_scores, scores))
        ),
        wrong_order=tuple(items[row] for (row,) in np.argwhere(ranks != rows["rank"].to_numpy())),
        changed_transforms=changed_transforms(bundle.contract),
    )


def _floats(column: pa.ChunkedArray) -> Matrix:
    """Null is NaN."""
    values: Matrix = column.to_numpy().astype(np.float32)
    return values


def _differ(one: Matrix, other: Matrix) -> npt.NDArray[np.bool_]:
    """Where two arrays have not the same bits; all NaN are the same, they only mean missing."""
    differ = one.view(np.uint32) != other.view(np.uint32)
    result: npt.NDArray[np.bool_] = differ & ~(np.isnan(one) & np.isnan(other))
    return result
