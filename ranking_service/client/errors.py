"""What can go wrong with a call; all but the first two are a CallError.

MarqueeError
├── RequestError            the request is wrong; `field` names the offending one
├── SettingError            an address, a file or a number given to `connect` is unusable
└── CallError               the call did not bring a ranking; `code` is the gRPC status
    ├── DeadlineError       no answer within the timeout
    ├── UnavailableError    no server there, or none that can answer now; `retry_after` where it said when
    │   └── OverloadedError more requests than the server, or this client's share of it, takes
    ├── AuthenticationError the server wants a token or a certificate, or other ones
    ├── UnsupportedError    the server does not know this call; it is older than the client
    └── ClosedError         the client was closed
"""

from __future__ import annotations

from typing import Any

import grpc

from feature_repo.errors import MarqueeError, RequestError, SettingError

__all__ = [
    "AuthenticationError",
    "CallError",
    "ClosedError",
    "DeadlineError",
    "OverloadedError",
    "RequestError",
    "SettingError",
    "UnavailableError",
    "UnsupportedError",
]

PUSHBACK = "grpc-retry-pushback-ms"
DROPPED = "CANCELLED"
"""All that gRPC says of a call that a server dropped unread; calls that end on this side have other words."""
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class CallError(MarqueeError):
    """A call did not bring a ranking."""

    def __init__(self, message: str, *, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.code = code


class DeadlineError(CallError):
    """No answer within the timeout."""


class UnavailableError(CallError):
    """No server there, or none that can answer now; another try may succeed.

    `retry_after` are the seconds after which the server wants to be asked again; negative means not at all, None that
    it did not say.
    """

    def __init__(self, message: str, *, code: str = "UNAVAILABLE", retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class OverloadedError(UnavailableError):
    """More requests than the server, or this client's share of it, takes."""


class AuthenticationError(CallError):
    """The server wants a token or a certificate, or other ones."""


class UnsupportedError(CallError):
    """The server does not know this call."""


class ClosedError(CallError):
    """The client was closed."""


def from_rpc(error: Any, address: str) -> MarqueeError:
    """The typed error of a failed call; `error` is a grpc.RpcError."""
    trailing = error.trailing_metadata() or ()
    pushback = next((value for name, value in trailing if name == PUSHBACK), None)
    return typed(error.code(), error.details() or "", address, retry_after=_seconds(pushback))


def from_refusal(code: int, message: str, address: str, *, retry_after_millis: int) -> MarqueeError:
    """The typed error of one request of several."""
    retry_after = retry_after_millis / 1000 if retry_after_millis else None
    return typed(CODES.get(code, grpc.StatusCode.UNKNOWN), message, address, retry_after=retry_after)


def typed(
    code: grpc.StatusCode, details: str, address: str, *, retry_after: float | None = None
) -> MarqueeError:
    """The one table from gRPC status to errors."""
    said = f"{address}: {details}"
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            field, _, problem = details.partition(": ")
            return RequestError(field, problem)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(
                f"{address} did not answer in time ({details}); raise the timeout or look at its load",
                code=code.name,
            )
        case grpc.StatusCode.UNAVAILABLE:
            hint = "is `marquee serve` running there, with its Redis?"
            return UnavailableError(f"{said}; {hint}", retry_after=retry_after)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" not in details:
            return OverloadedError(f"{said}; ask less often", code=code.name, retry_after=retry_after)
        case grpc.StatusCode.CANCELLED if details == DROPPED:
            return OverloadedError(
                f"{address} dropped the call unread: it stops, or far more calls come than it can look at; "
                "ask elsewhere, or less often",
                code=code.name,
                retry_after=retry_after,
            )
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return AuthenticationError(f"{said}; give the token or certificate it asks for", code=code.name)
        case grpc.StatusCode.UNIMPLEMENTED:
            return UnsupportedError(f"{said}; it is older than this client: call `rank`", code=code.name)
    return CallError(f"{address} answered {code.name}: {details}", code=code.name)


def _seconds(pushback: str | None) -> float | None:
    """gRPC itself turns what is no number into a negative one: do not retry."""
    return None if pushback is None else int(pushback) / 1000
