"""What the pipeline needs of a reader, and which reader reads which rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from materialization.data_plane.online.link import RedisLink
from ranking_service.contract import Contract
from ranking_service.online.fetched import Fetched
from ranking_service.online.packed_reader import PackedReader
from ranking_service.online.stock_redis_reader import StockRedisReader

PACKED, STOCK = "packed", "stock"


class FeatureReader(Protocol):
    """Reads the stored features of one contract; thread-safe."""

    @property
    def link(self) -> RedisLink:
        """To the server that holds the rows."""

    @property
    def project(self) -> str:
        """Whose rows they are."""

    def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float) -> Fetched:
        """Everything stored about a user and candidates, one round trip. Raises OnlineStoreError.

        `at` is the request's time in Unix seconds, against which ttl counts.
        """

    def has_rows(self) -> bool | None:
        """Whether Redis holds a row of the project; None when a short look did not tell. Raises OnlineStoreError."""

    def older_views(self) -> list[str]:
        """Views whose rows in Redis were all written under other definitions. Raises OnlineStoreError."""


def compile_reader(contract: Contract, link: RedisLink, rows: str = PACKED) -> FeatureReader:
    """The reader of `rows`: "packed", or "stock" for those of Feast's own Redis store.

    Raises BundleError naming every view with join keys that a ranking request does not have.
    """
    return StockRedisReader.compile(contract, link) if rows == STOCK else PackedReader.compile(contract, link)
