"""A benchmark small enough for a test, and servers that its load is tried on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from materialization.bench.figures import Findings
from ranking_service.bench.sizes import Plan
from ranking_service.bench.world import Size
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc

SMALL = Size(
    candidates=6,
    catalogue=40,
    users=3,
    hot_users=2,
    user_features=3,
    item_features=4,
    pair_features=3,
    trees=3,
    depth=2,
)
PLAN = Plan(
    rounds=20,
    warm_up=2,
    stock_every=10,
    side_rounds=10,
    workers=2,
    clients=(2,),
    turns=1,
    load_seconds=0.5,
    open_seconds=1.0,
    starts=1,
    candidates=(2, 5),
    features=(6, 12),
    views=(3, 6),
    grown_features=6,
    size=SMALL,
)


def figure(findings: Findings, part: str) -> float:
    (value,) = [one.value for one in findings.figures if part in one.what]
    return value


def medians(findings: Findings, measure: str) -> dict[str, float]:
    return {one.name: one.median for one in findings.measured if one.measure == measure}


class StallsOnce(ranking_pb2_grpc.RankingServiceServicer):
    """Answers at once, but for one request, during which all others wait."""

    def __init__(self, *, after_seconds: float, stall_seconds: float) -> None:
        self._lock = threading.Lock()
        self._after, self._stall = after_seconds, stall_seconds
        self._first: float | None = None
        self.stalls = 0

    def Rank(self, request: ranking_pb2.RankRequest, _context: Any) -> ranking_pb2.RankResponse:
        with self._lock:
            now = time.monotonic()
            self._first = self._first or now
            if not self.stalls and now > self._first + self._after:
                self.stalls += 1
                time.sleep(self._stall)
        items = [ranking_pb2.RankedItem(item_id=item) for item in request.candidate_ids]
        return ranking_pb2.RankResponse(items=items, cached_candidates=1)


class Refuses(ranking_pb2_grpc.RankingServiceServicer):
    """Half of the answers are degraded, a quarter of the calls fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0

    def Rank(self, _request: ranking_pb2.RankRequest, context: Any) -> ranking_pb2.RankResponse:
        with self._lock:
            self._number += 1
            turn = self._number % 4
        if turn == 0:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return ranking_pb2.RankResponse(level=2 if turn > 1 else 0)


@contextmanager
def answering(servicer: ranking_pb2_grpc.RankingServiceServicer) -> Iterator[str]:
    """The address the servicer answers at."""
    server = grpc.server(ThreadPoolExecutor(64))
    ranking_pb2_grpc.add_RankingServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
