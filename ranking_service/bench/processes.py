"""Servers under test and their floors, each in processes of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from feature_repo.errors import MissingInputError
from feature_repo.workspace import HOME_VARIABLE
from ranking_service.bench.calls import is_ready
from ranking_service.bench.slates import Slate
from ranking_service.bench.world import BenchWorld

READY_SECONDS, STOP_SECONDS = 60.0, 15.0
PORTS = range(20_000, 32_000)
NO_CACHE = "[cache]\nitems = 0\nusers = 0\npreload_seconds = 0\n"
"""Settings of a server that asks Redis for everything."""


@dataclass(frozen=True)
class Running:
    """A server that is ready."""

    address: str
    process_ids: tuple[int, ...]
    """Of the processes that were started; a supervisor's workers are its children."""


@dataclass(frozen=True)
class ServeOptions:
    """How `marquee serve` is started."""

    workers: int = 1
    cache: bool = True
    log: bool = False


@contextmanager
def serving(world: BenchWorld, folder: Path, options: ServeOptions | None = None) -> Iterator[Running]:
    """`marquee serve` on the world's bundle and rows."""
    port = free_port()
    command, environment = serve_command(world, folder, port, options or ServeOptions())
    with running([command], port, environment) as started:
        yield started


def serve_command(
    world: BenchWorld, folder: Path, port: int, options: ServeOptions
) -> tuple[list[str], dict[str, str]]:
    """The command, and its environment: a workspace's own settings count only in the workspace's own world."""
    command = [sys.executable, "-m", "marquee", "serve", "--bundle", str(world.bundle)]
    command += ["--redis", world.redis_url, "--port", str(port)]
    command += ["--log", str(folder / "serving_log")] if options.log else ["--no-log"]
    if options.workers > 1 and has_workers():
        command += ["--workers", str(options.workers)]
    if not options.cache:
        settings = folder / "no_cache.toml"
        settings.write_text(NO_CACHE, encoding="utf-8")
        command += ["--settings", str(settings)]
    home = world.home or folder / "home"
    home.mkdir(exist_ok=True)
    return command, {**os.environ, HOME_VARIABLE: str(home)}


@cache
def has_workers() -> bool:
    """Whether `marquee serve` can have several processes share a port."""
    command = [sys.executable, "-m", "marquee", "serve", "--help"]
    return "--workers" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


@contextmanager
def floor(
    world: BenchWorld, folder: Path, kind: str, *, slates: Sequence[Slate], answer: bytes, workers: int = 1
) -> Iterator[Running]:
    """Servers that answer every request with `answer`, a serialized RankResponse, after their bare `kind` of work."""
    case = world.case(slates).write(folder / "floor.json")
    (folder / "answer.bin").write_bytes(answer)
    port = free_port()
    module = "ranking_service.bench.floor_server"
    command = [sys.executable, "-m", module, kind, str(case), str(folder / "answer.bin"), str(port)]
    commands = [[*command, str(number)] for number in range(workers)]
    with running(commands, port, dict(os.environ)) as started:
        yield started


@contextmanager
def running(commands: list[list[str]], port: int, environment: dict[str, str]) -> Iterator[Running]:
    """Started, and every one of them has printed its first line. Raises MissingInputError when one ends instead."""
    address = f"127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(spawned(command, environment)) for command in commands]
        for process in processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                _raise_ended(process)
        wait_until_ready(address, processes[0])
        yield Running(address, tuple(process.pid for process in processes))


def wait_until_ready(address: str, process: subprocess.Popen[str]) -> None:
    """Until the health service says SERVING. Raises MissingInputError when the process ends, or is too slow."""
    until = time.monotonic() + READY_SECONDS
    while not is_ready(address):
        if process.poll() is not None:
            _raise_ended(process)
        if time.monotonic() > until:
            raise MissingInputError(
                f"{address} did not serve within {READY_SECONDS:.0f} s; look for its errors"
            )


@contextmanager
def spawned(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Runs until the block ends; a MissingInputError out of the block tells its last words."""
    with _errors() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        try:
            yield process
        finally:
            stop(process)


@contextmanager
def _errors() -> Iterator[IO[str]]:
    """Where a server's warnings go; shown when the benchmark fails."""
    with tempfile.TemporaryFile("w+") as errors:
        try:
            yield errors
        except MissingInputError as error:
            errors.seek(0)
            raise MissingInputError(f"{error}\n{errors.read()[-2000:]}".strip()) from error


def stop(process: subprocess.Popen[str]) -> None:
    """By SIGTERM; a process that does not end is killed."""
    process.terminate()
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _raise_ended(process: subprocess.Popen[str]) -> None:
    assert isinstance(process.args, list)
    raise MissingInputError(f"`{' '.join(process.args)}` ended with code {process.wait()} before it served")


def free_port() -> int:
    """Of 127.0.0.1, and not one that the system gives to outgoing connections until the server binds it."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
