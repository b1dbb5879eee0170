"""A real gRPC server that answers by script, and both clients behind one face."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import grpc

from ranking_service.client import AsyncRankingClient, Outcome, Ranking, RankingClient, RankRequest
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc

UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass(frozen=True)
class Refusal:
    """One call that brings no ranking."""

    code: grpc.StatusCode = UNAVAILABLE
    message: str = "not now"
    pushback: str | None = None
    """As in the trailing metadata: milliseconds."""


@dataclass
class Script(ranking_pb2_grpc.RankingServiceServicer):
    """Ranks candidates in their order. `refusals` are used up first, one a call; `refused` are by request id."""

    name: str = ""
    refusals: list[Refusal] = field(default_factory=list)
    refused: dict[str, list[ranking_pb2.RankError]] = field(default_factory=dict)
    seconds: float = 0.0
    """Each call and each answer of a stream takes so long."""
    without_room: bool = False
    worker: int = 0
    stops_after: int | None = None
    """Streams break after so many answers, as many of them as ..."""
    breaks: int = 1
    silent: bool = False
    """Streams bring no answer."""
    calls: list[ranking_pb2.RankRequest | list[str]] = field(default_factory=list)
    """Each request of Rank, and the ids of each RankMany."""
    times: list[float] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    streams: list[list[str]] = field(default_factory=list)
    """The ids that each stream was sent."""
    most_unanswered: int = 0

    def Rank(self, request: ranking_pb2.RankRequest, context: Any) -> ranking_pb2.RankResponse:
        self._called(request, context)
        return self._response(request)

    def RankMany(self, message: ranking_pb2.RankManyRequest, context: Any) -> ranking_pb2.RankManyResponse:
        self._called([request.request_id for request in message.requests], context)
        return ranking_pb2.RankManyResponse(results=[self._result(one) for one in message.requests])

    def RankStream(self, requests: Any, context: Any) -> Iterator[ranking_pb2.RankResult]:
        sent: list[str] = []
        self.streams.append(sent)
        self._called([], context)
        for count, request in enumerate(requests):
            sent.append(request.request_id)
            if self.silent:
                continue
            time.sleep(self.seconds)
            if count == self.stops_after and self.breaks:
                self.breaks -= 1
                context.abort(UNAVAILABLE, "going away")
            yield self._result(request)

    def _called(self, what: Any, context: Any) -> None:
        self.calls.append(what)
        self.times.append(time.monotonic())
        self.metadata.append(dict(context.invocation_metadata()))
        time.sleep(self.seconds)
        if self.refusals:
            refusal = self.refusals.pop(0)
            if refusal.pushback is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", refusal.pushback),))
            context.abort(refusal.code, refusal.message)

    def _result(self, request: ranking_pb2.RankRequest) -> ranking_pb2.RankResult:
        waiting = self.refused.get(request.request_id)
        if waiting:
            return ranking_pb2.RankResult(request_id=request.request_id, error=waiting.pop(0))
        return ranking_pb2.RankResult(request_id=request.request_id, response=self._response(request))

    def _response(self, request: ranking_pb2.RankRequest) -> ranking_pb2.RankResponse:
        items = [
            ranking_pb2.RankedItem(item_id=item, rank=rank) for rank, item in enumerate(request.candidate_ids)
        ]
        return ranking_pb2.RankResponse(
            request_id=request.request_id,
            items=items,
            bundle_version=self.name,
            model=request.model,
            without_room=self.without_room,
            worker=self.worker,
        )


@contextmanager
def scripted(
    script: Script, *, port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Its address."""
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    ranking_pb2_grpc.add_RankingServiceServicer_to_server(script, server)
    place = f"127.0.0.1:{port}"
    bound = (
        server.add_insecure_port(place) if credentials is None else server.add_secure_port(place, credentials)
    )
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(None).wait()


class Client(Protocol):
    """What both clients do, waited for."""

    calling: Any

    def rank(self, **fields: Any) -> Ranking: ...
    def rank_many(self, requests: Iterable[RankRequest], **options: Any) -> list[Outcome]: ...
    def rank_stream(self, requests: Any, **options: Any) -> Iterator[Outcome]: ...
    def close(self) -> None: ...


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    """One for all and never closed: gRPC may still have something to tell a loop whose clients are closed."""
    return asyncio.new_event_loop()


class Awaited:
    """The async client, waited for."""

    def __init__(self, address: str, **options: Any) -> None:
        self.loop = event_loop()
        self.client = self.loop.run_until_complete(self._connect(address, options))
        self.calling = self.client.calling

    async def _connect(self, address: str, options: dict[str, Any]) -> AsyncRankingClient:
        return AsyncRankingClient.connect(address, **options)

    def rank(self, **fields: Any) -> Ranking:
        return self.loop.run_until_complete(self.client.rank(**fields))

    def rank_many(self, requests: Iterable[RankRequest], **options: Any) -> list[Outcome]:
        return self.loop.run_until_complete(self.client.rank_many(requests, **options))

    def rank_stream(self, requests: Any, **options: Any) -> Iterator[Outcome]:
        answers = self.client.rank_stream(requests, **options)
        try:
            while (outcome := self.loop.run_until_complete(_next(answers))) is not None:
                yield outcome
        finally:
            self.loop.run_until_complete(answers.aclose())

    def close(self) -> None:
        self.loop.run_until_complete(self.client.close())


async def _next(answers: Any) -> Outcome | None:
    return await anext(answers, None)


Connect = Callable[..., Any]


@contextmanager
def connected(kind: str, address: str, **options: Any) -> Iterator[Client]:
    """`kind` is sync or async."""
    client: Any = RankingClient.connect(address, **options) if kind == "sync" else Awaited(address, **options)
    try:
        yield client
    finally:
        client.close()
