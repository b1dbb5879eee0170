"""The client for programs that wait for their answers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Unpack

import grpc

from feature_repo.errors import MarqueeError
from ranking_service.client import answers
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
from ranking_service.client.sync_stream import SyncStream
from ranking_service.client.values import Outcome, Ranking
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc

CALLS_AT_ONCE = 4


@dataclass
class RankingClient:
    """Calls one server or several; thread-safe. Use as a context manager, or `close` it."""

    calling: Calling
    channels: tuple[grpc.Channel, ...]
    """One for each lane."""
    stubs: tuple[ranking_pb2_grpc.RankingServiceStub, ...] = field(repr=False)
    closed: bool = False

    @classmethod
    def connect(cls, address: str, **options: Unpack[Options]) -> RankingClient:
        """`address` is host:port, several of them separated by commas, or a target with a scheme that gRPC knows.

        The first call connects. Raises SettingError.
        """
        calling = Calling.to(address, **options)
        channels = tuple(_channel(calling, lane.target) for lane in calling.lanes.lanes)
        stubs = tuple(ranking_pb2_grpc.RankingServiceStub(channel) for channel in channels)
        return cls(calling, channels, stubs)

    @property
    def address(self) -> str:
        return self.calling.address

    @property
    def channel(self) -> grpc.Channel:
        """The first one, for other services of the same server."""
        return self.channels[0]

    def rank(
        self,
        *,
        user_id: str,
        candidate_ids: Sequence[str],
        timeout: float = TIMEOUT_SECONDS,
        **fields: Unpack[RankFields],
    ) -> Ranking:
        """Rank `candidate_ids` for `user_id`; `fields` are those of RankRequest.

        Raises RequestError, DeadlineError after `timeout` seconds with all retries, UnavailableError, OverloadedError,
        AuthenticationError or another CallError.
        """
        request = RankRequest(user_id=user_id, candidate_ids=candidate_ids, **fields)
        return answers.ranking(self.call(request.message(), timeout=timeout))

    def rank_many(
        self,
        requests: Iterable[RankRequest],
        *,
        timeout: float = CALL_SECONDS,
        overall: float = OVERALL_SECONDS,
        calls_at_once: int = CALLS_AT_ONCE,
    ) -> list[Outcome]:
        """Any number of rankings, in as few calls as the server takes; an outcome for each, in order.

        `timeout` is each call's with its retries, `overall` that of all. Raises RequestError for these two only.
        """
        end = self.calling.clock() + seconds("overall", overall)
        seconds("timeout", timeout)
        workers = count("calls_at_once", calls_at_once)
        batch = Batch.of(requests)
        calls = list(batch.calls(self.calling.requests_per_call))
        pool = ThreadPoolExecutor(min(workers, max(1, len(calls))), "rank-many")
        try:
            for done in [pool.submit(self._rank_some, batch, places, timeout, end) for places in calls]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)
        return batch.outcomes

    def rank_stream(
        self,
        requests: Iterable[RankRequest],
        *,
        timeout: float = CALL_SECONDS,
        overall: float = OVERALL_SECONDS,
        in_flight: int | None = None,
    ) -> Iterator[Outcome]:
        """Rankings as they become ready, in any order; `request_id` tells which, and is made where it is empty.

        `requests` is read ahead while fewer than `in_flight` (the server's limit) are unanswered, in the caller's
        own thread. `timeout` is each answer's, `overall` the stream's. A stream that breaks goes on elsewhere with the
        unanswered requests; where that is not possible, these get its error, which is raised after them if
        requests were left to send.
        """
        retries = self.calling.begin(overall)
        size = count("in_flight", in_flight or self.calling.requests_per_call)
        yield from SyncStream(self.calling, self._stub, iter(requests), retries).outcomes(
            size=size, timeout=seconds("timeout", timeout)
        )

    def call(self, message: ranking_pb2.RankRequest, *, timeout: float) -> ranking_pb2.RankResponse:
        """The bare call, with retries and typed errors."""
        retries = self.calling.begin(timeout)
        while True:
            try:
                response: ranking_pb2.RankResponse = self._once("Rank", message, retries)
            except UnavailableError as error:
                wait = self.calling.wait(retries, error)
                if wait is None:
                    raise
            else:
                return response
            time.sleep(wait)

    def close(self) -> None:
        """Calls that run are cancelled."""
        self.closed = True
        for channel in self.channels:
            channel.close()

    def __enter__(self) -> RankingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rank_some(self, batch: Batch, places: list[int], timeout: float, end: float) -> None:
        retries = self.calling.begin(timeout, overall=end)
        while True:
            try:
                response = self._once("RankMany", batch.message(places), retries)
                batch.answered(places, response, self.address)
            except MarqueeError as error:
                batch.failed(places, error)
            places, refusal = batch.refused(places)
            wait = self.calling.wait(retries, refusal) if refusal else None
            if wait is None:
                return
            time.sleep(wait)

    def _once(self, method: str, message: Any, retries: Retries) -> Any:
        terms = self.calling.terms(retries)
        with self.calling.attempt(retries) as lane:
            response = getattr(self._stub(lane.place), method)(message, **terms)
        self.calling.note(lane, response)
        return response

    def _stub(self, place: int) -> ranking_pb2_grpc.RankingServiceStub:
        if self.closed:
            raise ClosedError(f"the client of {self.address} is closed; connect again", code="CANCELLED")
        return self.stubs[place]


def _channel(calling: Calling, target: str) -> grpc.Channel:
    credentials: grpc.ChannelCredentials | None = calling.security.credentials()
    if credentials is None:
        return grpc.insecure_channel(target, options=calling.channel_options())
    return grpc.secure_channel(target, credentials, options=calling.channel_options())
