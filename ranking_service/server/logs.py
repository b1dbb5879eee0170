"""The server's own messages on stderr: one line each, as JSON or for a person. What was served is the serving log's."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

from ranking_service.server.stages import STAGES
from ranking_service.settings_sections import LoggingSettings

LOGGER = "marquee.requests"
FIELDS = "fields"
"""Attribute of a log record with what a line says beside its message."""

LONGEST_MESSAGE = 500
"""What callers send may stand in a message, at any length."""
ONE_LINE = {number: f"\\x{number:02x}" for number in range(32)}

logger = logging.getLogger(LOGGER)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """The same for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        more = "".join(f" {name}={json.dumps(value)}" for name, value in getattr(record, FIELDS, {}).items())
        message = record.getMessage().translate(ONE_LINE)
        line = f"{_instant(record)} {record.levelname.lower():7} {message}{more}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def write_to(stream: TextIO, settings: LoggingSettings) -> None:
    """Send what `logging` is told to `stream`; "auto" writes text to a terminal, JSON to all else."""
    text = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines() if text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())


def start_logging(settings: LoggingSettings) -> None:
    """For a process of the server: everything goes to stderr."""
    write_to(sys.stderr, settings)


@contextmanager
def logging_as(settings: LoggingSettings) -> Iterator[None]:
    """The same for as long as the block runs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    start_logging(settings)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@dataclass
class RequestLines:
    """A line for each request that failed, was degraded or slow; of each kind only so many a second.

    Where an outage makes many alike, the rest are counted, and the next line of the kind says how many.
    """

    settings: LoggingSettings
    clock: Callable[[], float] = time.monotonic
    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def answered(self, response: Any, *, seconds: float, caller: str) -> None:
        """Says nothing of a complete answer in time, unless every request is to be logged."""
        if response.level > 0:
            kind = f"degraded to level {response.level}"
            level = logging.WARNING
        elif seconds >= self.settings.slow_seconds:
            kind, level = "slow", logging.WARNING
        elif self.settings.access:
            self._write("answered", logging.INFO, self._told(response, seconds, caller), 0)
            return
        else:
            return
        suppressed = self._suppressed(kind)
        if suppressed is not None:
            self._write(kind, level, self._told(response, seconds, caller), suppressed)

    def refused(self, code: str, message: str, *, request_id: str, seconds: float, caller: str) -> None:
        """A request that was answered with this gRPC code."""
        suppressed = self._suppressed(code)
        if suppressed is not None:
            level = logging.ERROR if code in ("INTERNAL", "UNKNOWN") else logging.WARNING
            told = {
                "request_id": request_id[:LONGEST_MESSAGE],
                "code": code,
                "millis": _millis(seconds),
                "caller": caller,
            }
            self._write(f"refused: {message[:LONGEST_MESSAGE]}", level, told, suppressed)

    def _told(self, response: Any, seconds: float, caller: str) -> dict[str, Any]:
        told = {
            "request_id": response.request_id[:LONGEST_MESSAGE],
            "code": "OK",
            "millis": _millis(seconds),
            "caller": caller,
            "model": response.model,
            "bundle": response.bundle_version,
            "answer_level": response.level,
            "micros": {
                stage: taken for stage in (*STAGES, "total") if (taken := getattr(response.micros, stage))
            },
        }
        if response.level > 0:
            told |= {"reason": response.reason, "views": [view.view for view in response.degraded_views]}
        return told

    def _suppressed(self, kind: str) -> int | None:
        """How many lines of the kind were left out since the last; None leaves this one out, too."""
        one = self._kinds.setdefault(kind, _Kind())
        second = int(self.clock())
        if second != one.second:
            one.second, one.lines = second, 0
        if one.lines >= self.settings.lines_per_second:
            one.suppressed += 1
            return None
        one.lines += 1
        suppressed, one.suppressed = one.suppressed, 0
        return suppressed

    def _write(self, message: str, level: int, told: dict[str, Any], suppressed: int) -> None:
        if suppressed:
            told["suppressed"] = suppressed
        logger.log(level, "%s", message, extra={FIELDS: told})


@dataclass
class _Kind:
    second: int = -1
    lines: int = 0
    suppressed: int = 0


def _millis(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _instant(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
