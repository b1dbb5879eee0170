"""One stream of rankings, for a program that waits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from feature_repo.errors import MarqueeError, RequestError
from ranking_service.client.calling import Calling
from ranking_service.client.errors import UnavailableError
from ranking_service.client.requests import RankRequest
from ranking_service.client.retry import Retries
from ranking_service.client.values import Outcome
from ranking_service.client.window import Window

END = None
"""The last entry of a queue."""


@dataclass
class SyncStream:
    """The requests and where they go."""

    calling: Calling
    stub: Callable[[int], Any]
    source: Iterator[RankRequest]
    retries: Retries
    exhausted: bool = field(default=False, init=False)

    def outcomes(self, *, size: int, timeout: float) -> Iterator[Outcome]:
        window = Window(size, timeout, self.calling.new_id)
        while True:
            try:
                yield from self._session(window)
                return
            except MarqueeError as error:
                wait = self.calling.wait(self.retries, error)
                if wait is None:
                    yield from window.lost(error)
                    if not self.exhausted:
                        raise
                    return
            time.sleep(wait)

    def _session(self, window: Window) -> Iterator[Outcome]:
        """One stream to one server, until all is answered. Raises what broke it."""
        outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        terms = self.calling.terms(self.retries)
        with self.calling.attempt(self.retries) as lane:
            for message in window.unanswered.values():
                outbox.put(message)
            call = self.stub(lane.place).RankStream(iter(outbox.get, END), **terms)
            threading.Thread(target=_read, args=(call, inbox), daemon=True, name="rank-stream").start()
            try:
                yield from self._exchange(window, outbox, inbox, lane.address)
            except BaseException:
                call.cancel()
                raise
            finally:
                outbox.put(END)

    def _exchange(
        self, window: Window, outbox: queue.SimpleQueue[Any], inbox: queue.SimpleQueue[Any], address: str
    ) -> Iterator[Outcome]:
        clock = self.calling.clock
        window.heard = clock()
        while True:
            yield from self._fill(window, outbox)
            if not window.unanswered:
                return
            with suppress(queue.Empty):
                entry = inbox.get(timeout=max(window.due() - clock(), 0.0))
                found = window.answered(_result(entry, window, address), address, clock())
                self.calling.heard(self.retries, window.answers, window.size)
                if found is not None:
                    yield found
            silent = window.silent(clock())
            yield from window.overdue(clock(), address)
            if silent:
                raise UnavailableError(f"{address}: nothing came for {window.timeout} s")

    def _fill(self, window: Window, outbox: queue.SimpleQueue[Any]) -> Iterator[Outcome]:
        while not window.full and not self.exhausted:
            request = next(self.source, None)
            if request is None:
                self.exhausted = True
                return
            try:
                outbox.put(window.admit(request, self.calling.clock()))
            except RequestError as error:
                yield Outcome(request.request_id, error=error)


def _read(call: Any, inbox: queue.SimpleQueue[Any]) -> None:
    """Moves answers, and at last what ended the stream, into the inbox."""
    try:
        for result in call:
            inbox.put(result)
        inbox.put(END)
    except grpc.RpcError as error:
        inbox.put(error)


def _result(entry: Any, window: Window, address: str) -> Any:
    """The RankResult; raises what is none."""
    if isinstance(entry, grpc.RpcError):
        raise entry
    if entry is END:
        raise UnavailableError(
            f"{address} ended the stream with {len(window.unanswered)} requests unanswered"
        )
    return entry
