"""Keeps worker processes running that share one port: the kernel spreads connections over them.

A worker that dies is started again at once, with growing pauses when it keeps dying; the others serve on. Imports
nothing heavy, so that it costs next to nothing and starts its workers immediately.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from feature_repo.errors import MarqueeError, SettingError
from ranking_service.server.beside import Beside
from ranking_service.server.task import ServeTask

WORKER = "ranking_service.server.worker"
LIVED_SECONDS = 5.0
"""A worker that lived for less was not well: the next waits."""
LONGEST_PAUSE_SECONDS = 5.0
KILL_SECONDS = 12.0
"""Beyond the time for running requests: the log is written by then."""

logger = logging.getLogger(__name__)


class StartError(MarqueeError):
    """A worker could not start; its message is the worker's."""


@dataclass
class Worker:
    """One place among the workers."""

    number: int
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    stopped: Mapping[str, int] | None = None
    """What its log counted, once it has ended in order."""


@dataclass
class Supervisor:
    """Belongs to one event loop."""

    task: ServeTask
    workers: int
    on_start: Callable[[str, Mapping[str, Any]], None]
    """Takes the address, and the first worker's `versions` by model and `doubts`, once all workers answer."""
    _workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = asyncio.Event()
        self._reserved: socket.socket | None = None

    def stop(self) -> None:
        """Let `run` come to its end."""
        self._stopping.set()

    @property
    def pids(self) -> list[int]:
        """Of the workers that run."""
        return [worker.process.pid for worker in self._workers if worker.process is not None]

    async def run(self) -> list[Mapping[str, int]]:
        """Serve until `stop`; what each worker's log counted. Raises StartError, SettingError."""
        self._reserve()
        self._workers = [Worker(number) for number in range(self.workers)]
        self._beside = Beside.prepare(self.task.settings)
        keeping: list[asyncio.Task[None]] = []
        beside = asyncio.create_task(asyncio.to_thread(self._beside.start, self.workers))
        try:
            ready = await self._all_started()
            await beside
            self.on_start(self.address, ready[0])
            again = replace(self.task, needs_redis=False)
            keeping = [asyncio.create_task(self._keep(worker, again)) for worker in self._workers]
            await self._stopping.wait()
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await asyncio.gather(*(self._end(worker) for worker in self._workers))
            if self._reserved is not None:
                self._reserved.close()
            await asyncio.gather(beside, return_exceptions=True)
            await asyncio.to_thread(self._beside.close)
        return [worker.stopped for worker in self._workers if worker.stopped is not None]

    @property
    def address(self) -> str:
        """host:port as bound."""
        return f"{self.task.host}:{self.task.port}"

    def _reserve(self) -> None:
        """Hold the port, without listening, so that no other program takes it while a worker is away."""
        family = socket.AF_INET6 if ":" in self.task.host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((self.task.host, self.task.port))
                port = alone.getsockname()[1]
            self._reserved = socket.socket(family, socket.SOCK_STREAM)
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._reserved.bind((self.task.host, port))
        except OSError as error:
            raise SettingError(
                f"cannot listen on {self.address} ({error.strerror}); choose a free port, or 0 for any"
            ) from error
        self.task = replace(self.task, port=port)

    async def _all_started(self) -> list[Mapping[str, Any]]:
        """What each says. Raises the first problem, and only when no start is under way any more."""
        starts = (self._started(worker, self.task) for worker in self._workers)
        ready = await asyncio.gather(*starts, return_exceptions=True)
        for news in ready:
            if isinstance(news, BaseException):
                raise news
        return [news for news in ready if not isinstance(news, BaseException)]

    async def _started(self, worker: Worker, task: ServeTask) -> Mapping[str, Any]:
        """Start a process; what it says when it answers. Raises StartError."""
        worker.starts += 1
        worker.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", WORKER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert worker.process.stdin is not None
        own = self._beside.of_worker(replace(task, port=self.task.port), worker.number)
        worker.process.stdin.write(own.to_line())
        news = await _news(worker.process)
        if "ready" in news:
            return news
        await worker.process.wait()
        message = (
            news.get("failed")
            or f"a worker ended with exit code {worker.process.returncode} before it answered"
        )
        raise (SettingError if news.get("wrong_use") else StartError)(message)

    async def _keep(self, worker: Worker, task: ServeTask) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        pause, since = 0.0, loop.time()
        while True:
            assert worker.process is not None
            code = await worker.process.wait()
            self._beside.lost(worker.number)
            pause = (
                0.0
                if loop.time() - since > LIVED_SECONDS
                else min(max(0.25, 2 * pause), LONGEST_PAUSE_SECONDS)
            )
            logger.error("worker %d died (%s); starting another in %.2f s", worker.number, _how(code), pause)
            await asyncio.sleep(pause)
            since = loop.time()
            try:
                await self._started(worker, task)
            except MarqueeError as error:
                logger.error("worker %d cannot start: %s", worker.number, error)

    async def _end(self, worker: Worker) -> None:
        """In order if it can."""
        process = worker.process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.task.settings.stop_seconds + KILL_SECONDS):
                worker.stopped = (await _news(process)).get("stopped")
                await process.wait()
        except TimeoutError:
            logger.error("worker %d did not end; it is killed, and its open log segment lost", worker.number)
            process.kill()
            await process.wait()


async def _news(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next line it says; nothing when it has ended."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    try:
        news = json.loads(line) if line else {}
    except ValueError:
        return {}
    return news if isinstance(news, dict) else {}


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
