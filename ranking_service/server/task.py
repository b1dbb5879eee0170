"""What a worker process is to serve, as its supervisor tells it. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ranking_service.settings import ServiceSettings, settings_of


@dataclass(frozen=True)
class ServeTask:
    """The workspace and its registry are those of the environment."""

    redis_url: str
    settings: ServiceSettings
    bundle: str | None = None
    """A version or a folder; None follows what is promoted."""
    log_folder: Path | None = None
    """None logs nothing."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 picks a free one."""
    needs_redis: bool = True
    """Whether to refuse to start where Redis does not answer."""
    number: int = 0
    """The worker's place among the workers."""
    socket: Path | None = None
    """A unix socket to listen on as well, for the supervisor's HTTP side."""

    def to_line(self) -> bytes:
        """It may hold a password: it goes by stdin, arguments are for all to see."""
        return json.dumps(asdict(self), default=str).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> ServeTask:
        raw: dict[str, Any] = json.loads(line)
        raw["settings"] = settings_of(raw["settings"])
        for name in ("log_folder", "socket"):
            raw[name] = None if raw[name] is None else Path(raw[name])
        return cls(**raw)
