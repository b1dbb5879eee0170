"""The server's metrics. `answered` and `refused` are called once for each request, and cost about 20 microseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ranking_service.online.fetched import Fetched
from ranking_service.server.callers import ANONYMOUS
from ranking_service.server.metrics_state import COUNTERS, GAUGES, WorkerState
from ranking_service.server.stages import STAGES

MILLIS = (0.5, 1, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 250, 500, 1000)
REQUEST_SECONDS = tuple(millis / 1000 for millis in MILLIS)
STAGE_SECONDS = (0.0001, 0.00025, *REQUEST_SECONDS)
CANDIDATES = (1, 10, 50, 100, 200, 300, 400, 500, 750, 1000, 1500, 2000)
AGE_SECONDS = (1, 60, 300, 900, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000)
PRIORITIES = ("interactive", "interactive", "prefetch")
"""By the proto's numbers; unspecified is interactive."""
AGES_EVERY_SECONDS = 1.0
UNKNOWN_MODEL = "unknown"
"""The label of requests that name no model of the server: a caller must not be able to make labels."""


@dataclass(frozen=True)
class _Answers:
    """The series of one model and level, looked up once."""

    seconds: Any
    stages: tuple[tuple[str, Any], ...]
    candidates: Any
    incomplete: Any
    cached: Any


