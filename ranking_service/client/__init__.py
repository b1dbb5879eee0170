"""Typed clients of the ranking service, for programs that wait and for programs on an event loop."""

from ranking_service.client.aio import AsyncRankingClient
from ranking_service.client.errors import (
    AuthenticationError,
    CallError,
    ClosedError,
    DeadlineError,
    OverloadedError,
    UnavailableError,
    UnsupportedError,
)
from ranking_service.client.requests import RankRequest
from ranking_service.client.retry import RetryPolicy
from ranking_service.client.security import ClientSecurity
from ranking_service.client.sync import RankingClient
from ranking_service.client.values import (
    Contribution,
    DegradedView,
    Explanation,
    Outcome,
    Priority,
    RankedItem,
    Ranking,
)

__all__ = [
    "AsyncRankingClient",
    "AuthenticationError",
    "CallError",
    "ClientSecurity",
    "ClosedError",
    "Contribution",
    "DeadlineError",
    "DegradedView",
    "Explanation",
    "Outcome",
    "OverloadedError",
    "Priority",
    "RankRequest",
    "RankedItem",
    "Ranking",
    "RankingClient",
    "RetryPolicy",
    "UnavailableError",
    "UnsupportedError",
]
