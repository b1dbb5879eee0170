"""The two tables of the serving log, made from rankings of one contract.

requests, a row per request                      candidates, a row per candidate
    served_id         joins both, always unique      served_id, item_id
    request_id        a caller may repeat one        position          in the request
    user_id, model, bundle_version                   rank              in the answer, 0 is best
    level, reason, degraded_views                    is_returned       whether the caller asked for that many
    cached_candidates                                score             the model's output, null without model
    received_timestamp  when the server got it
    candidate_count, returned_count
    <request field>   as sent, null if not
    <user feature>    as stored, before defaults     <item or pair feature>  as stored, before defaults
    filled__<field>   after its default              filled__<feature>       after its default
    event_timestamp__<view>, presence__<view>        event_timestamp__<view>, presence__<view>
                                                     model__<feature>  float32, exactly the model's input

Missing numbers and texts are null, missing lists are empty. FLOAT features are float32 as stored, other numbers
float64 as the transforms saw them; the request field `request_timestamp` is Unix seconds. A value after its
default has a `filled__` column unless a number's `model__` column says it already, or its default is "missing".
Event times are those of the row found, expired rows included; presence is `Origin` in small letters.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import take
from feature_repo.errors import BundleError
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.block_plan import BlockColumns
from ranking_service.online.fetched import EntityRows, Origin
from ranking_service.online.ranker import Ranking
from ranking_service.serving_log.arrow_columns import TIMESTAMP, column, instants, numbers

MODEL_PREFIX = "model__"
FILLED_PREFIX = "filled__"
EVENT_TIME_PREFIX = "event_timestamp__"
PRESENCE_PREFIX = "presence__"
PARTITION = "date"
"""UTC day of the request's own time; the name of the folders."""
PRESENCE_NAMES = pa.array([origin.name.lower() for origin in Origin])
USER_KEYS = ("user_id",)
DEGRADED_VIEWS = pa.list_(pa.struct([("view", pa.string()), ("level", pa.int8())]))
REQUEST_COLUMNS = {
    "served_id": pa.string(),
    "request_id": pa.string(),
    "user_id": pa.string(),
    "model": pa.string(),
    "bundle_version": pa.string(),
    "level": pa.int8(),
    "reason": pa.string(),
    "degraded_views": DEGRADED_VIEWS,
    "cached_candidates": pa.int32(),
    "received_timestamp": TIMESTAMP,
    "candidate_count": pa.int32(),
    "returned_count": pa.int32(),
}
CANDIDATE_COLUMNS = ("served_id", "item_id", "position", "rank", "is_returned", "score")


def new_served_id() -> str:
    """Unique, and later ones sort behind earlier ones, so that a reader finds one without reading them all."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


@dataclass(frozen=True)
class LoggedRanking:
    """One ranking to be logged. Its arrays must not change any more: they are read later."""

    ranking: Ranking
    contract: Contract
    """What the ranking was made by."""
    received_timestamp: float
    """Unix seconds; differs from the request's own time in replays."""
    model: str = ""
    """Its name in the server's settings."""
    served_id: str = field(default_factory=new_served_id, kw_only=True)
    """Unique, unlike the request's id, which a caller may use twice."""

    @property
    def day(self) -> str:
        """UTC day of the request's own time, such as 2026-03-01."""
        return f"{datetime.fromtimestamp(self.ranking.request.request_timestamp, UTC):%Y-%m-%d}"


def check_names(contract: Contract) -> None:
    """Raises BundleError when a feature's name is a column of the log's own."""
    taken = {*REQUEST_COLUMNS, *CANDIDATE_COLUMNS, PARTITION}
    clashes = sorted(taken.intersection(contract.raw_fields))
    if clashes:
        raise BundleError(
            f"features {', '.join(clashes)} have names of the serving log's own columns; rename them"
        )


def requests_table(logged: Sequence[LoggedRanking], contract: Contract) -> pa.Table:
    """A row per request, in order."""
    rows = [_request_row(entry) for entry in logged]
    own = {name: pa.array([row[name] for row in rows], kind) for name, kind in REQUEST_COLUMNS.items()}
    columns: dict[str, pa.Array] = own
    first = np.zeros(1, np.intp)
    for declared in contract.request_fields:
        sent = [take(entry.ranking.context[declared.name], first) for entry in logged]
        columns[declared.name] = column(sent, declared)
    users = [(1, (entry.ranking.fetched.user,)) for entry in logged]
    columns |= _stored(users, [view for view in contract.views if view.join_keys == USER_KEYS])
    return pa.table(columns | _filled(columns, contract))


def candidates_table(logged: Sequence[LoggedRanking], contract: Contract) -> pa.Table:
    """A row per candidate: the requests in order, within each the candidates as sent."""
    rankings = [entry.ranking for entry in logged]
    counts = [len(ranking.order) for ranking in rankings]
    ranks = [_ranks(ranking.order) for ranking in rankings]
    returned = [rank < ranking.returned for rank, ranking in zip(ranks, rankings, strict=True)]
    served_ids = pa.array([entry.served_id for entry in logged], pa.string())
    items = [item for ranking in rankings for item in ranking.request.candidate_ids]
    columns: dict[str, pa.Array] = {
        "served_id": served_ids.take(pa.array(np.repeat(np.arange(len(logged)), counts))),
        "item_id": pa.array(items, pa.string()),
        "position": pa.array(np.concatenate([np.arange(count, dtype=np.int32) for count in counts])),
        "rank": pa.array(np.concatenate(ranks)),
        "is_returned": pa.array(np.concatenate(returned)),
        "score": numbers(np.concatenate([ranking.scores for ranking in rankings]), pa.float32()),
    }
    if all(ranking.fetched.is_unread for ranking in rankings):
        return pa.table(columns | _no_features(sum(counts), contract))
    kinds = [(len(ranking.order), (ranking.fetched.item, ranking.fetched.pair)) for ranking in rankings]
    return pa.table(columns | _features(kinds, [ranking.model_input for ranking in rankings], contract))


