"""A typed client of the ranking service."""

from ranking_service.client.client import (
    CallError,
    Contribution,
    DeadlineError,
    Explanation,
    RankedItem,
    Ranking,
    RankingClient,
    UnavailableError,
)

__all__ = [
    "CallError",
    "Contribution",
    "DeadlineError",
    "Explanation",
    "RankedItem",
    "Ranking",
    "RankingClient",
    "UnavailableError",
]
