"""Any number of requests as calls that servers take, each request with an outcome of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from feature_repo.errors import MarqueeError, RequestError
from ranking_service.client import answers
from ranking_service.client.errors import CallError, UnavailableError, from_refusal
from ranking_service.client.requests import RankRequest
from ranking_service.client.values import Outcome
from ranking_service.proto import ranking_pb2

CALL_BYTES = 3 * 2**20
"""A call's requests are at most so large together (servers take 4 MiB by default), but always at least one."""


@dataclass(frozen=True)
class Batch:
    """The requests, and what has become of them; each place is written by one call at a time."""

    messages: tuple[ranking_pb2.RankRequest, ...]
    outcomes: list[Outcome]
    """In the order of the requests; without ranking and error while a request is unanswered."""

    @classmethod
    def of(cls, requests: Iterable[RankRequest]) -> Batch:
        """A wrong request is an outcome already."""
        messages, outcomes = [], []
        for request in requests:
            try:
                message = request.message()
            except RequestError as error:
                messages.append(ranking_pb2.RankRequest())
                outcomes.append(Outcome(request.request_id, error=error))
            else:
                messages.append(message)
                outcomes.append(Outcome(request.request_id))
        return cls(tuple(messages), outcomes)

    def calls(self, most: int) -> Iterator[list[int]]:
        """The places of the requests that each call is to hold."""
        places: list[int] = []
        size = 0
        for place, message in enumerate(self.messages):
            if self.outcomes[place].error is not None:
                continue
            bytes_more = message.ByteSize()
            if places and (len(places) == most or size + bytes_more > CALL_BYTES):
                yield places
                places, size = [], 0
            places.append(place)
            size += bytes_more
        if places:
            yield places

    def message(self, places: list[int]) -> ranking_pb2.RankManyRequest:
        return ranking_pb2.RankManyRequest(requests=[self.messages[place] for place in places])

    def answered(self, places: list[int], response: ranking_pb2.RankManyResponse, address: str) -> None:
        if len(response.results) != len(places):
            found = f"{address} answered {len(response.results)} of {len(places)} requests; is it a ranking server?"
            return self.failed(places, CallError(found))
        for place, result in zip(places, response.results, strict=True):
            self.outcomes[place] = outcome(result, address)
        return None

    def failed(self, places: list[int], error: MarqueeError) -> None:
        """The whole call did."""
        for place in places:
            self.outcomes[place] = Outcome(self.messages[place].request_id, error=error)

    def refused(self, places: list[int]) -> tuple[list[int], UnavailableError | None]:
        """Those that another try may help, and the error that asks for the longest wait; a "no more" is final."""
        found: list[int] = []
        worst: UnavailableError | None = None
        for place in places:
            error = self.outcomes[place].error
            if isinstance(error, UnavailableError) and (error.retry_after or 0) >= 0:
                found.append(place)
                worst = max(worst or error, error, key=lambda error: error.retry_after or 0)
        return found, worst


def outcome(result: ranking_pb2.RankResult, address: str) -> Outcome:
    """One of several answers."""
    kind = result.WhichOneof("outcome")
    if kind == "response":
        return Outcome(result.request_id, ranking=answers.ranking(result.response))
    if kind is None:
        return Outcome(result.request_id, error=CallError(f"{address} gave neither ranking nor error"))
    refusal = result.error
    error = from_refusal(
        refusal.code, refusal.message, address, retry_after_millis=refusal.retry_after_millis
    )
    return Outcome(result.request_id, error=error)
