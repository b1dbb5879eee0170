"""Tells the metrics, once a second, how a worker stands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from materialization.data_plane.online.cluster_pipelined import PipelinedClusterLink
from materialization.data_plane.online.pipelined import PipelinedLink
from ranking_service.bundle import Bundle
from ranking_service.models.follow import Follower
from ranking_service.online.packed_reader import PackedReader
from ranking_service.server.metrics import ServerMetrics
from ranking_service.server.metrics_state import WorkerState
from ranking_service.server.servicer import Servicer

EVERY_SECONDS = 1.0
TOGETHER = {"breaker_open": max, "cache_current": min}
"""How several models of one worker count as one; the other numbers are added up."""


@dataclass
class Reporting:
    """Run it as a task of the server's event loop."""

    servicer: Servicer
    metrics: ServerMetrics
    followers: Sequence[Follower] = ()
    _served: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.report()
            await asyncio.sleep(EVERY_SECONDS)

    def report(self) -> None:
        """Once."""
        self.metrics.tells(self.state())
        models = self.servicer.models
        for name, version in models.versions().items():
            if self._served.get(name) != version:
                self._served[name] = version
                ranker = models.ranker(name)
                link = getattr(ranker.reader, "link", None)
                if isinstance(link, (PipelinedLink, PipelinedClusterLink)):
                    link.on_read = self.metrics.read_redis
                bundle = ranker.bundle
                until = trained_until(bundle)
                service = bundle.contract.service
                self.metrics.serves(name, version=version, service=service, trained_until=until)

    def state(self) -> WorkerState:
        """As it stands now."""
        servicer = self.servicer
        admission, limiter, log = servicer.admission, servicer.limiter, servicer.log
        numbers: dict[str, int] = {
            "in_flight": admission.in_flight,
            "queued": admission.queued,
            "admission_limit": int(admission.limit),
            "browned_out": servicer.brownout.answers,
            "admission_refused": admission.turned_away - servicer.brownout.answers,
            "rate_limited": 0 if limiter is None else limiter.refused,
            "swaps": sum(follower.switches for follower in self.followers),
            "swap_failures": sum(follower.refusals for follower in self.followers),
        }
        if log is not None:
            counts = log.counts
            numbers |= {"log_queued": counts.waiting, "log_written": counts.written}
            numbers |= {"log_dropped": counts.dropped, "log_unsampled": counts.unsampled}
        if servicer.shadow is not None:
            told = servicer.shadow.counts
            numbers |= {"shadow_scored": told.logged + told.unwritten, "shadow_dropped": told.dropped}
        for name in servicer.models.names:
            for what, number in _reading(servicer.models.ranker(name).reader).items():
                together = TOGETHER.get(what, sum)
                numbers[what] = together((numbers[what], number)) if what in numbers else number
        return WorkerState(**numbers)


def _reading(reader: Any) -> dict[str, int]:
    """How one model's reader stands; one of stock rows has a breaker only."""
    numbers = {"breaker_open": int(reader.breaker.is_open), "breaker_opened": reader.breaker.opened}
    if not isinstance(reader, PackedReader):
        return numbers
    cache = reader.cache
    numbers |= {"cache_current": int(cache.is_current), "cache_items": len(cache.table)}
    numbers |= {"cache_hits": cache.hits, "cache_misses": cache.misses}
    if cache.channel is not None:
        numbers["cache_invalidations"] = cache.channel.changes
    if isinstance(reader.link, (PipelinedLink, PipelinedClusterLink)):
        numbers |= {"hedges": reader.link.counts.hedged, "redis_failures": reader.link.counts.failed}
    return numbers


def trained_until(bundle: Bundle) -> float:
    """Where the training window ended and validation began, in Unix seconds; 0 where the bundle does not tell."""
    told = bundle.manifest.get("split", {}).get("validate_from")
    return datetime.fromisoformat(told).timestamp() if isinstance(told, str) else 0.0
