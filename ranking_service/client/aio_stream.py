"""One stream of rankings, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from feature_repo.errors import MarqueeError, RequestError
from ranking_service.client.calling import Calling
from ranking_service.client.errors import UnavailableError
from ranking_service.client.first_status import FirstStatus
from ranking_service.client.requests import RankRequest
from ranking_service.client.retry import Retries
from ranking_service.client.values import Outcome
from ranking_service.client.window import Window
from ranking_service.proto import ranking_pb2

GOODBYE_SECONDS = 1.0
"""For the server to end a stream whose requests are all answered."""


class AioStream:
    """The requests and where they go. Reading the source and sending is one task, which outlives a broken stream."""

    def __init__(
        self,
        calling: Calling,
        stub: Callable[[int], Any],
        retries: Retries,
        *,
        size: int,
        timeout: float,
    ) -> None:
        self.calling = calling
        self.stub = stub
        self.retries = retries
        self.window = Window(size, timeout, calling.new_id)
        self.exhausted = False
        self._call: Any = None
        self._sending = asyncio.Lock()
        self._feeding: asyncio.Task[Outcome | None] | None = None

    async def outcomes(self, source: AsyncIterator[RankRequest]) -> AsyncIterator[Outcome]:
        try:
            while True:
                try:
                    async for outcome in self._session(source):
                        yield outcome
                    return
                except MarqueeError as error:
                    wait = self.calling.wait(self.retries, error)
                    if wait is None:
                        for outcome in self.window.lost(error):
                            yield outcome
                        if not self.exhausted:
                            raise
                        return
                await asyncio.sleep(wait)
        finally:
            await _ended(self._feeding)

    async def _session(self, source: AsyncIterator[RankRequest]) -> AsyncIterator[Outcome]:
        """One stream to one server, until all is answered. Raises what broke it."""
        terms = self.calling.terms(self.retries)
        with self.calling.attempt(self.retries) as lane:
            call = self.stub(lane.place).RankStream(**terms)
            first = FirstStatus.of(call, lane.address)
            resending = asyncio.create_task(self._send(*self.window.unanswered.values(), call=call))
            self._call = call
            try:
                async for outcome in self._exchange(source, call, lane.address):
                    yield outcome
            except grpc.RpcError as error:
                raise first.error(error) from error
            finally:
                self._call = None
                call.cancel()
                await _ended(resending)

    async def _exchange(
        self, source: AsyncIterator[RankRequest], call: Any, address: str
    ) -> AsyncIterator[Outcome]:
        window, clock = self.window, self.calling.clock
        window.heard = clock()
        reading = asyncio.create_task(call.read())
        try:
            while window.unanswered or not self.exhausted:
                await self._something(source, reading)
                if (refused := self._fed()) is not None:
                    yield refused
                if reading.done():
                    found = window.answered(_result(reading, window, address), address, clock())
                    reading = asyncio.create_task(call.read())
                    self.calling.heard(self.retries, window.answers, window.size)
                    if found is not None:
                        yield found
                silent = window.silent(clock())
                for late in window.overdue(clock(), address):
                    yield late
                if silent:
                    raise UnavailableError(f"{address}: nothing came for {window.timeout} s")
            with suppress(grpc.RpcError, asyncio.InvalidStateError):
                await call.done_writing()
            await asyncio.wait({reading}, timeout=GOODBYE_SECONDS)
        finally:
            await _ended(reading)

    async def _something(self, source: AsyncIterator[RankRequest], reading: asyncio.Task[Any]) -> None:
        """Until an answer came, a request was sent, or one's time is up."""
        if self._feeding is None and not self.exhausted and not self.window.full:
            self._feeding = asyncio.create_task(self._feed(source))
        timeout = max(self.window.due() - self.calling.clock(), 0.0) if self.window.unanswered else None
        waited_for = {reading} if self._feeding is None else {reading, self._feeding}
        await asyncio.wait(waited_for, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def _fed(self) -> Outcome | None:
        if self._feeding is None or not self._feeding.done():
            return None
        outcome = self._feeding.result()
        self._feeding = None
        return outcome

    async def _feed(self, source: AsyncIterator[RankRequest]) -> Outcome | None:
        """Sends the source's next request; an outcome where it is wrong."""
        request = await anext(source, None)
        if request is None:
            self.exhausted = True
            return None
        try:
            message = self.window.admit(request, self.calling.clock())
        except RequestError as error:
            return Outcome(request.request_id, error=error)
        if self._call is not None:
            await self._send(message, call=self._call)
        return None

    async def _send(self, *messages: ranking_pb2.RankRequest, call: Any) -> None:
        """One message at a time, as gRPC wants it. A stream that cannot take them tells its reader why."""
        async with self._sending:
            with suppress(grpc.RpcError, asyncio.InvalidStateError):
                for message in messages:
                    await call.write(message)


def _result(reading: asyncio.Task[Any], window: Window, address: str) -> Any:
    """The RankResult; raises what is none."""
    result = reading.result()
    if result is grpc.aio.EOF:
        raise UnavailableError(
            f"{address} ended the stream with {len(window.unanswered)} requests unanswered"
        )
    return result


async def _ended(task: asyncio.Task[Any] | None) -> None:
    """Cancels it; what it would have said is of no interest any more."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
