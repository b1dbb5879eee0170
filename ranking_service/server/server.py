"""One gRPC server on an event loop: the models, the RPCs, health and reflection beside them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from feature_repo.errors import SettingError
from ranking_service.models.follow import Follower
from ranking_service.models.registry import Registry
from ranking_service.models.served import DEFAULT, ServedModels, followers_of
from ranking_service.models.shadow import Shadow
from ranking_service.models.trial import Trial
from ranking_service.online.ranker import Ranker
from ranking_service.online.shared_loop import SharedLoop
from ranking_service.online.start_up import open_ranker
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.admission import Admission, backlog_limits
from ranking_service.server.brownout import Brownout
from ranking_service.server.door import Door
from ranking_service.server.drain import drain
from ranking_service.server.feast_api import add_feast_api
from ranking_service.server.reporting import Reporting
from ranking_service.server.servicer import Servicer
from ranking_service.server.watch import Watch
from ranking_service.serving_log.counts import LogCounts
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings import ServiceSettings

SERVICE = ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name
HEALTH, REFLECTION = "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"
LAST_PORT = 65_535
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """What a server serves, and where."""

    bundles: dict[str, Path]
    """Folders by model name; the default model is "promoted"."""
    redis_url: str
    settings: ServiceSettings
    log_folder: Path | None = None
    """None logs nothing."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 picks a free one."""
    shares_port: bool = False
    """Whether further processes listen on the port too."""
    registry: Registry | None = None
    """Where promotions are followed; None follows none."""
    follows: tuple[str, ...] = ()
    """Names of the models that a promotion changes."""
    shadow: Path | None = None
    """Folder of a bundle that scores a share of the requests, too."""
    shadow_folder: Path | None = None
    """Of the shadow log."""
    needs_redis: bool = True
    """Whether to refuse to start where Redis does not answer."""
    socket: Path | None = None
    """A unix socket to listen on as well, without TLS."""
    number: int = 0
    """Of this process among those of the server."""


