"""What a call costs at least: a bare gRPC server that gives one prepared answer to everybody.

python -m ranking_service.bench.floor_server empty|parts CASE ANSWER PORT NUMBER

`empty` does nothing else; `parts` reads the bytes of the request's rows from Redis, without looking at them, and
runs the model on a matrix that is always the same. Several of them share a port; each tells its number.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from materialization.data_plane.online.link import RedisLink
from ranking_service.bench.bare_redis import PATIENCE_SECONDS, BarePool, BareRead, Endpoint
from ranking_service.bench.slates import PARTS, Case
from ranking_service.bench.stored import StoredRows
from ranking_service.bundle import load
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc


@dataclass(frozen=True)
class Empty(ranking_pb2_grpc.RankingServiceServicer):  # type: ignore[misc]
    """Decodes the request, encodes the answer."""

    answer: ranking_pb2.RankResponse

    async def Rank(self, _message: ranking_pb2.RankRequest, _context: Any) -> ranking_pb2.RankResponse:
        return self.answer


@dataclass(frozen=True)
class Parts(ranking_pb2_grpc.RankingServiceServicer):  # type: ignore[misc]
    """The same, with the bare fetch and the bare model in between."""

    answer: ranking_pb2.RankResponse
    reads: dict[str, BareRead]
    """By user."""
    redis: BarePool
    booster: Any
    matrix: npt.NDArray[np.float32]

    async def Rank(self, message: ranking_pb2.RankRequest, _context: Any) -> ranking_pb2.RankResponse:
        await self.redis.fetch(self.reads[message.user_id])
        self.booster.inplace_predict(self.matrix)
        return self.answer

    @classmethod
    def of(cls, case: Case, answer: ranking_pb2.RankResponse) -> Parts:
        """Everything that can be prepared. Raises BundleError, OnlineStoreError."""
        link = patient_link(case.redis_url)
        bundle = load(case.bundle)
        bundle.booster.set_param({"nthread": 1})
        stored = StoredRows.of(bundle.contract)
        reads = {slate.user_id: BareRead.planned(link, *stored.reads(slate)) for slate in case.slates}
        matrix = stored.matrix(link, case.slates[0], case.at)
        return cls(answer, reads, BarePool(Endpoint.of(case.redis_url)), bundle.booster, matrix)


def patient_link(redis_url: str) -> RedisLink:
    """For reads that nobody times."""
    return RedisLink.connect(redis_url, timeout_seconds=PATIENCE_SECONDS, connect_seconds=PATIENCE_SECONDS)


async def serve(servicer: ranking_pb2_grpc.RankingServiceServicer, port: int) -> None:
    """Until the process is ended."""
    server = grpc.aio.server()
    healths = health.aio.HealthServicer()
    await healths.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    ranking_pb2_grpc.add_RankingServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


def main(kind: str, case: Path, answer: Path, port: int, number: int) -> None:
    response = ranking_pb2.RankResponse.FromString(answer.read_bytes())
    response.worker = number
    servicer = Parts.of(Case.read(case), response) if kind == PARTS else Empty(response)
    asyncio.run(serve(servicer, port))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
