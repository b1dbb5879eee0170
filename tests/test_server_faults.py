"""What nobody foresaw: the caller gets one line and INTERNAL, the log all of it, and the next request is fine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import grpc
import pytest
from online_world import OnlineWorld

from ranking_service.models.served import DEFAULT
from ranking_service.online.breaker import Breaker
from ranking_service.online.feature_reader import FeatureReader
from ranking_service.online.fetched import Fetched
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.server import LoopServer, Place
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import BreakerSettings


class BrokenReader:
    """Fails once in a way that no reader should, then reads as it is meant to."""

    def __init__(self, reader: FeatureReader) -> None:
        self.reader = reader
        self.failures = 1
        self.breaker = Breaker(BreakerSettings())

    async def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float, seconds: float) -> Fetched:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("a secret in /etc/somewhere")
        return await self.reader.fetch(user_id, item_ids, at=at, seconds=seconds)

    async def run(self) -> None:
        await self.reader.run()

    async def warm_up(self, seconds: float) -> list[str]:
        return await self.reader.warm_up(seconds)

    async def close(self) -> None:
        await self.reader.close()


def test_an_unforeseen_failure_is_internal_without_a_stack_trace(
    online_world: OnlineWorld, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        place = Place({DEFAULT: online_world.bundle}, online_world.redis_url, ServiceSettings())
        server = await LoopServer.start(place)
        ranker = server.servicer.models.ranker()
        ranker.reader = BrokenReader(ranker.reader)
        message = ranking_pb2.RankRequest(user_id="ann", candidate_ids=["item 1"], request_id="r-1")
        try:
            async with grpc.aio.insecure_channel(server.address) as channel:
                rank = ranking_pb2_grpc.RankingServiceStub(channel).Rank
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await rank(message, timeout=5)
                assert caught.value.code() == grpc.StatusCode.INTERNAL
                assert caught.value.details() == "the server failed at this request; its log says why"
                assert (await rank(message, timeout=5)).level == 0
        finally:
            await server.stop()

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    told = next(record for record in caplog.records if "r-1" in record.getMessage())
    assert told.exc_info is not None
    assert told.exc_info[0] is ZeroDivisionError
