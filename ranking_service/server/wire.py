"""Between the proto's messages and the pipeline's values."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping

import numpy as np

from feature_repo.errors import RequestError
from ranking_service.contract import Scalar
from ranking_service.online.explain import Explanation
from ranking_service.online.ranker import Ranking
from ranking_service.online.request import RankRequest
from ranking_service.proto import ranking_pb2

YEAR_ONE, YEAR_TEN_THOUSAND = -62_135_596_800, 253_402_300_800
"""The instants a `google.protobuf.Timestamp` may hold, in Unix seconds."""
PRIORITIES = {number: name for name, number in ranking_pb2.Priority.items()}


def decode(message: ranking_pb2.RankRequest, clock: Callable[[], float]) -> RankRequest:
    """The request as sent, with an id and a time of its own.

    Raises RequestError for a priority, a time or a context value that is none.
    """
    if message.priority not in PRIORITIES:
        raise RequestError("priority", f"is {message.priority}; send one of {', '.join(PRIORITIES.values())}")
    context = message.context
    return RankRequest(
        request_id=message.request_id or uuid.uuid4().hex,
        user_id=message.user_id,
        candidate_ids=tuple(message.candidate_ids),
        request_timestamp=_seconds(context) if context.HasField("request_time") else clock(),
        surface=context.surface or None,
        device=context.device or None,
        session_position=context.session_position if context.HasField("session_position") else None,
        features={name: _scalar(name, value) for name, value in context.features.items()},
        limit=message.limit,
        explain=message.explain,
    )


def _seconds(context: ranking_pb2.Context) -> float:
    """Unix seconds, rounded once from whole microseconds as `datetime.timestamp` does."""
    time = context.request_time
    if not (YEAR_ONE <= time.seconds < YEAR_TEN_THOUSAND and 0 <= time.nanos < 10**9):
        raise RequestError("context.request_time", "is outside the years 1 to 9999; send a valid timestamp")
    return (int(time.seconds) * 10**6 + int(time.nanos) // 1000) / 10**6


def _scalar(name: str, value: ranking_pb2.ContextValue) -> Scalar:
    kind = value.WhichOneof("value")
    if kind is None:
        raise RequestError(f'context.features["{name}"]', "has no value; set number or text, or leave it out")
    return value.text if kind == "text" else float(value.number)


def encode(
    ranking: Ranking, *, before: Mapping[str, int], model: str, worker: int
) -> ranking_pb2.RankResponse:
    """The answer the caller asked for; scores are 0 where there was no model. `before`: microseconds of stages before
    the ranker's."""
    fetched = ranking.fetched
    missing, incomplete = fetched.missing()
    micros = {**before, **ranking.micros}
    response = ranking_pb2.RankResponse(
        request_id=ranking.request.request_id,
        bundle_version=ranking.bundle_version,
        model=model,
        level=ranking.level,
        reason=ranking.reason,
        micros=ranking_pb2.StageMicros(**micros, total=sum(micros.values())),
        incomplete_candidates=incomplete,
        missing_by_view=missing,
        cached_candidates=fetched.cached_candidates,
        explanation_skipped=ranking.explanation_skipped,
        without_room=ranking.without_room,
        worker=worker,
    )
    for view in fetched.degraded:
        response.degraded_views.add(
            view=view.view,
            level=view.level,
            last_known_candidates=view.last_known_candidates,
            oldest_seconds=view.oldest_seconds,
        )
    _add_items(response, ranking)
    return response


def _add_items(response: ranking_pb2.RankResponse, ranking: Ranking) -> None:
    """Best first."""
    best = ranking.order[: ranking.returned]
    scores = (
        np.nan_to_num(ranking.scores[best]).tolist()
        if ranking.model_input is None
        else ranking.scores[best].tolist()
    )
    candidates, add = ranking.request.candidate_ids, response.items.add
    for rank, (position, score) in enumerate(zip(best.tolist(), scores, strict=True)):
        item = add()
        item.item_id, item.score, item.rank = candidates[position], score, rank
    for item, explanation in zip(response.items, ranking.explanations, strict=False):
        item.explanation.CopyFrom(_explanation(explanation))


def _explanation(explanation: Explanation) -> ranking_pb2.Explanation:
    return ranking_pb2.Explanation(
        margin=explanation.margin,
        base=explanation.base,
        others=explanation.others,
        top=[
            ranking_pb2.Contribution(
                feature=entry.feature.name,
                description=entry.feature.description,
                contribution=entry.contribution,
                value=None if math.isnan(entry.value) else entry.value,
                category=entry.category,
            )
            for entry in explanation.top
        ],
    )
