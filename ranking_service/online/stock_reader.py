"""Stock rows for the pipeline: read in threads; what is not answered in time takes its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.link import PING
from ranking_service.contract import Contract
from ranking_service.online.blocks import BlockPlan
from ranking_service.online.breaker import Breaker
from ranking_service.online.degrade import degraded_views
from ranking_service.online.fetched import EntityRows, Fetched
from ranking_service.online.packed_reader import KINDS
from ranking_service.online.stock_redis_reader import StockRedisReader
from ranking_service.online.threads import StoreThreads
from ranking_service.settings import ServiceSettings


@dataclass
class StockReader:
    """Belongs to one event loop."""

    rows: StockRedisReader
    threads: StoreThreads
    plans: tuple[BlockPlan, ...]
    """The user's views, the items', the pairs'."""
    breaker: Breaker

    @classmethod
    def over(cls, rows: StockRedisReader, contract: Contract, settings: ServiceSettings) -> StockReader:
        plans = (
            BlockPlan(contract, tuple(view for view in contract.views if set(view.join_keys) == kind))
            for kind in KINDS
        )
        threads = StoreThreads(rows.link.address)
        return cls(rows, threads, tuple(plans), Breaker(settings.breaker))

    async def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float, seconds: float) -> Fetched:
        """As `FeatureReader.fetch`; nothing is remembered."""
        if seconds <= 0:
            return self._unread(len(item_ids), "no time is left to ask the feature store")
        try:
            self.breaker.check()
            fetched = await self.threads.call(
                lambda: self.rows.fetch(user_id, item_ids, at=at), seconds=seconds
            )
        except OnlineStoreError as error:
            self.breaker.failed(str(error))
            return self._unread(len(item_ids), str(error))
        self.breaker.succeeded()
        return fetched

    async def run(self) -> None:
        """Until cancelled."""
        await self.breaker.probe(
            lambda: self.threads.call(lambda: self.rows.link.exchange(PING, 1), seconds=1.0)
        )

    async def warm_up(self, seconds: float) -> list[str]:  # noqa: ARG002
        """Nothing is kept."""
        return []

    async def close(self) -> None:
        self.threads.close()
        self.rows.link.close()

    def _unread(self, candidates: int, reason: str) -> Fetched:
        user, item, pair = (
            _nothing(plan, count) for plan, count in zip(self.plans, (1, candidates, candidates), strict=True)
        )
        views = [
            *degraded_views(user, candidates, np.zeros(1)),
            *degraded_views(item, candidates, np.zeros(candidates)),
            *degraded_views(pair, candidates, np.zeros(candidates)),
        ]
        return Fetched(candidates, user, item, pair, degraded=tuple(views), reason=reason)


def _nothing(plan: BlockPlan, count: int) -> EntityRows:
    return plan.entity_rows(plan.blank.take(np.zeros(count, np.intp)))
