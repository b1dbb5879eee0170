"""Bytes that are no message of the method's kind are the caller's mistake: gRPC itself would answer UNKNOWN."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]
Decode = Callable[[bytes], Any]


@dataclass(frozen=True)
class Unreadable:
    """Stands for a message that could not be decoded."""

    reason: str


class ReadableMessages(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Answers INVALID_ARGUMENT, naming the field `request`, to what cannot be decoded."""

    def __init__(self) -> None:
        self._guarded: dict[int, tuple[Any, Any]] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler
        if id(handler) not in self._guarded:
            self._guarded[id(handler)] = (handler, _guarded(handler))  # kept, so that the id stays its own
        return self._guarded[id(handler)][1]


def _guarded(handler: Any) -> Any:
    """The handler with the check before it; handlers of other shapes than the services here have stay as they are."""
    shapes = {
        "unary_unary": (inspect.iscoroutinefunction, _unary),
        "unary_stream": (inspect.isasyncgenfunction, _unary_stream),
        "stream_stream": (inspect.isasyncgenfunction, _stream_stream),
    }
    for shape, (fits, guard) in shapes.items():
        behaviour = getattr(handler, shape)
        if behaviour is not None and fits(behaviour):
            decode = _decoding(handler.request_deserializer)
            return handler._replace(request_deserializer=decode, **{shape: guard(behaviour)})
    return handler


def _decoding(decode: Decode) -> Decode:
    def decoded(message: bytes) -> Any:
        try:
            return decode(message)
        except DecodeError as error:
            return Unreadable(str(error))

    return decoded


def _unary(behaviour: Any) -> Any:
    async def guarded(request: Any, context: Any) -> Any:
        if type(request) is Unreadable:
            await _refuse(request, context)
        return await behaviour(request, context)

    return guarded


def _unary_stream(behaviour: Any) -> Any:
    async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
        if type(request) is Unreadable:
            await _refuse(request, context)
        async for response in behaviour(request, context):
            yield response

    return guarded


def _stream_stream(behaviour: Any) -> Any:
    async def readable(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            if type(request) is Unreadable:
                await _refuse(request, context)
            yield request

    async def guarded(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for response in behaviour(readable(requests, context), context):
            yield response

    return guarded


async def _refuse(request: Unreadable, context: Any) -> None:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"request: cannot be read: {request.reason}")
