"""What the supervisor runs beside its workers: the HTTP port, and the folder in which they share their metrics."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranking_service.server.task import ServeTask
from ranking_service.settings import ServiceSettings

if TYPE_CHECKING:
    from ranking_service.server.http_server import HttpServer

RESTARTS = "marquee_worker_restarts"
SUPERVISOR = "supervisor"
"""Its number among the writers of metrics."""


@dataclass
class Beside:
    """Does nothing where the settings name no HTTP port; imports what it needs only where they do."""

    settings: ServiceSettings
    folder: Path | None
    """Of the sockets and the metrics; nobody else may enter it."""
    http: HttpServer | None = None
    _restarts: list[Any] = field(default_factory=list)

    @classmethod
    def prepare(cls, settings: ServiceSettings) -> Beside:
        """Before the first worker starts."""
        if settings.http.port == 0:
            return cls(settings, None)
        from ranking_service.server.metrics_folder import prepare_folder

        folder = Path(tempfile.mkdtemp(prefix="marquee-"))
        prepare_folder(folder / "metrics")
        return cls(settings, folder)

    def of_worker(self, task: ServeTask, number: int) -> ServeTask:
        """The task with what sets this worker apart."""
        return replace(task, number=number, socket=None if self.folder is None else self._socket(number))

    def start(self, workers: int) -> None:
        """Answer HTTP; readiness says no until a worker is ready. Raises SettingError for a port that is taken."""
        if self.folder is None:
            return
        from prometheus_client import CollectorRegistry, Counter

        from ranking_service.server.http_server import serve_http
        from ranking_service.server.metrics_folder import write_as

        write_as(SUPERVISOR)
        text = "Workers that ended and were replaced."
        self._restarts.append(Counter(RESTARTS, text, registry=CollectorRegistry()))
        self.http = serve_http(self.settings, [f"unix:{self._socket(number)}" for number in range(workers)])

    def lost(self, number: int) -> None:
        """A worker has ended and will be replaced."""
        if self.folder is None:
            return
        from ranking_service.server.metrics_folder import forget

        forget(number)
        for counter in self._restarts:
            counter.inc()

    def close(self) -> None:
        """After the last worker."""
        if self.http is not None:
            self.http.stop()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _socket(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number}.sock"
