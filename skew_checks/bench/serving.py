"""Serves arrivals in this process: the real reader, ranker and log writers, one writer per replica."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feature_repo.errors import OnlineStoreError
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract
from ranking_service.online.feature_reader import FeatureReader, RedisPlace
from ranking_service.online.ranker import Ranker
from ranking_service.serving_log.tables import LoggedRanking, new_served_id
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import BudgetSettings, LogSettings, RedisSettings
from skew_checks.bench.arrivals import Arrival

PATIENT = ServiceSettings(
    candidate_limit=2000,
    budget=BudgetSettings(request_seconds=30, feature_seconds=10, scoring_seconds=10),
    redis=RedisSettings(connect_seconds=5, timeout_seconds=5),
)
"""Complete answers, however busy the machine is."""
DEADLINE_SECONDS = 30.0
SEGMENT_BYTES = 8 * 1024 * 1024
MOST_WAITING = 6000
"""Requests that a writer may have to write before serving pauses; more than an open segment holds."""

Around = Callable[[FeatureReader], FeatureReader]


def as_it_is(reader: FeatureReader) -> FeatureReader:
    return reader


@dataclass(frozen=True)
class Server:
    """One build of the server: which bundle it loaded, what it does with it, how it reads."""

    bundle: Bundle
    contract: Contract
    """What it follows; the bundle's own in a healthy one."""
    around: Around = as_it_is
    """What stands between the ranker and its reader."""


@dataclass(frozen=True)
class Place:
    """Where servers read and write."""

    database: Callable[[int], str]
    """URL of Redis as it was after a run."""
    log: Path
    sample: float = 1.0


def serve(arrivals: Sequence[Arrival], servers: Sequence[Server], place: Place) -> int:
    """Rank and log every arrival; how many the log took. Raises OnlineStoreError for an incomplete answer."""
    settings = LogSettings(
        sample=place.sample,
        queue_requests=2 * MOST_WAITING,
        segment_bytes=SEGMENT_BYTES,
        segment_seconds=3600,
    )
    logs = {
        replica: ServingLog.start(place.log, settings)
        for replica in sorted({each.replica for each in arrivals})
    }
    groups: dict[tuple[int, int], list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        groups[arrival.server, arrival.step].append(arrival)
    try:
        for (server, step), group in sorted(groups.items()):
            asyncio.run(_serve(group, servers[server], place.database(step), logs))
    finally:
        counts = [log.close() for log in logs.values()]
    return sum(count.written for count in counts)


async def _serve(arrivals: Sequence[Arrival], server: Server, url: str, logs: dict[int, ServingLog]) -> None:
    reader = server.around(RedisPlace(url, PATIENT).reader(server.contract))
    ranker = Ranker(replace(server.bundle, contract=server.contract), reader, PATIENT)
    ranker.start()
    try:
        for arrival in arrivals:
            ranking = await ranker(arrival.request, deadline=time.monotonic() + DEADLINE_SECONDS)
            if ranking.level:
                raise OnlineStoreError(f"request {arrival.request.request_id} was answered {ranking.reason}")
            log = logs[arrival.replica]
            served_id = arrival.served_id or new_served_id()
            log.offer(LoggedRanking(ranking, server.contract, arrival.received, served_id=served_id))
            while log.counts.waiting > MOST_WAITING:
                await asyncio.sleep(0.01)
    finally:
        await ranker.close()
