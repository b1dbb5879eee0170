"""Settings of the service: defaults here, `service.toml` beside the workspace for what differs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from feature_repo.errors import SettingError

SETTINGS_FILE = "service.toml"
ROW_FORMATS = ("packed", "stock")


@dataclass(frozen=True)
class RedisSettings:
    """`[redis]`"""

    connect_seconds: float = 0.25
    """To open a connection."""
    timeout_seconds: float = 0.25
    """For one whole fetch."""
    rows: str = "packed"
    """Whose rows are read: "packed" (Marquee's online store) or "stock" (Feast's own)."""


@dataclass(frozen=True)
class LogSettings:
    """`[log]`"""

    sample: float = 1.0
    """Share of users whose requests are logged, 0 to 1; a user is in or out as a whole."""
    queue_requests: int = 100
    """Requests that may wait for the writer (about 1 MB each); further ones are dropped and counted."""
    segment_candidates: int = 20_000
    """A segment is closed at this many candidate rows ..."""
    segment_seconds: float = 10.0
    """... or at this age, and only then appears on disk."""


@dataclass(frozen=True)
class ServiceSettings:
    """The top level of the file."""

    candidate_limit: int = 2000
    """Most candidates of one request."""
    explained_features: int = 10
    """Contributions listed per explained item."""
    worker_threads: int = 4
    """Requests worked on at once."""
    concurrent_requests: int = 64
    """Requests at work or waiting for a worker; further ones are refused at once."""
    model_threads: int = 1
    """Threads that score one request."""
    stop_seconds: float = 5.0
    """Time that running requests get when the server stops."""
    redis: RedisSettings = field(default_factory=RedisSettings)
    log: LogSettings = field(default_factory=LogSettings)


def read_settings(path: Path | None) -> ServiceSettings:
    """The settings of a TOML file; all defaults when `path` is None.

    Raises SettingError that lists every unknown key and unusable value at once.
    """
    if path is None:
        return ServiceSettings()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingError(f"{path} is not TOML: {error}") from error
    problems: list[str] = []
    settings = ServiceSettings(
        **_checked(ServiceSettings, raw, "", problems),
        redis=RedisSettings(**_checked(RedisSettings, raw.get("redis", {}), "redis.", problems)),
        log=LogSettings(**_checked(LogSettings, raw.get("log", {}), "log.", problems)),
    )
    if problems:
        raise SettingError(f"{path}: {'; '.join(problems)}")
    return settings


def _checked(kind: type, raw: Any, prefix: str, problems: list[str]) -> dict[str, Any]:
    """The usable plain values of one table; what is wrong goes to `problems`."""
    if not isinstance(raw, Mapping):
        problems.append(f"{prefix.rstrip('.')} is a table, write [{prefix.rstrip('.')}]")
        return {}
    known = {entry.name: entry.default for entry in fields(kind)}
    good: dict[str, Any] = {}
    for name, value in raw.items():
        default = known.get(name)
        if name not in known:
            problems.append(f"unknown key {prefix}{name}; known are {', '.join(known)}")
        elif isinstance(default, str):
            if value in ROW_FORMATS:
                good[name] = value
            else:
                problems.append(f"{prefix}{name} is {value!r}, but must be one of {', '.join(ROW_FORMATS)}")
        elif isinstance(default, (int, float)):
            problem = _problem(name, value, whole=isinstance(default, int))
            if problem:
                problems.append(f"{prefix}{name} is {value!r}, but must be {problem}")
            else:
                good[name] = value
    return good


def _problem(name: str, value: Any, *, whole: bool) -> str | None:
    """What the value should be instead; None when it is fine."""
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return "a whole number" if whole else "a number"
    if name == "sample":
        return None if 0 <= value <= 1 else "between 0 and 1"
    return None if 0 < value < float("inf") else "positive"
