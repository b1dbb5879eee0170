"""HTTP beside gRPC: metrics, liveness and readiness for those who watch, and JSON for a quick look."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from feature_repo.errors import RequestError
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 503,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""By gRPC status; any other is 500.

CANCELLED is what a worker drops unread that stops or has too much to do; the next one is not asked, for that would make
more of too much.
"""
PASSED_ON = ("authorization", "x-api-key", "traceparent", "tracestate")
"""Headers that go with the call, so that all that holds for gRPC callers holds here."""
TIMEOUT_HEADER = "x-timeout-ms"
LONGEST_TIMEOUT_SECONDS = 60.0
HEALTH_SECONDS = 1.0
LARGEST_WASTE = 8
PUSHBACK = "grpc-retry-pushback-ms"


@dataclass
class Workers:
    """The gRPC servers behind this edge; belongs to one event loop."""

    targets: Sequence[str]
    """As gRPC names them, such as "unix:/run/marquee/0.sock" or "127.0.0.1:50051"."""
    message_bytes: int
    _channels: list[Any] = field(default_factory=list)
    _turn: Any = field(default_factory=count)

    async def open(self) -> None:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_reconnect_backoff_ms", 250),
            ("grpc.enable_retries", 0),  # see `ranking_service.client.lanes`
        ]
        self._channels = [grpc.aio.insecure_channel(target, options) for target in self.targets]

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def are_ready(self) -> bool:
        """Whether any of them serves."""
        for channel in self._channels:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_SECONDS)
            except grpc.aio.AioRpcError:
                continue
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return True
        return False

    async def rank(self, message: Any, *, metadata: Sequence[tuple[str, str]], timeout: float) -> Any:
        """The answer of the next one in turn; where that is away, of another. Raises AioRpcError."""
        first = next(self._turn)
        for step in range(len(self._channels)):
            channel = self._channels[(first + step) % len(self._channels)]
            try:
                call = ranking_pb2_grpc.RankingServiceStub(channel).Rank(
                    message, metadata=metadata, timeout=timeout
                )
                return await call
            except grpc.aio.AioRpcError as error:
                last = step + 1 == len(self._channels)
                if error.code() is not grpc.StatusCode.UNAVAILABLE or last:
                    raise
        raise AssertionError("there is at least one worker")


def http_app(
    targets: Sequence[str],
    *,
    metrics: Callable[[], bytes],
    json_rank: bool,
    message_bytes: int,
    timeout_seconds: float,
) -> Starlette:
    """`metrics` makes the text for Prometheus; `timeout_seconds` is for callers who name no time."""
    workers = Workers(targets, message_bytes)

    async def rank(request: Request) -> Response:
        try:
            message = ranking_message(await _body(request, message_bytes))
            timeout = _timeout(request, timeout_seconds)
        except RequestError as error:
            return _refused("INVALID_ARGUMENT", str(error), {})
        metadata = [(name, request.headers[name]) for name in PASSED_ON if name in request.headers]
        try:
            answer = await workers.rank(message, metadata=metadata, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            return _refused(error.code().name, error.details() or "", trailers)
        return JSONResponse(_plain(answer))

    async def show_metrics(_: Request) -> Response:
        return Response(metrics(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def is_ready(_: Request) -> Response:
        ready = await workers.are_ready()
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        await workers.open()
        yield
        await workers.close()

    routes = [Route("/metrics", show_metrics), Route("/livez", _is_alive), Route("/readyz", is_ready)]
    if json_rank:
        routes.append(Route("/rank", rank, methods=["POST"]))
    return Starlette(routes=routes, lifespan=lifespan)


async def _is_alive(_: Request) -> Response:
    return JSONResponse({"alive": True})


def ranking_message(body: bytes) -> ranking_pb2.RankRequest:
    """A request from JSON, its fields named as in the proto or in camel case. Raises RequestError."""
    try:
        told = json.loads(body)
        if not isinstance(told, dict):
            raise RequestError("request", "is no JSON object; send the fields of RankRequest")
        message = ranking_pb2.RankRequest()
        json_format.ParseDict(told, message)
    except json_format.ParseError as error:
        raise RequestError("request", f"is no RankRequest: {str(error)[:300]}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError("request", f"is no JSON: {str(error)[:300]}") from error
    return message


async def _body(request: Request, limit: int) -> bytes:
    """Of one that is too large the rest is read and thrown away, within reason: else the caller misses the answer."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > LARGEST_WASTE * limit:
            break
    if size > limit:
        raise RequestError("request", f"has more than {limit} bytes; send fewer candidates")
    return b"".join(parts)


def _timeout(request: Request, usual: float) -> float:
    told = request.headers.get(TIMEOUT_HEADER)
    if told is None:
        return usual
    try:
        seconds = float(told) / 1000
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_TIMEOUT_SECONDS:
        raise RequestError(TIMEOUT_HEADER, f"is {told!r}; send milliseconds, at most 60000")
    return seconds


def _refused(code: str, message: str, trailers: dict[str, Any]) -> Response:
    """The error as JSON; the field stands apart where it is the request's fault."""
    told: dict[str, Any] = {"code": code, "message": message}
    if code == "INVALID_ARGUMENT":
        told["field"] = message.partition(": ")[0]
    headers = {}
    if PUSHBACK in trailers:
        millis = int(trailers[PUSHBACK])
        told["retry_after_millis"] = millis
        headers["retry-after"] = str(math.ceil(millis / 1000))
    return JSONResponse({"error": told}, HTTP_STATUS.get(code, 500), headers=headers)


def _plain(message: Any) -> dict[str, Any]:
    """Fields named as in the proto, zeros included."""
    told: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return told
