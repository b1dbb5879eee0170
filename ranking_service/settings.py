"""Settings of the service: defaults here, `service.toml` beside the workspace for what differs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from feature_repo.errors import SettingError
from ranking_service.settings_sections import (
    AdmissionSettings,
    BreakerSettings,
    BudgetSettings,
    CacheSettings,
    FeastApiSettings,
    HttpSettings,
    LevelSettings,
    LoggingSettings,
    LogSettings,
    Models,
    RedisSettings,
    SecuritySettings,
    ShadowSettings,
    TraceSettings,
)

SETTINGS_FILE = "service.toml"


@dataclass(frozen=True)
class ServiceSettings:
    """The top level of the file."""

    candidate_limit: int = 2000
    """Most candidates of one request."""
    requests_per_call: int = 32
    """Most requests of one RankMany call, and most unanswered ones of one stream."""
    explained_features: int = 10
    """Contributions listed per explained item."""
    model_threads: int = 1
    """Threads that score one request."""
    stop_seconds: float = 5.0
    """Time that running requests get when the server stops."""
    follow_seconds: float = field(default=1.0, metadata={"from_zero": True})
    """How often the server looks which bundle is promoted; 0 keeps the one it started with."""
    models: Models = field(default_factory=dict)
    redis: RedisSettings = field(default_factory=RedisSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    levels: LevelSettings = field(default_factory=LevelSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    log: LogSettings = field(default_factory=LogSettings)
    shadow: ShadowSettings = field(default_factory=ShadowSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    feast_api: FeastApiSettings = field(default_factory=FeastApiSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    traces: TraceSettings = field(default_factory=TraceSettings)


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
    return settings_of(raw, str(path))


def settings_of(raw: Mapping[str, Any], where: str = "settings") -> ServiceSettings:
    """The settings of plain tables, such as `dataclasses.asdict` makes of settings; raises as `read_settings`."""
    problems: list[str] = []
    settings: ServiceSettings = _table(ServiceSettings, raw, "", problems)
    if problems:
        raise SettingError(f"{where}: {'; '.join(problems)}")
    return settings


def _table(kind: type[Any], raw: Any, prefix: str, problems: list[str]) -> Any:
    """One table, with defaults in the place of what is wrong with it; that goes to `problems`."""
    if not isinstance(raw, Mapping):
        problems.append(f"{prefix.rstrip('.')} is a table, write [{prefix.rstrip('.')}]")
        return kind()
    known = {entry.name: entry for entry in fields(kind)}
    good: dict[str, Any] = {}
    for name, value in raw.items():
        where = f"{prefix}{name}"
        if name not in known:
            problems.append(f"unknown key {where}; known are {', '.join(known)}")
            continue
        default = _default(known[name])
        if is_dataclass(default):
            good[name] = _table(type(default), value, f"{where}.", problems)
            continue
        if isinstance(default, Mapping) and not isinstance(value, Mapping):
            problems.append(f"{where} is a table, write [{where}]")
            continue
        problem = _problem(value, default, known[name].metadata)
        if problem:
            problems.append(f"{where} is {value!r}, but must be {problem}")
        else:
            good[name] = tuple(value) if isinstance(default, tuple) else value
    return kind(**good)


def _default(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _problem(value: Any, default: Any, rules: Mapping[str, Any]) -> str | None:
    """What the value should be instead; None when it is fine."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        return _text_problem(value, rules.get("choices"))
    if isinstance(default, tuple):
        good = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        return None if good else "a list of texts"
    if isinstance(default, Mapping):
        return None if all(isinstance(entry, str) for entry in value.values()) else "names with a text each"
    return _number_problem(value, rules, whole=isinstance(default, int))


def _text_problem(value: Any, choices: tuple[str, ...] | None) -> str | None:
    if choices is not None:
        return None if value in choices else f"one of {', '.join(choices)}"
    return None if isinstance(value, str) else "a text"


def _number_problem(value: Any, rules: Mapping[str, Any], *, whole: bool) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return "a whole number" if whole else "a number"
    if rules.get("share"):
        return None if 0 <= value <= 1 else "between 0 and 1"
    if "most" in rules:
        return None if 0 <= value <= rules["most"] else f"between 0 and {rules['most']}"
    if rules.get("from_zero"):
        return None if 0 <= value < float("inf") else "0 or more"
    return None if 0 < value < float("inf") else "positive"
