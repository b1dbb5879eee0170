"""One connection to a server under test, and whether it is ready."""

from __future__ import annotations

import socket
import time
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ranking_service.proto import ranking_pb2, ranking_pb2_grpc

TIMEOUT_SECONDS = 30.0
LOOK_SECONDS = 0.005
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
"""Channels of one process to one address share a connection unless told otherwise."""


class Caller:
    """A channel of its own; `rank` waits for the answer."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=OWN_CONNECTION)
        self._stub = ranking_pb2_grpc.RankingServiceStub(self._channel)

    def rank(self, message: ranking_pb2.RankRequest) -> ranking_pb2.RankResponse:
        """Raises grpc.RpcError."""
        response: ranking_pb2.RankResponse = self._stub.Rank(message, timeout=TIMEOUT_SECONDS)
        return response

    def is_serving(self) -> bool:
        """What the health service says; False where nobody answers."""
        try:
            answer = health_pb2_grpc.HealthStub(self._channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS
            )
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_ready(address: str) -> bool:
    """Whether a server listens and says that it serves. A channel made before it listens would wait for a second."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1.0).close()
    except OSError:
        time.sleep(LOOK_SECONDS)
        return False
    with Caller(address) as caller:
        return caller.is_serving()
