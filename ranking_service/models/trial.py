"""A bundle's trial in a process that may die: `python -m ranking_service.models.trial`, its task as JSON on stdin.

It loads the bundle, checks hashes, code and Redis, ranks nobody once, and ends. Whatever becomes of it, from a
refusal to a crash inside a library, the process that asked goes on serving. The task goes by stdin because a
Redis URL may hold a password, and arguments are for all to see.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from feature_repo.errors import BundleError, MarqueeError, OnlineStoreError
from ranking_service.settings import ServiceSettings, settings_of

MODULE = "ranking_service.models.trial"
PASSED, REFUSED, NOT_NOW = 0, 10, 11
"""Exit codes; any other, or a signal, is a crash."""
NICE = 10
CLOSE_SECONDS = 5.0
REASON_LETTERS = 2000


@dataclass(frozen=True)
class Trial:
    """How bundles are tried out."""

    redis_url: str
    settings: ServiceSettings
    seconds: float = 60.0
    """Longer is a refusal."""
    memory_bytes: int = 8 * 2**30
    """Of address space, which XGBoost's and Arrow's threads reserve generously."""

    async def __call__(self, path: Path, sha256: str | None = None) -> None:
        """Return if `path` can be served, and is the bundle whose manifest has the hash `sha256` where one is given.

        Raises BundleError with the reason, OnlineStoreError where Redis kept it from being tried.
        """
        task = {"path": str(path), "sha256": sha256, **asdict(self)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self.seconds):
                _, told = await process.communicate(json.dumps(task).encode())
        except TimeoutError:
            raise BundleError(f"bundle {path.name}: its trial was not done in {self.seconds:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        _judge(path.name, process.returncode, told.decode(errors="replace").strip())


def _judge(version: str, code: int | None, told: str) -> None:
    reason = told[-REASON_LETTERS:]
    if code == REFUSED and reason:
        raise BundleError(reason)
    if code == NOT_NOW:
        raise OnlineStoreError(reason)
    if code != PASSED:
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        last = reason.splitlines()[-1] if reason else "nothing"
        raise BundleError(f"bundle {version}: its trial crashed ({how}); it said last: {last}")


def run(task: dict[str, Any]) -> None:
    """The trial itself, within its limits. Raises BundleError and OnlineStoreError."""
    from ranking_service.bundle import load
    from ranking_service.online.start_up import rehearse

    path = Path(task["path"])
    found = load(path).manifest["sha256"]
    if task["sha256"] not in (None, found):
        raise BundleError(
            f"{path.name} is not the bundle that was promoted: its manifest has the hash {found[:12]}, promoted "
            f"was {task['sha256'][:12]}; promote it again if it is meant"
        )
    settings = settings_of(task["settings"])
    no_memory = replace(settings.cache, items=0, users=0, preload_seconds=0.0)
    asyncio.run(rehearse(path, redis_url=task["redis_url"], settings=replace(settings, cache=no_memory)))


def limit(seconds: float, memory_bytes: int) -> None:
    """Bound this process for good: it ends by itself even when nobody is left to end it."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + CLOSE_SECONDS)


def main() -> int:
    task = json.load(sys.stdin)
    limit(task["seconds"], task["memory_bytes"])
    try:
        run(task)
    except OnlineStoreError as error:
        print(error, file=sys.stderr)
        return NOT_NOW
    except MarqueeError as error:
        print(error, file=sys.stderr)
        return REFUSED
    return PASSED


if __name__ == "__main__":
    sys.exit(main())
