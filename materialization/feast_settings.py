"""Feast's settings on this workspace: `feature_store.yaml` with the registry and the Redis of the moment in it."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from feast import RepoConfig

from feature_repo.errors import SettingError
from feature_repo.workspace import FEATURE_REPO, REDIS_VARIABLE, Workspace

SETTINGS = FEATURE_REPO / "feature_store.yaml"


def redis_url() -> str | None:
    """The Redis server the environment names, if any."""
    return os.environ.get(REDIS_VARIABLE) or None


def effective_settings(workspace: Workspace, url: str | None) -> dict[str, Any]:
    """`feature_store.yaml` with this workspace's registry and this Redis server in it."""
    settings: dict[str, Any] = yaml.safe_load(SETTINGS.read_text())
    settings["registry"]["path"] = str(workspace.registry)
    if url is not None:
        settings["online_store"]["connection_string"] = connection_string(url)
    return settings


def connection_string(url: str) -> str:
    """A Redis URL in the form Feast's Redis store wants; raises SettingError for what it cannot express."""
    form = f"{REDIS_VARIABLE} is not of the form redis://[user:password@]host:port/db"
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError as error:
        raise SettingError(f"{form}: {error}") from error
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or ":" in parts.hostname:
        raise SettingError(f"{form}: found scheme {parts.scheme!r} and host {parts.hostname!r}")
    database = parts.path.removeprefix("/") or "0"
    if not (database.isascii() and database.isdecimal()):
        raise SettingError(f"{form}: the database is {database!r}, expected a number such as 0")
    options: dict[str, Any] = {"db": int(database), "ssl": parts.scheme == "rediss"}
    options |= {
        key: unquote(value)
        for key, value in (("username", parts.username), ("password", parts.password))
        if value
    }
    if any("," in str(value) for value in options.values()):
        raise SettingError(
            f"{REDIS_VARIABLE}: Feast's Redis store takes no user or password with a comma in it"
        )
    listed = ",".join(f"{key}={json.dumps(value)}" for key, value in options.items())
    return f"{parts.hostname}:{port},{listed}"


def repo_config(workspace: Workspace) -> RepoConfig:
    """Feast's configuration of this workspace; also left beside the registry, for `feast -f`."""
    settings = effective_settings(workspace, redis_url())
    workspace.home.mkdir(parents=True, exist_ok=True)
    path = workspace.home / "feature_store.yaml"
    text = yaml.safe_dump(settings, sort_keys=False)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o600)
    return RepoConfig(**settings, repo_path=FEATURE_REPO)
