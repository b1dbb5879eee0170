"""One worker process: `python -m ranking_service.server.worker`, what to serve as a line of JSON on stdin.

It tells its supervisor in lines of JSON on stdout: `{"ready": ...}` once it answers, `{"stopped": ...}` at the end,
`{"failed": ...}` when it cannot start. It ends in order on SIGTERM, and when its supervisor is gone (stdin ends).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from feature_repo.errors import MarqueeError, SettingError
from feature_repo.workspace import Workspace
from ranking_service.models.registry import registry_of
from ranking_service.models.served import followers_of, named_bundles
from ranking_service.online.feature_reader import RedisPlace
from ranking_service.online.start_up import doubts
from ranking_service.server.logs import start_logging
from ranking_service.server.metrics_folder import write_as
from ranking_service.server.server import LoopServer, Place
from ranking_service.server.task import ServeTask

FAILED, WRONG_USE = 1, 2
RESTART_SECONDS = 0.2
"""Spent on filling the cache of a worker that takes the place of another."""


def place_of(task: ServeTask) -> Place:
    """Raises BundleError, SettingError."""
    workspace = Workspace.from_environment()
    registry = registry_of(workspace)
    settings, models = task.settings, task.settings.models
    if not task.needs_redis:  # the others carry its load: serve first, fill the cache meanwhile
        cache = replace(settings.cache, preload_seconds=min(settings.cache.preload_seconds, RESTART_SECONDS))
        settings = replace(settings, cache=cache)
    return Place(
        bundles=named_bundles(registry, task.bundle, models),
        redis_url=task.redis_url,
        settings=settings,
        log_folder=task.log_folder,
        host=task.host,
        port=task.port,
        shares_port=True,
        registry=registry,
        follows=followers_of(task.bundle, models),
        shadow=registry.chosen(settings.shadow.bundle) if settings.shadow.bundle else None,
        shadow_folder=workspace.shadow_log,
        needs_redis=task.needs_redis,
        socket=task.socket,
        number=task.number,
    )


async def serve(task: ServeTask) -> None:
    """Until SIGTERM, or until the supervisor is gone."""
    place = place_of(task)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    threading.Thread(target=_await_end_of_input, args=(loop, stopping), daemon=True).start()
    server = await LoopServer.start(place)
    gc.collect()
    gc.freeze()  # what is here now stays: later collections need not look at it
    versions = server.servicer.models.versions()
    _tell({"ready": server.address, "versions": versions, "doubts": await asyncio.to_thread(_doubts, server)})
    await stopping.wait()
    counts = await server.stop()
    _tell({"stopped": None if counts is None else asdict(counts)})


def _doubts(server: LoopServer) -> list[str]:
    """About the default model; one that is started again has told them before."""
    place = server.place
    if not place.needs_redis:
        return []
    contract = server.servicer.models.ranker().bundle.contract
    return list(doubts(contract, RedisPlace(place.redis_url, place.settings)))


def _first_line() -> bytes:
    """Without Python's buffer, whose lock a thread that waits for the end of the input would keep."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(sys.stdin.fileno(), 1)):
        line += byte
    return line


def _await_end_of_input(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    loop.call_soon_threadsafe(stopping.set)


def _tell(news: Mapping[str, Any]) -> None:
    """The supervisor may be gone."""
    try:
        print(json.dumps(news), flush=True)
    except BrokenPipeError:
        return


def main() -> int:
    task = ServeTask.from_line(_first_line())
    start_logging(task.settings.logging)
    write_as(task.number)
    try:
        asyncio.run(serve(task))
    except MarqueeError as error:
        _tell({"failed": str(error), "wrong_use": isinstance(error, SettingError)})
        return WRONG_USE if isinstance(error, SettingError) else FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
