"""The gRPC server: the pipeline behind the proto, health and reflection beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from feature_repo.errors import MarqueeError, OnlineStoreError, RequestError, SettingError
from ranking_service.online.ranker import Ranker
from ranking_service.online.start_up import open_ranker
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.wire import decode, encode
from ranking_service.serving_log.counts import LogCounts
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings import ServiceSettings

SERVICE = ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name
STATUS = {
    RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    OnlineStoreError: grpc.StatusCode.UNAVAILABLE,
}
"""The one table from errors to gRPC status; any other MarqueeError is INTERNAL."""

LAST_PORT = 65_535


@dataclass(frozen=True)
class Servicer(ranking_pb2_grpc.RankingServiceServicer):  # type: ignore[misc]
    """Decode, rank, encode, log."""

    ranker: Ranker
    log: ServingLog | None
    settings: ServiceSettings
    clock: Callable[[], float] = time.time

    def Rank(
        self, message: ranking_pb2.RankRequest, context: grpc.ServicerContext
    ) -> ranking_pb2.RankResponse:
        try:
            return self.answer(message)
        except MarqueeError as error:
            context.abort(STATUS.get(type(error), grpc.StatusCode.INTERNAL), str(error))
            raise

    def answer(self, message: ranking_pb2.RankRequest) -> ranking_pb2.RankResponse:
        """Raises RequestError and OnlineStoreError."""
        started, received = time.perf_counter_ns(), self.clock()
        request = decode(message, lambda: received).checked(
            self.ranker.bundle.contract, candidate_limit=self.settings.candidate_limit
        )
        decode_micros = (time.perf_counter_ns() - started) // 1000
        ranking = self.ranker(request)
        response = encode(ranking, decode_micros=decode_micros)
        if self.log is not None:
            self.log.offer(LoggedRanking(ranking, self.ranker.bundle.contract, received))
        return response


@dataclass(frozen=True)
class RankingServer:
    """A started server."""

    address: str
    """host:port as bound."""
    servicer: Servicer
    grpc_server: grpc.Server
    health: health.HealthServicer

    @classmethod
    def start(
        cls,
        bundle: Path,
        *,
        redis_url: str,
        settings: ServiceSettings,
        log_folder: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> RankingServer:
        """Check everything, then serve; port 0 picks a free one, without `log_folder` nothing is logged.

        Raises BundleError, OnlineStoreError or SettingError.
        """
        if not 0 <= port <= LAST_PORT:
            raise SettingError(
                f"port {port} is not between 0 and {LAST_PORT}; choose a free one, or 0 for any"
            )
        ranker = open_ranker(bundle, redis_url=redis_url, settings=settings)
        workers = ThreadPoolExecutor(4, "rank")
        server = grpc.server(workers, maximum_concurrent_rpcs=64, options=[("grpc.so_reuseport", 0)])
        bound = _bind(server, host, port)
        log = ServingLog.start(log_folder, settings.log) if log_folder is not None else None
        servicer = Servicer(ranker, log, settings)
        ranking_pb2_grpc.add_RankingServiceServicer_to_server(servicer, server)
        healths = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(healths, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        server.start()
        for name in ("", SERVICE):
            healths.set(name, health_pb2.HealthCheckResponse.SERVING)
        return cls(f"{host}:{bound}", servicer, server, healths)

    def stop(self) -> LogCounts | None:
        """Refuse new requests, finish the running ones, write the log; what the log counted."""
        self.health.enter_graceful_shutdown()
        self.grpc_server.stop(self.servicer.settings.stop_seconds).wait()
        counts = self.servicer.log.close() if self.servicer.log is not None else None
        self.servicer.ranker.reader.link.close()
        return counts


def _bind(server: grpc.Server, host: str, port: int) -> int:
    try:
        bound: int = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise SettingError(f"cannot listen on {host}:{port}; choose a free port, or 0 for any") from error
    return bound
