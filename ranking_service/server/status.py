"""The one table from errors to gRPC status, and what else a caller is told of an error."""

from __future__ import annotations

from typing import Any

import grpc

from feature_repo.errors import MarqueeError, OnlineStoreError, OverloadedError, RequestError, TooLateError

STATUS = {
    RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    OnlineStoreError: grpc.StatusCode.UNAVAILABLE,
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooLateError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""Any other MarqueeError is INTERNAL."""
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that gRPC's own retries heed."""
UNAVAILABLE_RETRY_SECONDS = 0.25
LONGEST_MESSAGE = 500
"""A status travels in a header, which is short; what callers sent may stand in it."""


def said(error: MarqueeError) -> str:
    """The message, as far as a header holds it."""
    return str(error)[:LONGEST_MESSAGE]


def status_of(error: MarqueeError) -> Any:
    """The gRPC status of an error."""
    return STATUS.get(type(error), grpc.StatusCode.INTERNAL)


def retry_after(error: MarqueeError) -> float | None:
    """Seconds after which the same request may be answered, where that may help."""
    if isinstance(error, OverloadedError):
        return error.retry_after_seconds
    return UNAVAILABLE_RETRY_SECONDS if isinstance(error, OnlineStoreError) else None


def pushback(error: MarqueeError) -> tuple[tuple[str, str], ...]:
    """Trailing metadata that says when to try again, where that may help."""
    seconds = retry_after(error)
    return () if seconds is None else ((PUSHBACK, str(max(1, round(1000 * seconds)))),)
