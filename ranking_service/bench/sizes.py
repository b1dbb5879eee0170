"""What a run measures, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ranking_service.bench.world import Size

LATENCY, STOCK, CACHE, LOG = "latency", "stock", "cache", "log"
SATURATION, OPEN_LOOP, GROWTH, START = "saturation", "open-loop", "growth", "start"
MEASURES = {
    LATENCY: "one client, next to the floors",
    STOCK: "one client, next to stock Feast behind the same call",
    CACHE: "rows from memory, rows from Redis",
    LOG: "what the serving log costs a request",
    SATURATION: "as many requests as the machine can answer",
    OPEN_LOOP: "60 % of that, sent when they are due",
    GROWTH: "one more candidate, feature, view",
    START: "from the command to the first answers",
}
"""By the names a run can be asked for."""
OF_MADE_UP_ROWS = frozenset({GROWTH})
"""Measures that need rows made up for them."""


@dataclass(frozen=True)
class Plan:
    """The defaults are those of the bars."""

    rounds: int = 4_000
    """Of one client's calls."""
    warm_up: int = 40
    """Rounds before these."""
    stock_every: int = 40
    """Stock is so slow that it takes part in every so-many-th round only."""
    side_rounds: int = 1_500
    """Of the smaller comparisons: cache, log, each growing request."""
    workers: int = 2
    """Processes of the server under load, and of its floor."""
    clients: tuple[int, ...] = (2, 4, 8, 16)
    """Closed loops tried for saturation; the best counts."""
    turns: int = 3
    """Times each of them is tried."""
    load_seconds: float = 5.0
    open_seconds: float = 30.0
    open_share: float = 0.6
    """Of capacity."""
    starts: int = 7
    candidates: tuple[int, ...] = (100, 250, 500, 750, 1_000, 1_500, 2_000)
    features: tuple[int, ...] = (48, 96, 192, 288, 384)
    views: tuple[int, ...] = (3, 6, 12, 18, 24)
    grown_features: int = 192
    """Of the requests with growing numbers of views."""
    size: Size = field(default_factory=Size)
    """Of the made-up rows."""


QUICK = Plan(
    rounds=300,
    stock_every=100,
    side_rounds=100,
    clients=(4,),
    turns=1,
    load_seconds=2.0,
    open_seconds=3.0,
    starts=1,
    candidates=(100, 500, 2_000),
    features=(48, 192, 384),
    views=(3, 12, 24),
    size=Size(catalogue=4_000, users=20, hot_users=4),
)
"""A first look, in less than a minute."""
