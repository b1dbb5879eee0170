"""Connection strings, in the form of Feast's own Redis store and as URLs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from redis.connection import parse_url

from feature_repo.errors import SettingError

DEFAULT_PORT = 6379
TEXTS = frozenset({"username", "password", "client_name", "sentinel_username", "sentinel_password"})
"""Options that stay text even where they look like numbers."""
Host = tuple[str, int]


@dataclass(frozen=True)
class Address:
    """What a connection string says."""

    hosts: tuple[Host, ...]
    """Nodes to begin with, or sentinels; none for a unix socket."""
    options: dict[str, Any]
    """Keyword arguments of redis-py's connections; with `sentinel_` before them, for those to the sentinels."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """`host:port,host2:port,db=0,ssl=true,...`, a URL (redis, rediss, unix), or a socket's path, then options.

        Raises SettingError.
        """
        if "://" in text:
            return cls._of_url(text)
        words = [word.strip() for word in text.split(",") if word.strip()]
        options = dict(_option(word) for word in words if "=" in word)
        places = [word for word in words if "=" not in word]
        if places and places[0].startswith("/"):
            return cls((), {**options, "path": places[0]})
        if not places:
            raise SettingError(f"connection_string {masked(text)!r} names no host; write host:port")
        return cls(tuple(map(_host, places)), options)

    @classmethod
    def _of_url(cls, text: str) -> Address:
        try:
            options = dict(parse_url(text))  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise SettingError(f"connection_string: {error}; write redis://, rediss:// or unix://") from error
        if text.startswith("rediss://"):
            options["ssl"] = True
        options.pop("connection_class", None)
        host, port = options.pop("host", "localhost"), int(options.pop("port", DEFAULT_PORT))
        return cls(() if "path" in options else ((host, port),), options)


def masked(connection_string: str) -> str:
    """Without passwords, for messages."""
    words = connection_string.split(",")
    return ",".join(
        f"{word.partition('=')[0]}=***" if "password" in word.partition("=")[0] else word for word in words
    )


def _host(word: str) -> Host:
    host, colon, port = word.rpartition(":")
    if not colon or word.endswith("]"):
        return word.strip("[]"), DEFAULT_PORT
    if not port.isdigit():
        raise SettingError(f"connection_string: {word!r} is no host:port")
    return host.strip("[]"), int(port)


def _option(word: str) -> tuple[str, Any]:
    """As the stock store reads them: JSON where it is JSON, else text."""
    name, _, value = word.partition("=")
    if name in TEXTS:
        return name, value
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
