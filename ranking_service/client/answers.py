"""From the proto's answers to values."""

from __future__ import annotations

from ranking_service.client.values import Contribution, DegradedView, Explanation, RankedItem, Ranking
from ranking_service.proto import ranking_pb2

STAGES = tuple(field.name for field in ranking_pb2.StageMicros.DESCRIPTOR.fields)


def ranking(response: ranking_pb2.RankResponse) -> Ranking:
    """The answer as a value."""
    return Ranking(
        request_id=response.request_id,
        items=tuple(_item(item) for item in response.items),
        bundle_version=response.bundle_version,
        level=response.level,
        micros={stage: getattr(response.micros, stage) for stage in STAGES},
        incomplete_candidates=response.incomplete_candidates,
        missing_by_view=dict(response.missing_by_view),
        model=response.model,
        degraded_views=tuple(
            DegradedView(entry.view, entry.level, entry.last_known_candidates, entry.oldest_seconds)
            for entry in response.degraded_views
        ),
        reason=response.reason,
        cached_candidates=response.cached_candidates,
        explanation_skipped=response.explanation_skipped,
        without_room=response.without_room,
        worker=response.worker,
    )


def _item(item: ranking_pb2.RankedItem) -> RankedItem:
    explained = _explanation(item.explanation) if item.HasField("explanation") else None
    return RankedItem(item.item_id, item.score, item.rank, explained)


def _explanation(message: ranking_pb2.Explanation) -> Explanation:
    top = tuple(
        Contribution(
            entry.feature,
            entry.description,
            entry.contribution,
            entry.value if entry.HasField("value") else None,
            entry.category or None,
        )
        for entry in message.top
    )
    return Explanation(message.margin, message.base, top, message.others)
