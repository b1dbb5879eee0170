"""Who watches a worker: metrics, log lines and spans, told once for each request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ranking_service.server.callers import caller, label
from ranking_service.server.logs import RequestLines
from ranking_service.server.metrics import ServerMetrics
from ranking_service.server.traces import Traces
from ranking_service.settings import ServiceSettings


@dataclass(frozen=True)
class Call:
    """One RPC, as far as its requests share it."""

    caller: str
    """As `callers.caller` names it: whose rate limit it counts against."""
    metadata: tuple[tuple[str, Any], ...]
    """Empty where no spans are made."""


@dataclass(frozen=True)
class Watch:
    """One worker's; used from its event loop."""

    metrics: ServerMetrics
    lines: RequestLines
    traces: Traces | None
    asks_certificate: bool = True
    """Whether callers are told apart by their certificates."""
    clock: Callable[[], float] = time.time

    @classmethod
    def start(cls, settings: ServiceSettings, models: Iterable[str]) -> Watch:
        """`models` are the names under which the server has models. Raises SettingError."""
        metrics = ServerMetrics(frozenset(models))
        traces = Traces.start(settings.traces)
        return cls(
            metrics,
            RequestLines(settings.logging),
            traces,
            asks_certificate=bool(settings.security.client_ca),
        )

    def call(self, context: Any) -> Call:
        """What gRPC's context tells of a call; look once for each RPC."""
        metadata = tuple(context.invocation_metadata() or ()) if self.traces is not None else ()
        return Call(caller(context, asks_certificate=self.asks_certificate), metadata)

    def answered(self, message: Any, response: Any, call: Call, *, seconds: float) -> None:
        """A request was answered in so much time, its wait for a turn included."""
        named = label(call.caller)
        count = len(message.candidate_ids)
        self.metrics.answered(
            response, candidates=count, seconds=seconds, priority=message.priority, caller=named
        )
        self.lines.answered(response, seconds=seconds, caller=named)
        if self.traces is not None:
            now = self.clock()
            self.traces.answered(response, metadata=call.metadata, began=now - seconds, ended=now)

    def refused(self, message: Any, code: str, problem: str, call: Call, *, seconds: float) -> None:
        """A request was refused with this gRPC code, such as "UNAVAILABLE"."""
        named = label(call.caller)
        self.metrics.refused(code, model=message.model, priority=message.priority, caller=named)
        self.lines.refused(code, problem, request_id=message.request_id, seconds=seconds, caller=named)
        if self.traces is not None:
            now = self.clock()
            self.traces.refused(code, problem, metadata=call.metadata, began=now - seconds, ended=now)

    def features_read(self, code: str, problem: str, call: Call, *, seconds: float) -> None:
        """A request of Feast's serving API ended with this gRPC code; `problem` is empty where it is "OK"."""
        named = label(call.caller)
        self.metrics.features_read(code, seconds=seconds, caller=named)
        if problem:
            self.lines.refused(code, problem, request_id="", seconds=seconds, caller=named)

    def left(self, message: Any, call: Call) -> None:
        """The caller no longer waits."""
        named = label(call.caller)
        self.metrics.refused("CANCELLED", model=message.model, priority=message.priority, caller=named)

    def stop(self) -> None:
        """Send what is left."""
        if self.traces is not None:
            self.traces.stop()
