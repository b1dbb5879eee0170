"""`marquee serve` as a process, black box: its address, its workers, how it ended and what it said."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
CALLER_GONE = "ExecuteBatchError raised in core by servicer method"
"""gRPC's own words, with a stack trace, for an answer whose caller has left while it was being sent."""
TRACE_END = 300
"""Characters of a stack trace that are told; the server's log has each on one line, with all of it."""
SERVING = re.compile(r"^serving .* on (\S+:\d+)", re.MULTILINE)


@dataclass
class ServeProcess:
    """A running server."""

    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    process: Any = None
    address: str = ""
    ready_seconds: float = 0.0
    killed: set[int] = field(default_factory=set)
    """Processes that we ended."""
    seen: set[int] = field(default_factory=set)
    """Workers seen by `watch`."""

    def start(self) -> None:
        """Returns when it says that it serves. Raises RuntimeError with what it said instead."""
        began = time.monotonic()
        with (self.folder / "stdout").open("ab") as out, (self.folder / "stderr").open("ab") as err:
            said = (self.folder / "stdout").stat().st_size
            environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment}
            self.process = subprocess.Popen(
                self.words, stdout=out, stderr=err, env=environment, cwd=self.folder
            )
        while not (found := SERVING.search(self.output("stdout")[said:])):
            if self.process.poll() is not None or time.monotonic() > began + READY_SECONDS:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(f"marquee serve did not start: {self.output('stderr')[-3000:]}")
            time.sleep(0.02)
        self.address, self.ready_seconds = found.group(1), time.monotonic() - began

    def output(self, stream: str) -> str:
        return (self.folder / stream).read_text(errors="replace")

    def workers(self) -> set[int]:
        """Its child processes; none where it serves by itself."""
        pid = self.process.pid
        try:
            return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
        except FileNotFoundError:
            return set()

    def watch(self) -> None:
        """Remember the present workers: whichever is gone later without our doing has crashed."""
        self.seen |= self.workers()

    def kill_a_worker(self) -> None:
        """The server itself where it has no workers."""
        victim = min(self.workers(), default=self.process.pid)
        self.killed.add(victim)
        os.kill(victim, signal.SIGKILL)

    def pause(self, seconds: float) -> None:
        """All of it stands still for so long, as on a machine that has no time for it."""
        pids = (self.process.pid, *self.workers())
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                os.kill(pid, number)
            time.sleep(seconds if number == signal.SIGSTOP else 0.0)

    def kill(self) -> None:
        """All of it, at once."""
        for pid in (self.process.pid, *self.workers()):
            self.killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def crashes(self) -> list[str]:
        """What broke without our doing, so far."""
        found = [f"worker {pid} is gone" for pid in self.seen - self.killed - self.workers()]
        if self.process.poll() is not None and self.process.pid not in self.killed:
            found.append(f"the server ended with exit code {self.process.returncode}")
        traces = stack_traces(self.output("stderr"))
        return [*found, *(f"a stack trace on stderr: {trace}" for trace in traces)]

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def stack_traces(stderr: str) -> list[str]:
    """The end of each log line with one, but for those that tell of callers who left."""
    lines = [line for line in stderr.splitlines() if "Traceback (most recent call last)" in line]
    return [line[-TRACE_END:] for line in lines if CALLER_GONE not in line]


@contextmanager
def serving(
    folder: Path,
    *,
    bundle: Path,
    redis_url: str,
    port: int,
    settings: str = "",
    workers: int = 1,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServeProcess]:
    """`settings` is the text of service.toml; `folder` keeps what the server says."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "service.toml").write_text(settings)
    words = [sys.executable, "-m", "marquee", "serve", "--bundle", str(bundle), "--redis", redis_url]
    words += ["--port", str(port), "--settings", str(folder / "service.toml")]
    words += ["--log", str(log or folder / "log")]
    words += ["--workers", str(workers)] if workers > 1 else []
    own = {"MARQUEE_HOME": str(folder), **(environment or {})}
    server = ServeProcess(tuple(words), folder, own)
    try:
        server.start()
        yield server
    finally:
        server.stop()
