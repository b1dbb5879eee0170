"""The client for programs that do other things meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Unpack

import grpc
import grpc.aio

from feature_repo.errors import MarqueeError
from ranking_service.client import answers
from ranking_service.client.aio_stream import AioStream
from ranking_service.client.batch import Batch
from ranking_service.client.calling import (
    CALL_SECONDS,
    OVERALL_SECONDS,
    TIMEOUT_SECONDS,
    Calling,
    Options,
    count,
    seconds,
)
from ranking_service.client.errors import ClosedError, UnavailableError
from ranking_service.client.requests import RankFields, RankRequest
from ranking_service.client.retry import Retries
from ranking_service.client.sync import CALLS_AT_ONCE
from ranking_service.client.values import Outcome, Ranking
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc


@dataclass
class AsyncRankingClient:
    """RankingClient's calls, awaited. Belongs to the event loop it is connected in; use with `async with`."""

    calling: Calling
    channels: tuple[grpc.aio.Channel, ...]
    """One for each lane."""
    stubs: tuple[ranking_pb2_grpc.RankingServiceStub, ...] = field(repr=False)
    closed: bool = False

    @classmethod
    def connect(cls, address: str, **options: Unpack[Options]) -> AsyncRankingClient:
        """As RankingClient.connect; call it inside the event loop."""
        calling = Calling.to(address, **options)
        channels = tuple(_channel(calling, lane.target) for lane in calling.lanes.lanes)
        stubs = tuple(ranking_pb2_grpc.RankingServiceStub(channel) for channel in channels)
        return cls(calling, channels, stubs)

    @property
    def address(self) -> str:
        return self.calling.address

    async def rank(
        self,
        *,
        user_id: str,
        candidate_ids: Sequence[str],
        timeout: float = TIMEOUT_SECONDS,
        **fields: Unpack[RankFields],
    ) -> Ranking:
        """As RankingClient.rank."""
        request = RankRequest(user_id=user_id, candidate_ids=candidate_ids, **fields)
        return answers.ranking(await self.call(request.message(), timeout=timeout))

    async def rank_many(
        self,
        requests: Iterable[RankRequest],
        *,
        timeout: float = CALL_SECONDS,
        overall: float = OVERALL_SECONDS,
        calls_at_once: int = CALLS_AT_ONCE,
    ) -> list[Outcome]:
        """As RankingClient.rank_many."""
        end = self.calling.clock() + seconds("overall", overall)
        seconds("timeout", timeout)
        batch = Batch.of(requests)
        turn = asyncio.Semaphore(count("calls_at_once", calls_at_once))

        async def some(places: list[int]) -> None:
            async with turn:
                await self._rank_some(batch, places, timeout, end)

        async with asyncio.TaskGroup() as calls:
            for places in batch.calls(self.calling.requests_per_call):
                calls.create_task(some(places))
        return batch.outcomes

    async def rank_stream(
        self,
        requests: Iterable[RankRequest] | AsyncIterable[RankRequest],
        *,
        timeout: float = CALL_SECONDS,
        overall: float = OVERALL_SECONDS,
        in_flight: int | None = None,
    ) -> AsyncIterator[Outcome]:
        """As RankingClient.rank_stream; `requests` may take its time, answers do not wait for it.

        Leave it early by `aclose`, such as with `contextlib.aclosing`.
        """
        retries = self.calling.begin(overall)
        size = count("in_flight", in_flight or self.calling.requests_per_call)
        stream = AioStream(self.calling, self._stub, retries, size=size, timeout=seconds("timeout", timeout))
        async for outcome in stream.outcomes(_awaited(requests)):
            yield outcome

    async def call(self, message: ranking_pb2.RankRequest, *, timeout: float) -> ranking_pb2.RankResponse:
        """The bare call, with retries and typed errors."""
        retries = self.calling.begin(timeout)
        while True:
            try:
                response: ranking_pb2.RankResponse = await self._once("Rank", message, retries)
            except UnavailableError as error:
                wait = self.calling.wait(retries, error)
                if wait is None:
                    raise
            else:
                return response
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Calls that run are cancelled."""
        self.closed = True
        for channel in self.channels:
            await channel.close()

    async def __aenter__(self) -> AsyncRankingClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _rank_some(self, batch: Batch, places: list[int], timeout: float, end: float) -> None:
        retries = self.calling.begin(timeout, overall=end)
        while True:
            try:
                response = await self._once("RankMany", batch.message(places), retries)
                batch.answered(places, response, self.address)
            except MarqueeError as error:
                batch.failed(places, error)
            places, refusal = batch.refused(places)
            wait = self.calling.wait(retries, refusal) if refusal else None
            if wait is None:
                return
            await asyncio.sleep(wait)

    async def _once(self, method: str, message: Any, retries: Retries) -> Any:
        terms = self.calling.terms(retries)
        with self.calling.attempt(retries) as lane:
            response = await getattr(self._stub(lane.place), method)(message, **terms)
        self.calling.note(lane, response)
        return response

    def _stub(self, place: int) -> ranking_pb2_grpc.RankingServiceStub:
        if self.closed:
            raise ClosedError(f"the client of {self.address} is closed; connect again", code="CANCELLED")
        return self.stubs[place]


async def _awaited(
    requests: Iterable[RankRequest] | AsyncIterable[RankRequest],
) -> AsyncIterator[RankRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


def _channel(calling: Calling, target: str) -> grpc.aio.Channel:
    credentials: grpc.ChannelCredentials | None = calling.security.credentials()
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=calling.channel_options())
    return grpc.aio.secure_channel(target, credentials, options=calling.channel_options())
