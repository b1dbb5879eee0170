"""Stock rows for the pipeline: read in threads; what is not answered in time takes its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.link import PING
from ranking_service.contract import Contract
from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.breaker import Breaker
from ranking_service.online.degrade import unread
from ranking_service.online.fetched import Fetched
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
            return self.unread(len(item_ids), reason="no time is left to ask the feature store")
        try:
            self.breaker.check()
            fetched = await self.threads.call(
                lambda: self.rows.fetch(user_id, item_ids, at=at), seconds=seconds
            )
        except OnlineStoreError as error:
            self.breaker.failed(str(error))
            return self.unread(len(item_ids), reason=str(error))
        self.breaker.succeeded()
        return fetched

    def known(self, user_id: str, item_ids: Sequence[str], *, at: float, reason: str) -> Fetched:  # noqa: ARG002
        """Nothing: nothing is remembered."""
        return self.unread(len(item_ids), reason=reason)

    def unread(self, candidates: int, *, reason: str) -> Fetched:
        """As `FeatureReader.unread`."""
        return unread(self.plans, candidates, reason=reason)

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