@dataclass
class LoopServer:
    """A started server; belongs to one event loop."""

    place: Place
    address: str
    """host:port as bound."""
    servicer: Servicer
    grpc_server: Any
    health: Any
    shared_loop: SharedLoop
    """Of all models' rankers."""
    followers: tuple[Follower, ...] = ()
    reporting: Reporting = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def start(cls, place: Place) -> LoopServer:
        """Check everything, then serve. Raises BundleError, OnlineStoreError or SettingError."""
        settings = place.settings
        if not 0 <= place.port <= LAST_PORT:
            raise SettingError(
                f"port {place.port} is not between 0 and {LAST_PORT}; choose a free one, or 0 for any"
            )
        door = Door.open(settings.security)
        watch = Watch.start(settings, place.bundles)
        shared_loop = SharedLoop()
        rankers = {name: await _opened(place, path, shared_loop) for name, path in place.bundles.items()}
        models = ServedModels(rankers)
        try:
            options = [("grpc.so_reuseport", int(place.shares_port)), *door.options]
            options += backlog_limits(settings.admission)
            server = grpc.aio.server(options=options, interceptors=door.interceptors)
            bound = door.bind(server, place.host, place.port)
            if place.socket is not None:
                server.add_insecure_port(f"unix:{place.socket}")
            shadow = _shadow(place)
            log = ServingLog.start(place.log_folder, settings.log) if place.log_folder is not None else None
        except BaseException:
            await models.close()
            raise
        admission, brownout = Admission(settings.admission), Brownout(settings.admission.brownout_share)
        shared_loop.has_room = lambda: brownout.share == 0 or brownout.has_time
        servicer = Servicer(
            models, admission, log, settings, watch, brownout, door.limiter, shadow, place.number
        )
        started = cls(place, f"{place.host}:{bound}", servicer, server, HealthServicer(), shared_loop)
        await started._serve()
        expiry = None if door.certificates is None else door.certificates.current.expires_at
        watch.metrics.begins(time.time(), certificate_expires_at=expiry)
        return started

    async def switch(self, name: str, path: Path) -> None:
        """From now on that model is this bundle. Raises what `open_ranker` does; the old one stays then."""
        self.servicer.models.switch(name, await _opened(self.place, path, self.shared_loop))

    async def stop(self) -> LogCounts | None:
        """Refuse new requests, finish the running ones, write the log; what the log counted."""
        await self.health.enter_graceful_shutdown()
        for task in self._tasks:
            task.cancel()
        await drain(self.grpc_server, self.servicer.underway, seconds=self.place.settings.stop_seconds)
        log = self.servicer.log
        counts = await asyncio.to_thread(log.close) if log is not None else None
        if self.servicer.shadow is not None:
            await asyncio.to_thread(self.servicer.shadow.close)
        self.reporting.report()
        await self.servicer.models.close()
        await asyncio.to_thread(self.servicer.watch.stop)
        return counts

    async def _serve(self) -> None:
        ranking_pb2_grpc.add_RankingServiceServicer_to_server(self.servicer, self.grpc_server)
        names = (SERVICE, *add_feast_api(self.grpc_server, self.servicer))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.grpc_server)
        if self.place.settings.security.reflection:
            reflection.enable_server_reflection((*names, HEALTH, REFLECTION), self.grpc_server)
        await self.grpc_server.start()
        for name in ("", *names):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._follow()
        self.reporting = Reporting(self.servicer, self.servicer.watch.metrics, self.followers)
        self._tasks.append(asyncio.create_task(self.reporting.run()))

    def _follow(self) -> None:
        place = self.place
        if place.registry is None or not place.settings.follow_seconds:
            return
        registry = place.registry
        trial = Trial(place.redis_url, place.settings)
        versions = self.servicer.models.versions()
        self.followers = tuple(
            Follower(registry, self._switcher(name), trial, place.settings.follow_seconds, versions[name])
            for name in place.follows
        )
        self._tasks += [asyncio.create_task(follower.run()) for follower in self.followers]

    def _switcher(self, name: str) -> Any:
        async def switch(path: Path) -> None:
            await self.switch(name, path)

        return switch


@dataclass(frozen=True)
class RankingServer:
    """A server in a thread of this process."""

    server: LoopServer
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread

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
        models: dict[str, Path] | None = None,
        registry: Path | None = None,
    ) -> RankingServer:
        """Check everything, then serve; port 0 picks a free one, without `log_folder` nothing is logged.

        With `registry` the default model follows its promotions. Raises BundleError, OnlineStoreError or
        SettingError.
        """
        place = Place(
            {DEFAULT: bundle, **(models or {})},
            redis_url,
            settings,
            log_folder,
            host,
            port,
            registry=None if registry is None else Registry.open(registry),
            follows=followers_of(None, {}) if registry is not None else (),
        )
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="ranking-server", daemon=True)
        thread.start()
        try:
            return cls(_done(loop, LoopServer.start(place)), loop, thread)
        except BaseException:
            _end(loop, thread)
            raise

    @property
    def address(self) -> str:
        """host:port as bound."""
        return self.server.address

    def switch(self, bundle: Path, model: str = DEFAULT) -> None:
        """From now on that model is this bundle."""
        _done(self.loop, self.server.switch(model, bundle))

    def stop(self) -> LogCounts | None:
        """Refuse new requests, finish the running ones, write the log; what the log counted."""
        try:
            return _done(self.loop, self.server.stop())
        finally:
            _end(self.loop, self.thread)


async def _opened(place: Place, path: Path, loop: SharedLoop) -> Ranker:
    return await open_ranker(
        path, redis_url=place.redis_url, settings=place.settings, needs_redis=place.needs_redis, loop=loop
    )


def _shadow(place: Place) -> Shadow | None:
    if place.shadow is None or place.shadow_folder is None:
        return None
    return Shadow.start(
        place.shadow, redis_url=place.redis_url, settings=place.settings, folder=place.shadow_folder
    )


def _done(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    asked: Future[T] = asyncio.run_coroutine_threadsafe(work, loop)
    return asked.result()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
