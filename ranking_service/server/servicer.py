"""The RPCs: wait for a turn, decode, rank, encode, log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc

from feature_repo.errors import MarqueeError, OverloadedError, RequestError, ServerFault
from ranking_service.contract import Contract
from ranking_service.models.served import DEFAULT, ServedModels
from ranking_service.models.shadow import Shadow
from ranking_service.online.ranker import MODEL_FREE, Ranker, Ranking
from ranking_service.online.request import RankRequest
from ranking_service.online.stopwatch import Stopwatch
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.admission import Admission
from ranking_service.server.brownout import Brownout
from ranking_service.server.drain import Underway
from ranking_service.server.rate_limit import RateLimiter
from ranking_service.server.status import pushback, retry_after, said, status_of
from ranking_service.server.watch import Call, Watch
from ranking_service.server.wire import decode, encode
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings import ServiceSettings

AT_ONCE = 4
"""Requests of one call that are worked on, or wait for their turn, at a time; no call fills the queue by itself."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    """A request that has been checked."""

    request: RankRequest
    model: str
    """Its name in the server's settings."""
    received: float
    """Unix seconds."""
    micros: dict[str, int]
    """By stage, of those before the ranker's."""


@dataclass
class Servicer(ranking_pb2_grpc.RankingServiceServicer):  # type: ignore[misc]
    """Belongs to one event loop."""

    models: ServedModels[Ranker]
    admission: Admission
    log: ServingLog | None
    settings: ServiceSettings
    watch: Watch
    brownout: Brownout
    """What becomes of requests that admission turns away."""
    limiter: RateLimiter | None = None
    """Each caller's share; None where there is no limit."""
    shadow: Shadow | None = None
    """Scores some of the default model's requests once more."""
    worker: int = 0
    """Its process' number among those of the server; callers are told."""
    clock: Callable[[], float] = time.time
    """Unix seconds, for requests that name no time; how long things take is measured by another clock."""
    underway: Underway = field(default_factory=Underway)
    """What a stop waits for."""

    async def Rank(
        self, message: ranking_pb2.RankRequest, context: grpc.aio.ServicerContext
    ) -> ranking_pb2.RankResponse:
        self.underway.until_sent(context)
        try:
            return await self.answer(message, self.watch.call(context), deadline=self._deadline(context))
        except MarqueeError as error:
            await context.abort(status_of(error), said(error), trailing_metadata=pushback(error))
            raise

    async def RankMany(
        self, message: ranking_pb2.RankManyRequest, context: grpc.aio.ServicerContext
    ) -> ranking_pb2.RankManyResponse:
        self.underway.until_sent(context)
        limit = self.settings.requests_per_call
        if not 1 <= len(message.requests) <= limit:
            problem = RequestError("requests", f"has {len(message.requests)} requests; send 1 to {limit}")
            await context.abort(status_of(problem), str(problem))
        deadline, call = self._deadline(context), self.watch.call(context)
        turns = asyncio.Semaphore(AT_ONCE)

        async def result(one: ranking_pb2.RankRequest) -> ranking_pb2.RankResult:
            async with turns:
                return await self._result(one, call, deadline)

        results = await asyncio.gather(*map(result, message.requests))
        return ranking_pb2.RankManyResponse(results=results)

    async def RankStream(
        self, messages: AsyncIterator[ranking_pb2.RankRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[ranking_pb2.RankResult]:
        ready: asyncio.Queue[ranking_pb2.RankResult | None] = asyncio.Queue()
        room = asyncio.Semaphore(self.settings.requests_per_call)
        reading = asyncio.create_task(self._read_stream(messages, context, ready, room))
        try:
            while (result := await ready.get()) is not None:
                with self.underway:
                    yield result
                room.release()
            reading.result()
        except RequestError as error:
            await context.abort(status_of(error), said(error))
        finally:
            reading.cancel()

    async def answer(
        self, message: ranking_pb2.RankRequest, call: Call, *, deadline: float
    ) -> ranking_pb2.RankResponse:
        """`deadline` in `time.monotonic` seconds. Raises the errors of `status.STATUS`."""
        began = time.perf_counter()
        try:
            with self.underway:
                response = await self._ranked(message, call, deadline)
        except MarqueeError as error:
            seconds = time.perf_counter() - began
            self.watch.refused(message, status_of(error).name, said(error), call, seconds=seconds)
            raise
        except asyncio.CancelledError:
            self.watch.left(message, call)
            raise
        except Exception as error:  # whatever it was: the caller gets a line, the log all of it
            logger.exception("request %s failed", message.request_id or "without id")
            fault = ServerFault("the server failed at this request; its log says why")
            seconds = time.perf_counter() - began
            self.watch.refused(message, "INTERNAL", str(fault), call, seconds=seconds)
            raise fault from error
        self.watch.answered(message, response, call, seconds=time.perf_counter() - began)
        return response

    async def _ranked(
        self, message: ranking_pb2.RankRequest, call: Call, deadline: float
    ) -> ranking_pb2.RankResponse:
        if self.limiter is not None:
            self.limiter.check(call.caller)
        is_prefetch, watch = message.priority == ranking_pb2.PRIORITY_PREFETCH, Stopwatch()
        try:
            async with self.admission.turn(is_prefetch=is_prefetch, deadline=deadline):
                watch.lap("queue")
                with self.models.leased(message.model) as ranker:
                    asked = self._asked(message, ranker, watch)
                    ranking = await ranker(asked.request, deadline=deadline)
                    if self.shadow is not None and asked.model == DEFAULT:
                        self.shadow.offer(ranking, ranker.bundle.contract)
                    return self._told(asked, ranking, ranker.bundle.contract)
        except OverloadedError as error:
            if is_prefetch or self.settings.levels.lowest < MODEL_FREE or not self.brownout.has_time:
                raise
            watch.lap("queue")
            return self._unranked(message, watch, reason=str(error))

    def _unranked(
        self, message: ranking_pb2.RankRequest, watch: Stopwatch, *, reason: str
    ) -> ranking_pb2.RankResponse:
        with self.brownout.answering(), self.models.leased(message.model) as ranker:
            asked = self._asked(message, ranker, watch)
            return self._told(asked, ranker.unranked(asked.request, reason=reason), ranker.bundle.contract)

    def _asked(self, message: ranking_pb2.RankRequest, ranker: Ranker, watch: Stopwatch) -> _Asked:
        """Raises RequestError."""
        received = self.clock()
        request = decode(message, lambda: received).checked(
            ranker.bundle.contract, candidate_limit=self.settings.candidate_limit
        )
        watch.lap("decode")
        return _Asked(request, message.model or DEFAULT, received, dict(watch.micros))

    def _told(self, asked: _Asked, ranking: Ranking, contract: Contract) -> ranking_pb2.RankResponse:
        """The answer; the log gets it, too."""
        response = encode(ranking, before=asked.micros, model=asked.model, worker=self.worker)
        if not ranking.without_room:
            self.watch.metrics.aged(asked.model, ranking.fetched, at=asked.request.request_timestamp)
        if self.log is not None:
            self.log.offer(LoggedRanking(ranking, contract, asked.received, asked.model))
        return response

    def _deadline(self, context: grpc.aio.ServicerContext) -> float:
        """A caller without a deadline has the time of the settings."""
        left = context.time_remaining()
        seconds = self.settings.budget.request_seconds if left is None else left
        return time.monotonic() + float(seconds)

    async def _result(
        self, message: ranking_pb2.RankRequest, call: Call, deadline: float
    ) -> ranking_pb2.RankResult:
        try:
            response = await self.answer(message, call, deadline=deadline)
        except MarqueeError as error:
            told = ranking_pb2.RankError(
                code=status_of(error).value[0],
                message=said(error),
                retry_after_millis=round(1000 * (retry_after(error) or 0)),
            )
            return ranking_pb2.RankResult(request_id=message.request_id, error=told)
        return ranking_pb2.RankResult(request_id=response.request_id, response=response)

    async def _read_stream(
        self,
        messages: AsyncIterator[ranking_pb2.RankRequest],
        context: grpc.aio.ServicerContext,
        ready: asyncio.Queue[ranking_pb2.RankResult | None],
        room: asyncio.Semaphore,
    ) -> None:
        """Rank what comes, a few at once; None marks the end. Without `room` for answers the stream is not read."""
        turns = asyncio.Semaphore(AT_ONCE)
        under_way: dict[str, asyncio.Task[None]] = {}
        call = self.watch.call(context)

        async def work(message: ranking_pb2.RankRequest) -> None:
            try:
                async with turns:
                    budget = time.monotonic() + self.settings.budget.request_seconds
                    result = await self._result(message, call, min(budget, self._deadline(context)))
                ready.put_nowait(result)
            except BaseException:
                room.release()
                raise
            finally:
                under_way.pop(message.request_id, None)

        try:
            async for message in messages:
                if not message.request_id or message.request_id in under_way:
                    raise RequestError(
                        "request_id", "is needed in a stream, and must differ from those unanswered"
                    )
                await room.acquire()
                under_way[message.request_id] = asyncio.create_task(work(message))
            await asyncio.gather(*under_way.values())
        finally:
            for task in [*under_way.values()]:
                task.cancel()
            ready.put_nowait(None)