def _features(
    found: Found, inputs: Sequence[npt.NDArray[np.float32] | None], contract: Contract
) -> dict[str, pa.Array]:
    """What is stored of each candidate, and what the model saw of it."""
    columns = _stored(found, [view for view in contract.views if view.join_keys != USER_KEYS])
    columns |= _filled(columns, contract)
    width = len(contract.features)
    matrices = [
        _input_or_missing(matrix, count, width) for matrix, (count, _) in zip(inputs, found, strict=True)
    ]
    by_feature = np.concatenate([matrix.T for matrix in matrices], axis=1)
    for name, values in zip(contract.feature_names, by_feature, strict=True):
        columns[MODEL_PREFIX + name] = numbers(values, pa.float32())
    return columns


def _no_features(count: int, contract: Contract) -> dict[str, pa.Array]:
    """The same of candidates of which nothing was read: one row, so many times. Under overload these are many, and
    must cost the writer little."""
    one, places = _features([(1, ())], [None], contract), pa.repeat(0, count)
    return {
        name: pa.nulls(count, values.type) if values.null_count else values.take(places)
        for name, values in one.items()
    }


def _request_row(entry: LoggedRanking) -> dict[str, object]:
    """The log's own columns."""
    ranking, fetched = entry.ranking, entry.ranking.fetched
    return {
        "served_id": entry.served_id,
        "request_id": ranking.request.request_id,
        "user_id": ranking.request.user_id,
        "model": entry.model,
        "bundle_version": ranking.bundle_version,
        "level": ranking.level,
        "reason": ranking.reason,
        "degraded_views": [{"view": view.view, "level": view.level} for view in fetched.degraded],
        "cached_candidates": fetched.cached_candidates,
        "received_timestamp": round(entry.received_timestamp * 1e6),
        "candidate_count": len(ranking.order),
        "returned_count": ranking.returned,
    }


def _ranks(order: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """int32 [candidates]: the place of each in the answer."""
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return ranks


def _input_or_missing(
    matrix: npt.NDArray[np.float32] | None, rows: int, width: int
) -> npt.NDArray[np.float32]:
    """An answer without the model has no input."""
    return np.full((rows, width), np.nan, np.float32) if matrix is None else matrix


Found = Sequence[tuple[int, Sequence[EntityRows]]]
"""For each ranking: how many rows a view of these kinds has, and the kinds."""


def _stored(found: Found, views: Sequence[ViewPlan]) -> dict[str, pa.Array]:
    """Raw values, event times and presence of `views`; a view that was not even tried counts as unread."""
    columns: dict[str, pa.Array] = {}
    floats = _floats(found)
    for view in views:
        rows = [next((kind for kind in kinds if view.name in kind.views), None) for _, kinds in found]
        counts = [count for count, _ in found]
        presence = [
            np.full(count, Origin.UNREAD, np.int8) if kind is None else kind.views[view.name].presence
            for kind, count in zip(rows, counts, strict=True)
        ]
        times = [
            np.full(count, np.nan) if kind is None else kind.views[view.name].event_timestamps
            for kind, count in zip(rows, counts, strict=True)
        ]
        columns[EVENT_TIME_PREFIX + view.name] = instants(np.concatenate(times))
        columns[PRESENCE_PREFIX + view.name] = pa.DictionaryArray.from_arrays(
            pa.array(np.concatenate(presence), pa.int8()), PRESENCE_NAMES
        )
        for declared in view.fields:
            if declared.name in floats:
                columns[declared.name] = numbers(floats[declared.name], pa.float32())
                continue
            parts = [
                count if kind is None else kind.columns[declared.name]
                for kind, count in zip(rows, counts, strict=True)
            ]
            columns[declared.name] = column(parts, declared, is_stored=True)
    return columns


def _floats(found: Found) -> dict[str, npt.NDArray[np.float32]]:
    """The FLOAT columns that lie side by side in blocks, turned all at once: most of a log, and its cost."""
    columns: dict[str, npt.NDArray[np.float32]] = {}
    for kind in zip(*(kinds for _, kinds in found), strict=True):
        rows = [entity.columns for entity in kind if isinstance(entity.columns, BlockColumns)]
        if len(rows) == len(kind) and all(part.plan is rows[0].plan for part in rows):
            by_column = np.concatenate([part.blocks.floats.T for part in rows], axis=1)
            columns |= {name: by_column[place] for name, place in rows[0].plan.floats.items()}
    return columns


def _filled(columns: Mapping[str, pa.Array], contract: Contract) -> dict[str, pa.Array]:
    """Values after their defaults, of those of `columns` where nothing else in the log says them."""
    said = {feature.name for feature in contract.features if not feature.field.is_text}
    return {
        FILLED_PREFIX + name: _fill(columns[name], declared)
        for name, declared in contract.raw_fields.items()
        if name in columns and name not in said and not declared.is_list and not _stays_missing(declared)
    }


def _stays_missing(declared: Field) -> bool:
    return isinstance(declared.default, float) and math.isnan(declared.default)


def _fill(values: pa.Array, declared: Field) -> pa.Array:
    if declared.is_text:
        return pc.fill_null(values, str(declared.default))
    return pc.fill_null(values.cast(pa.float64()), float(declared.default))
