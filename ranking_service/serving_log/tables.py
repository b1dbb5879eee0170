"""The two tables of the serving log, made from rankings.

requests, a row per request                      candidates, a row per candidate
    served_id         joins both, always unique      served_id, item_id
    request_id        a caller may repeat one        position          in the request
    user_id, bundle_version, level
    received_timestamp  when the server got it       rank              in the answer, 0 is best
    candidate_count, returned_count                  is_returned       whether the caller asked for that many
    <request field>   as sent, null if not           score             the model's output
    <user feature>    as stored, before defaults     <item or pair feature>  as stored, before defaults
    event_timestamp__<view>, presence__<view>        event_timestamp__<view>, presence__<view>
                                                     model__<feature>  float32, exactly the model's input

Numbers are float64 as the transforms saw them, null for missing; lists are empty for missing; the request
field `request_timestamp` is Unix seconds. Event times are those of the row found, expired rows included.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from feature_repo.columns import Array, Column, Ragged, take
from feature_repo.errors import BundleError
from materialization.data_plane.online.batched_fetch import Presence
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.fetched import EntityRows
from ranking_service.online.ranker import Ranking

TIMESTAMP = pa.timestamp("us", tz="UTC")
MODEL_PREFIX = "model__"
EVENT_TIME_PREFIX = "event_timestamp__"
PRESENCE_PREFIX = "presence__"
PRESENCE_NAMES = pa.array([presence.name.lower() for presence in Presence])
"""found, not_found, expired."""
USER_KEYS = ("user_id",)
REQUEST_COLUMNS = (
    "served_id",
    "request_id",
    "user_id",
    "bundle_version",
    "level",
    "received_timestamp",
    "candidate_count",
    "returned_count",
)
CANDIDATE_COLUMNS = ("served_id", "item_id", "position", "rank", "is_returned", "score")


@dataclass(frozen=True)
class LoggedRanking:
    """One ranking to be logged."""

    ranking: Ranking
    received_timestamp: float
    """Unix seconds; differs from the request's own time in replays."""
    served_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Unique, unlike the request's id, which a caller may use twice."""


def check_names(contract: Contract) -> None:
    """Raises BundleError when a feature's name is a column of the log's own."""
    taken = {*REQUEST_COLUMNS, *CANDIDATE_COLUMNS}
    names = [declared.name for view in contract.views for declared in view.fields]
    names += [declared.name for declared in contract.request_fields]
    clashes = sorted(taken.intersection(names))
    if clashes:
        raise BundleError(
            f"features {', '.join(clashes)} have names of the serving log's own columns; rename them"
        )


def requests_table(logged: Sequence[LoggedRanking], contract: Contract) -> pa.Table:
    """A row per request, in order."""
    rankings = [entry.ranking for entry in logged]
    requests = [ranking.request for ranking in rankings]
    received = np.array([entry.received_timestamp for entry in logged])
    columns: dict[str, pa.Array] = {
        "served_id": pa.array([entry.served_id for entry in logged], pa.string()),
        "request_id": pa.array([request.request_id for request in requests], pa.string()),
        "user_id": pa.array([request.user_id for request in requests], pa.string()),
        "bundle_version": pa.array([ranking.bundle_version for ranking in rankings], pa.string()),
        "level": pa.array([ranking.level for ranking in rankings], pa.int8()),
        "received_timestamp": _instants(received),
        "candidate_count": pa.array([len(request.candidate_ids) for request in requests], pa.int32()),
        "returned_count": pa.array([ranking.returned for ranking in rankings], pa.int32()),
    }
    first = np.zeros(1, np.intp)
    for declared in contract.request_fields:
        sent = (take(ranking.context[declared.name], first) for ranking in rankings)
        columns[declared.name] = _joined(sent, declared)
    views = [view for view in contract.views if view.join_keys == USER_KEYS]
    return pa.table(columns | _stored([[ranking.fetched.user] for ranking in rankings], views))


def candidates_table(logged: Sequence[LoggedRanking], contract: Contract) -> pa.Table:
    """A row per candidate: the requests in order, within each the candidates as sent."""
    rankings = [entry.ranking for entry in logged]
    requests = [ranking.request for ranking in rankings]
    counts = [len(request.candidate_ids) for request in requests]
    ranks = [np.argsort(ranking.order) for ranking in rankings]
    returned = [rank < ranking.returned for rank, ranking in zip(ranks, rankings, strict=True)]
    served_ids = pa.array([entry.served_id for entry in logged], pa.string())
    columns: dict[str, pa.Array] = {
        "served_id": served_ids.take(pa.array(np.repeat(np.arange(len(logged)), counts))),
        "item_id": pa.array([item for request in requests for item in request.candidate_ids], pa.string()),
        "position": pa.array(np.concatenate([np.arange(count) for count in counts]), pa.int32()),
        "rank": pa.array(np.concatenate(ranks), pa.int32()),
        "is_returned": pa.array(np.concatenate(returned), pa.bool_()),
        "score": pa.array(np.concatenate([ranking.scores for ranking in rankings]), pa.float32()),
    }
    views = [view for view in contract.views if view.join_keys != USER_KEYS]
    columns |= _stored([[ranking.fetched.item, ranking.fetched.pair] for ranking in rankings], views)
    model_input = np.concatenate([ranking.model_input for ranking in rankings])
    for index, name in enumerate(contract.feature_names):
        columns[MODEL_PREFIX + name] = _numbers(model_input[:, index], pa.float32())
    return pa.table(columns)


def _stored(found: Sequence[Sequence[EntityRows]], views: Sequence[ViewPlan]) -> dict[str, pa.Array]:
    """Raw values, event times and presence of `views`; `found` holds each ranking's rows."""
    columns: dict[str, pa.Array] = {}
    for view in views:
        rows = [next(rows for rows in kinds if view.name in rows.views) for kinds in found]
        presence = np.concatenate([entity.views[view.name].presence for entity in rows])
        times = np.concatenate([entity.views[view.name].event_timestamps for entity in rows])
        columns[EVENT_TIME_PREFIX + view.name] = _instants(times)
        columns[PRESENCE_PREFIX + view.name] = PRESENCE_NAMES.take(pa.array(presence))
        for declared in view.fields:
            columns[declared.name] = _joined((entity.columns[declared.name] for entity in rows), declared)
    return columns


def _joined(columns: Iterable[Column], declared: Field) -> pa.Array:
    """One column over all rankings, in the log's type of the field."""
    parts = list(columns)
    if declared.is_list:
        entry = pa.string() if declared.value_type == "STRING_LIST" else pa.float64()
        lists = [row for part in parts if isinstance(part, Ragged) for row in part.to_lists()]
        return pa.array(lists, pa.list_(entry))
    values = np.concatenate([part for part in parts if not isinstance(part, Ragged)])
    return pa.array(values, pa.string()) if declared.is_text else _numbers(values, pa.float64())


def _numbers(values: Array, kind: pa.DataType) -> pa.Array:
    """NaN is null."""
    return pa.array(np.ascontiguousarray(values), kind, from_pandas=True)


def _instants(seconds: Array) -> pa.Array:
    missing = np.isnan(seconds)
    micros = np.round(np.where(missing, 0, seconds) * 1e6).astype(np.int64)
    return pa.array(micros, pa.int64(), mask=missing).cast(TIMESTAMP)
