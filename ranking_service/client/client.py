"""A typed client of the ranking service.

CallError
├── DeadlineError       no answer within the timeout
└── UnavailableError    no server there, it is overloaded, or its feature store does not answer
A wrong request is a RequestError, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType

import grpc

from feature_repo.errors import MarqueeError, RequestError, SettingError
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc

TIMEOUT_SECONDS = 1.0
TARGET_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "xds:")
LARGEST_COUNT = 2**32 - 1
LATEST_SECONDS = 253_402_300_799
"""The proto's timestamps end with the year 9999."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CallError(MarqueeError):
    """A call did not bring a ranking."""


class DeadlineError(CallError):
    """No answer within the timeout."""


class UnavailableError(CallError):
    """No server there, it is overloaded, or its feature store does not answer; another try may succeed."""


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to an item's margin."""

    feature: str
    description: str
    contribution: float
    value: float | None
    """What the model saw; None when missing."""
    category: str | None
    """The category of a text feature."""


@dataclass(frozen=True)
class Explanation:
    """margin = base + sum of top contributions + others."""

    margin: float
    base: float
    top: tuple[Contribution, ...]
    others: float


@dataclass(frozen=True)
class RankedItem:
    """One item of an answer."""

    item_id: str
    score: float
    rank: int
    """0 is best."""
    explanation: Explanation | None


@dataclass(frozen=True)
class Ranking:
    """An answer; the proto says what its fields mean."""

    request_id: str
    items: tuple[RankedItem, ...]
    bundle_version: str
    level: int
    micros: Mapping[str, int]
    """Microseconds by stage."""
    incomplete_candidates: int
    missing_by_view: Mapping[str, int]


@dataclass(frozen=True)
class RankingClient:
    """Calls one server; thread-safe. Use as a context manager, or `close` it."""

    address: str
    channel: grpc.Channel

    @classmethod
    def connect(cls, address: str) -> RankingClient:
        """`address` is host:port, or any target with a scheme that gRPC knows. The first call connects.

        Raises SettingError for an address that is neither.
        """
        _check_address(address)
        return cls(address, grpc.insecure_channel(address))

    def rank(
        self,
        *,
        user_id: str,
        candidate_ids: Sequence[str],
        surface: str = "",
        device: str = "",
        at: datetime | float | None = None,
        session_position: int | None = None,
        features: Mapping[str, float | str] | None = None,
        limit: int = 0,
        explain: bool = False,
        request_id: str = "",
        timeout: float = TIMEOUT_SECONDS,
    ) -> Ranking:
        """Rank `candidate_ids` for `user_id`, `at` an instant (aware, or Unix seconds; None is now).

        Raises RequestError, DeadlineError after `timeout` seconds, UnavailableError, or CallError.
        """
        _check_count("limit", limit)
        if session_position is not None:
            _check_count("session_position", session_position)
        for field, text in (("user_id", user_id), ("candidate_ids", "".join(candidate_ids))):
            _check_text(field, text)
        for field, text in (("surface", surface), ("device", device), ("request_id", request_id)):
            _check_text(field, text)
        context = ranking_pb2.Context(surface=surface, device=device, session_position=session_position)
        if at is not None:
            _set_time(context, at)
        for name, value in (features or {}).items():
            _set_feature(context.features[name], value)
        message = ranking_pb2.RankRequest(
            request_id=request_id,
            user_id=user_id,
            candidate_ids=candidate_ids,
            context=context,
            limit=limit,
            explain=explain,
        )
        return _ranking(self.call(message, timeout=timeout))

    def call(self, message: ranking_pb2.RankRequest, *, timeout: float) -> ranking_pb2.RankResponse:
        """The bare call, with typed errors."""
        stub = ranking_pb2_grpc.RankingServiceStub(self.channel)
        try:
            response: ranking_pb2.RankResponse = stub.Rank(message, timeout=timeout)
        except grpc.RpcError as error:
            raise _typed(error, self.address, timeout) from error
        return response

    def close(self) -> None:
        self.channel.close()

    def __enter__(self) -> RankingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_address(address: str) -> None:
    """gRPC itself takes a port modulo 65536, and an address without one as port 443."""
    if address.startswith(TARGET_SCHEMES):
        return
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 2**16:
        raise SettingError(f"address {address!r} is not host:port, such as 127.0.0.1:50051")


def _check_count(field: str, count: int) -> None:
    if not 0 <= count <= LARGEST_COUNT:
        raise RequestError(field, f"{count} is out of range; expected 0 or more, at most {LARGEST_COUNT}")


def _check_text(field: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(field, f"{text!r} is not text that UTF-8 can hold ({error.reason})") from error


def _set_time(context: ranking_pb2.Context, at: datetime | float) -> None:
    """To the microsecond."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise RequestError("at", f"{at} has no time zone; use an aware datetime")
        micros = (at - EPOCH) // timedelta(microseconds=1)
    elif 0 <= at <= LATEST_SECONDS:
        micros = round(at * 1e6)
    else:
        raise RequestError("at", f"{at} is no Unix time in seconds from 1970 to 9999")
    context.request_time.seconds, rest = divmod(micros, 10**6)
    context.request_time.nanos = rest * 1000


def _set_feature(target: ranking_pb2.ContextValue, value: float | str) -> None:
    if isinstance(value, str):
        target.text = value
    else:
        target.number = value


def _typed(error: grpc.RpcError, address: str, timeout: float) -> MarqueeError:
    code, details = error.code(), error.details() or ""
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        field, _, problem = details.partition(": ")
        return RequestError(field, problem)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(
            f"{address} did not answer within {timeout} s; raise the timeout or look at its load"
        )
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return UnavailableError(f"{address}: {details}; is `marquee serve` running there, with its Redis?")
    return CallError(f"{address} answered {code.name}: {details}")


def _ranking(response: ranking_pb2.RankResponse) -> Ranking:
    return Ranking(
        request_id=response.request_id,
        items=tuple(
            RankedItem(
                item.item_id,
                item.score,
                item.rank,
                _explanation(item.explanation) if item.HasField("explanation") else None,
            )
            for item in response.items
        ),
        bundle_version=response.bundle_version,
        level=response.level,
        micros={
            field.name: getattr(response.micros, field.name) for field in response.micros.DESCRIPTOR.fields
        },
        incomplete_candidates=response.incomplete_candidates,
        missing_by_view=dict(response.missing_by_view),
    )


def _explanation(message: ranking_pb2.Explanation) -> Explanation:
    top = tuple(
        Contribution(
            entry.feature,
            entry.description,
            entry.contribution,
            entry.value if entry.HasField("value") else None,
            entry.category or None,
        )
        for entry in message.top
    )
    return Explanation(message.margin, message.base, top, message.others)
