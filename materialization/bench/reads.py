"""What a timed read of online rows is made of, whichever rows they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from materialization.data_plane.online.link import HashRead
from materialization.data_plane.rows.keys import text_entities
from materialization.data_plane.service_fetch import ServiceFetch


@dataclass(frozen=True)
class Request:
    """One user and the items to rank for them."""

    user_id: str
    item_ids: list[str]
    strings: list[bytes]
    """Keys as the bare read needs them."""
    hashes: list[HashRead]

    @classmethod
    def planned(cls, service: ServiceFetch, user_id: str, item_ids: list[str]) -> Request:
        entities = {"user_id": text_entities([user_id]), "item_id": text_entities(item_ids)}
        return cls(user_id, item_ids, *service.plan.reads(entities))

    def entities(self) -> dict[str, list[str]]:
        """As our batched fetch wants them."""
        return {"user_id": [self.user_id], "item_id": self.item_ids}

    def entity_rows(self) -> dict[str, list[str]]:
        """As Feast wants them: a user for every item."""
        return {"user_id": [self.user_id] * len(self.item_ids), "item_id": self.item_ids}


def bare_read(redis_url: str) -> Callable[[Request], object]:
    """The floor: redis-py's own client, one pipelined MGET and HMGET of the keys, nothing decoded."""
    client: Any = redis.Redis.from_url(redis_url)

    def read(request: Request) -> object:
        pipeline = client.pipeline(transaction=False)
        pipeline.mget(request.strings)
        for key, fields in request.hashes:
            pipeline.hmget(key, fields)
        return pipeline.execute()

    return read
