"""What the pipeline needs of a reader, and which reader reads which rows over which connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from feature_repo.errors import SettingError
from materialization.data_plane.online.cluster_pipelined import PipelinedClusterLink
from materialization.data_plane.online.connection import ConnectionSettings, RedisConnections
from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.link import RedisLink
from materialization.data_plane.online.pipelined import PipelinedLink
from materialization.data_plane.online.redis_address import Address
from ranking_service.contract import Contract
from ranking_service.online.fetched import Fetched
from ranking_service.online.packed_reader import PackedReader
from ranking_service.online.stock_reader import StockReader
from ranking_service.online.stock_redis_reader import StockRedisReader
from ranking_service.settings import ServiceSettings

STOCK = "stock"


class FeatureReader(Protocol):
    """Reads the stored features of one contract; belongs to one event loop."""

    async def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float, seconds: float) -> Fetched:
        """Everything stored about a user and candidates; what is not read within `seconds` is degraded.

        `at` is the request's time in Unix seconds, against which ttl counts.
        """

    def known(self, user_id: str, item_ids: Sequence[str], *, at: float, reason: str) -> Fetched:
        """What an earlier answer of the store said, without asking; all of it degraded, for this reason."""

    def unread(self, candidates: int, *, reason: str) -> Fetched:
        """No row of any view, and none looked for: what an answer without any feature stands on."""

    async def run(self) -> None:
        """Whatever goes on between requests; until cancelled."""

    async def warm_up(self, seconds: float) -> list[str]:
        """Get ready for so long; some items to rank for practice. Raises OnlineStoreError."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class RedisPlace:
    """Where the rows are, and how to get there."""

    url: str
    settings: ServiceSettings

    def blocking(self) -> RedisConnections:
        """For checks at the start. Raises SettingError for an unusable address."""
        redis = self.settings.redis
        return RedisConnections(
            ConnectionSettings(
                self.url,
                redis.type,
                redis.sentinel_master,
                connect_seconds=redis.connect_seconds,
                command_seconds=redis.timeout_seconds,
                max_connections=8,
            )
        )

    def endpoint(self) -> Endpoint:
        """Of a single server, found by its sentinels where there are any, or of some of a cluster's nodes."""
        redis = self.settings.redis
        master = redis.sentinel_master if redis.type == "redis_sentinel" else None
        return Endpoint(Address.parse(self.url), redis.connect_seconds, master)

    def link(self) -> PipelinedLink | PipelinedClusterLink:
        """For requests."""
        redis = self.settings.redis
        kind = PipelinedClusterLink if redis.type == "redis_cluster" else PipelinedLink
        return kind(
            self.endpoint(),
            redis.connections,
            silent_seconds=redis.timeout_seconds,
            hedge_seconds=redis.hedge_seconds,
            hedge_share=redis.hedge_share,
        )

    def reader(self, contract: Contract) -> FeatureReader:
        """Raises BundleError naming every view with join keys that a ranking request does not have."""
        if self.settings.redis.rows == STOCK:
            link = self.blocking().link()
            if not isinstance(link, RedisLink):
                raise SettingError(
                    'redis.rows = "stock" cannot be read from a cluster; materialize packed rows'
                )
            return StockReader.over(StockRedisReader.compile(contract, link), contract, self.settings)
        reader = PackedReader.compile(contract, self.link(), self.settings)
        if self.settings.redis.type != "redis_cluster" and self.settings.cache.items:
            reader.cache.follow(self.endpoint(), self.settings.cache.heartbeat_seconds)
        return reader
