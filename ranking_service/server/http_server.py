"""Runs the HTTP side in a thread of its own, beside whatever the process does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn

from feature_repo.errors import SettingError
from ranking_service.server.http import http_app
from ranking_service.server.metrics_folder import exposition
from ranking_service.settings import ServiceSettings

START_SECONDS, STOP_SECONDS = 10.0, 5.0


@dataclass(frozen=True)
class HttpServer:
    """A started server."""

    address: str
    """host:port as bound."""
    server: uvicorn.Server
    thread: threading.Thread

    def stop(self) -> None:
        """Finish what is being answered, close the port."""
        self.server.should_exit = True
        self.thread.join(STOP_SECONDS)


def serve_http(
    settings: ServiceSettings, targets: Sequence[str], *, metrics: Callable[[], bytes] = exposition
) -> HttpServer | None:
    """Answer until `stop`; None where the settings name no port. `targets` are the workers' gRPC addresses.

    POST /rank is off where callers must show a certificate, which HTTP does not ask for. Raises SettingError for a
    port that is taken.
    """
    http = settings.http
    if http.port == 0:
        return None
    listening = _bound(http.host, http.port)
    app = http_app(
        targets,
        metrics=metrics,
        json_rank=http.json and not settings.security.client_ca,
        message_bytes=settings.security.message_bytes,
        timeout_seconds=settings.budget.request_seconds,
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(STOP_SECONDS) - 1,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="http", daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise SettingError(f"HTTP on {http.host}:{http.port} does not start; see the messages above")
        time.sleep(0.01)
    return HttpServer(f"{http.host}:{listening.getsockname()[1]}", server, thread)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingError(
            f"cannot listen on {host}:{port} for HTTP ({error.strerror}); set http.port to a free one, or 0 for none"
        ) from error
    return listening
