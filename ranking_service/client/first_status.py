"""How an awaited stream ended, as gRPC told first.

A message that is written while the server ends the stream overwrites the server's status by INTERNAL, "Internal error
from Core" (github.com/grpc/grpc/issues/36066). The status as it arrived is what counts, for retries above all.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import grpc

from feature_repo.errors import MarqueeError
from ranking_service.client.errors import UnavailableError, from_rpc

OVERWRITTEN = "Internal error from Core"


@dataclass
class FirstStatus:
    """Made when a call begins, asked when it has failed."""

    address: str
    status: tuple[grpc.StatusCode, str, Any] | None = None
    """Code, details, trailing metadata."""

    @classmethod
    def of(cls, call: Any, address: str) -> FirstStatus:
        """Listens to the call's end."""
        first = cls(address)
        call.add_done_callback(first.listen)
        return first

    def listen(self, call: Any) -> None:
        """The call has a status now, so that its coroutines end without waiting."""
        if self.status is None:
            self.status = (_now(call.code()), _now(call.details()), _now(call.trailing_metadata()))

    def error(self, error: grpc.RpcError) -> MarqueeError:
        """The typed error; one that may pass where the server's own word is lost."""
        if error.details() != OVERWRITTEN:
            return from_rpc(error, self.address)
        if self.status is None or self.status[1] == OVERWRITTEN:
            return UnavailableError(f"{self.address}: the stream broke while a request was sent")
        return from_rpc(_Told(*self.status), self.address)


@dataclass(frozen=True)
class _Told:
    """A status in the shape of an RpcError."""

    told_code: grpc.StatusCode
    told_details: str
    told_metadata: Any

    def code(self) -> grpc.StatusCode:
        return self.told_code

    def details(self) -> str:
        return self.told_details

    def trailing_metadata(self) -> Any:
        return self.told_metadata


def _now(answer: Coroutine[Any, Any, Any]) -> Any:
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value
    answer.close()
    return None
