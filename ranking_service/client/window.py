"""The unanswered requests of a stream: at most so many, each with its own deadline, answers told by `request_id`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from feature_repo.errors import MarqueeError, RequestError
from ranking_service.client.batch import outcome
from ranking_service.client.errors import DeadlineError
from ranking_service.client.requests import RankRequest
from ranking_service.client.values import Outcome
from ranking_service.proto import ranking_pb2


@dataclass
class Window:
    """Not thread-safe: one reader of the stream uses it. Times are the clock's seconds."""

    size: int
    timeout: float
    """Seconds each request may stay unanswered."""
    new_id: Callable[[], str]
    unanswered: dict[str, ranking_pb2.RankRequest] = field(default_factory=dict)
    """Oldest first."""
    _due: dict[str, float] = field(default_factory=dict)
    answers: int = 0
    heard: float = 0.0
    """When the stream was opened, or last brought an answer."""

    @property
    def full(self) -> bool:
        return len(self.unanswered) >= self.size

    def admit(self, request: RankRequest, now: float) -> ranking_pb2.RankRequest:
        """The message to send. Raises RequestError for a wrong request, or an id that still waits for its answer."""
        message = request.message()
        message.request_id = message.request_id or self.new_id()
        if message.request_id in self.unanswered:
            raise RequestError(
                "request_id", f"{message.request_id!r} is unanswered yet; ids are unique in a stream"
            )
        self.unanswered[message.request_id] = message
        self._due[message.request_id] = now + self.timeout
        return message

    def due(self) -> float:
        """When the oldest unanswered one must be answered; there is one."""
        return next(iter(self._due.values()))

    def answered(self, result: ranking_pb2.RankResult, address: str, now: float) -> Outcome | None:
        """None for an answer that came too late to count."""
        self.heard = now
        if self.unanswered.pop(result.request_id, None) is None:
            return None
        del self._due[result.request_id]
        self.answers += 1
        return outcome(result, address)

    def silent(self, now: float) -> bool:
        """Whether nothing came while a request waited for its whole time."""
        return bool(self.unanswered) and self.heard <= self.due() - self.timeout and self.due() <= now

    def overdue(self, now: float, address: str) -> Iterator[Outcome]:
        """Those whose time is up; they are not waited for any more."""
        for name in [name for name, due in self._due.items() if due <= now]:
            del self.unanswered[name], self._due[name]
            said = f"{address} did not answer request {name} within {self.timeout} s; raise the timeout"
            yield Outcome(name, error=DeadlineError(said, code="DEADLINE_EXCEEDED"))

    def lost(self, error: MarqueeError) -> list[Outcome]:
        """All unanswered ones, when the stream cannot go on."""
        names = list(self.unanswered)
        self.unanswered.clear()
        self._due.clear()
        return [Outcome(name, error=error) for name in names]