@dataclass
class ServerMetrics:
    """One worker's metrics; used from its event loop."""

    models: frozenset[str]
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        counter, histogram, gauge = self._counter, self._histogram, self._gauge
        by_model, by_view = ("model",), ("model", "view")
        self.requests = counter("requests", "Requests.", ("model", "priority", "code", "level"))
        self.by_caller = counter("caller_requests", "Requests by token.", ("caller", "code"))
        self.feature_reads = counter("feature_requests", "Requests of Feast's serving API.", ("code",))
        self.feature_seconds = histogram(
            "feature_request_seconds", "Server time of Feast's serving API.", (), REQUEST_SECONDS
        )
        self.seconds = histogram("request_seconds", "Server time.", ("model", "level"), REQUEST_SECONDS)
        stage = ("model", "level", "stage")
        self.stages = histogram("stage_seconds", "Server time by stage.", stage, STAGE_SECONDS)
        self.candidates = histogram("request_candidates", "Candidates of a request.", by_model, CANDIDATES)
        self.incomplete = counter("incomplete_candidates", "Candidates that lack a row of a view.", by_model)
        self.cached = counter("cached_candidates", "Candidates whose item rows were in memory.", by_model)
        missing = "Candidates without a usable row, which got the view's defaults."
        self.missing = counter("view_missing_candidates", missing, by_view)
        unread = "Those of them in answers where the store did not answer for the view, or has damaged rows."
        self.unread = counter("view_unread_candidates", unread, by_view)
        self.last_known = counter("view_last_known_candidates", "Candidates with a last-known row.", by_view)
        self.skipped = counter("explanations_skipped", "Explanations there was no time for.", by_model)
        age = "Median age of a view's rows at request time, of one request a second."
        self.ages = histogram("feature_age_seconds", age, by_view, AGE_SECONDS)
        self.reads = histogram("redis_read_seconds", "Round trips to Redis.", ("outcome",), STAGE_SECONDS)
        self.workers = gauge("workers", "Workers that serve.", (), "livesum")
        self.started = gauge("worker_start_timestamp_seconds", "The youngest worker's start.", (), "livemax")
        info = "1 for what is served, 0 for what was."
        self.bundle = gauge("bundle_info", info, ("model", "version", "service"), "livemax")
        trained = "End of the served bundle's training window."
        self.trained = gauge("bundle_trained_until_timestamp_seconds", trained, by_model, "livemin")
        expiry = "When the server's certificate ends."
        self.certificate = gauge("certificate_expiry_timestamp_seconds", expiry, (), "livemin")
        self._begin()

    def _begin(self) -> None:
        """What was told and counted so far: nothing."""
        self._of_state = {entry.name: self._own(entry.metadata) for entry in fields(WorkerState)}
        self._told = WorkerState()
        self._served: dict[str, tuple[str, str]] = {}
        self._answers: dict[tuple[str, int], _Answers] = {}
        self._children: dict[tuple[Any, ...], Any] = {}
        self._ages_due: dict[str, float] = {}

    def answered(
        self, response: Any, *, candidates: int, seconds: float, priority: int = 0, caller: str = ANONYMOUS
    ) -> None:
        """A request was answered: the proto's response, how many candidates it had, and how long it took in all."""
        level = response.level
        answers = self._answers.get((response.model, level)) or self._look_up(response.model, level)
        answers.seconds.observe(seconds)
        answers.candidates.observe(candidates)
        micros = response.micros
        for stage, series in answers.stages:
            taken = getattr(micros, stage)
            if taken:
                series.observe(taken / 1e6)
        if not response.without_room:
            self._count_rows(response, answers)
        if response.explanation_skipped:
            self._child(self.skipped, response.model).inc()
        self._count(response.model, priority, "OK", str(level), caller)

    def refused(self, code: str, *, model: str = "", priority: int = 0, caller: str = ANONYMOUS) -> None:
        """A request was refused with this gRPC code, such as "INVALID_ARGUMENT"."""
        self._count(model if model in self.models else UNKNOWN_MODEL, priority, code, "", caller)

    def features_read(self, code: str, *, seconds: float, caller: str = ANONYMOUS) -> None:
        """A request of Feast's serving API ended with this gRPC code."""
        self._child(self.feature_reads, code).inc()
        self.feature_seconds.observe(seconds)
        if caller != ANONYMOUS:
            self._child(self.by_caller, caller, code).inc()

    def read_redis(self, seconds: float, outcome: str) -> None:
        """A round trip for a request; `outcome` is "ok", "late" or "failed"."""
        self._child(self.reads, outcome).observe(seconds)

    def aged(self, model: str, fetched: Fetched, *, at: float) -> None:
        """Looks at the rows' ages, of one request a second and model; for the others it costs nothing."""
        now = self.clock()
        if now < self._ages_due.get(model, 0.0):
            return
        self._ages_due[model] = now + AGES_EVERY_SECONDS
        for rows in (fetched.user, fetched.item, fetched.pair):
            for name, view in rows.views.items():
                times = view.event_timestamps[view.usable]
                if len(times):
                    age = at - float(np.median(times))
                    self._child(self.ages, model, name).observe(max(age, 0.0))

    def serves(self, model: str, *, version: str, service: str, trained_until: float) -> None:
        """A bundle is in service now, in the place of the one before; `trained_until` in Unix seconds."""
        before = self._served.get(model)
        if before is not None and before != (version, service):
            self.bundle.labels(model, *before).set(0)
        self._served[model] = (version, service)
        self.bundle.labels(model, version, service).set(1)
        self.trained.labels(model).set(trained_until)

    def begins(self, now: float, *, certificate_expires_at: float | None = None) -> None:
        """The worker serves, since `now` (Unix seconds)."""
        self.workers.set(1)
        self.started.set(now)
        if certificate_expires_at is not None:
            self.certificate.set(certificate_expires_at)

    def tells(self, state: WorkerState) -> None:
        """What the worker says of itself; call once a second, and once more at the end.

        A count that fell has begun anew, as it does with a new bundle's reader.
        """
        for entry in GAUGES:
            self._of_state[entry.name].set(getattr(state, entry.name))
        for entry in COUNTERS:
            now, before = getattr(state, entry.name), getattr(self._told, entry.name)
            self._of_state[entry.name].inc(now - before if now >= before else now)
        self._told = state

    def _count(self, model: str, priority: int, code: str, level: str, caller: str) -> None:
        named = PRIORITIES[priority] if 0 <= priority < len(PRIORITIES) else PRIORITIES[0]
        self._child(self.requests, model, named, code, level).inc()
        if caller != ANONYMOUS:
            self._child(self.by_caller, caller, code).inc()

    def _count_rows(self, response: Any, answers: _Answers) -> None:
        """What was found of the rows that were asked for."""
        if response.incomplete_candidates:
            answers.incomplete.inc(response.incomplete_candidates)
            for view, count in response.missing_by_view.items():
                self._child(self.missing, response.model, view).inc(count)
        if response.cached_candidates:
            answers.cached.inc(response.cached_candidates)
        if response.degraded_views:
            self._count_degraded(response)

    def _count_degraded(self, response: Any) -> None:
        for view in response.degraded_views:
            unread = response.missing_by_view.get(view.view, 0)
            self._child(self.last_known, response.model, view.view).inc(view.last_known_candidates)
            self._child(self.unread, response.model, view.view).inc(unread)

    def _look_up(self, model: str, level: int) -> _Answers:
        text = str(level)
        stages = tuple((stage, self.stages.labels(model, text, stage)) for stage in STAGES)
        answers = _Answers(
            seconds=self.seconds.labels(model, text),
            stages=stages,
            candidates=self.candidates.labels(model),
            incomplete=self.incomplete.labels(model),
            cached=self.cached.labels(model),
        )
        self._answers[(model, level)] = answers
        return answers

    def _child(self, metric: Any, *labels: str) -> Any:
        """As `labels`, which checks and converts each time."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return Counter(f"marquee_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(f"marquee_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str], mode: Any) -> Gauge:
        return Gauge(f"marquee_{name}", text, labels, registry=self.registry, multiprocess_mode=mode)

    def _own(self, told: Mapping[str, str]) -> Any:
        """The metric of one field of `WorkerState`."""
        if told["kind"] == "counter":
            return Counter(told["name"], told["help"], registry=self.registry)
        return Gauge(told["name"], told["help"], registry=self.registry, multiprocess_mode="livesum")
