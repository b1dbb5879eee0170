"""Spans for OpenTelemetry, where the extra `otel` is installed and an endpoint is set: a request and its stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from feature_repo.errors import SettingError
from ranking_service.server.stages import STAGES
from ranking_service.settings_sections import TraceSettings

SERVICE = "marquee-ranking"
"""Unless the environment's OTEL_SERVICE_NAME says otherwise."""


@dataclass(frozen=True)
class Traces:
    """Makes spans after the fact, from the times that a response carries anyway."""

    provider: Any
    """An SDK's TracerProvider."""

    @classmethod
    def start(cls, settings: TraceSettings) -> Traces | None:
        """One for each worker process, after it was started; None where the settings name no endpoint.

        Raises SettingError where the extra is not installed.
        """
        if not settings.endpoint:
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise SettingError(
                f"traces.endpoint is set, but {error.name} is not installed; pip install 'marquee[otel]', or take "
                "the setting out"
            ) from error
        exporter = OTLPSpanExporter(endpoint=settings.endpoint)
        return cls.to(BatchSpanProcessor(exporter), share=settings.share)

    @classmethod
    def to(cls, processor: Any, *, share: float) -> Traces:
        """To a span processor of one's own."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

        provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(share), resource=Resource.create({"service.name": SERVICE})
        )
        provider.add_span_processor(processor)
        return cls(provider)

    def answered(
        self, response: Any, *, metadata: Iterable[tuple[str, Any]], began: float, ended: float
    ) -> None:
        """A request that was answered; `metadata` is the call's (`traceparent` joins the caller's trace), times are
        Unix seconds."""
        span = self._begin(metadata, began)
        if span.is_recording():
            span.set_attributes(
                {
                    "rpc.system": "grpc",
                    "rpc.grpc.status_code": 0,
                    "marquee.request_id": response.request_id,
                    "marquee.model": response.model,
                    "marquee.bundle": response.bundle_version,
                    "marquee.level": response.level,
                    "marquee.items": len(response.items),
                }
            )
            self._stages(span, response.micros, began)
        span.end(_nanos(ended))

    def refused(
        self, code: str, message: str, *, metadata: Iterable[tuple[str, Any]], began: float, ended: float
    ) -> None:
        """A request that was answered with a gRPC code such as "UNAVAILABLE"."""
        from opentelemetry.trace import StatusCode

        span = self._begin(metadata, began)
        span.set_attribute("rpc.grpc.status", code)
        span.set_status(StatusCode.ERROR, message)
        span.end(_nanos(ended))

    def stop(self) -> None:
        """Send what is left."""
        self.provider.shutdown()

    def _begin(self, metadata: Iterable[tuple[str, Any]], began: float) -> Any:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name: text for name, text in metadata if name in ("traceparent", "tracestate")}
        parent = TraceContextTextMapPropagator().extract(carrier)
        tracer = self.provider.get_tracer("marquee")
        return tracer.start_span("Rank", context=parent, kind=SpanKind.SERVER, start_time=_nanos(began))

    def _stages(self, span: Any, micros: Any, began: float) -> None:
        """One after the other, as they ran."""
        from opentelemetry.trace import set_span_in_context

        tracer, inside = self.provider.get_tracer("marquee"), set_span_in_context(span)
        at = _nanos(began)
        for stage in STAGES:
            taken = getattr(micros, stage) * 1000
            if taken:
                tracer.start_span(stage, context=inside, start_time=at).end(at + taken)
                at += taken


def _nanos(seconds: float) -> int:
    return int(seconds * 1e9)
