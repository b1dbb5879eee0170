"""Worker processes that share a port: one that dies is replaced, and all end with their supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from async_redis import proxied, until
from online_world import AT, OnlineWorld

from feature_repo.errors import SettingError
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.supervisor import StartError, Supervisor
from ranking_service.server.task import ServeTask
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import BudgetSettings, LevelSettings

SETTINGS = ServiceSettings(
    budget=BudgetSettings(request_seconds=30.0, feature_seconds=10.0, scoring_seconds=10.0),
    levels=LevelSettings(lowest=0),
)
LISTENING = "0A"


@pytest.fixture
def task(online_world: OnlineWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServeTask:
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path))
    return ServeTask(online_world.redis_url, SETTINGS, str(online_world.bundle), log_folder=tmp_path / "log")


def listeners(port: int) -> int:
    """Sockets that listen on the port, as the kernel tells; each worker has equally many."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    rows = [line.split() for line in lines if "local_address" not in line]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == LISTENING for row in rows)


def alive(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@dataclass
class Running:
    """A supervisor at work."""

    supervisor: Supervisor
    work: asyncio.Task[list[Mapping[str, int]]]
    said: list[Any] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.supervisor.task.port

    async def rank(self, seconds: float = 20.0) -> Any:
        """Over a connection of its own, so that any worker may be the one."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        async with grpc.aio.insecure_channel(self.supervisor.address, options=options) as channel:
            request = ranking_pb2.RankRequest(user_id="ann", candidate_ids=["item 1", "item 2"])
            request.context.request_time.FromSeconds(int(AT))
            return await ranking_pb2_grpc.RankingServiceStub(channel).Rank(request, timeout=seconds)


def run(
    task: ServeTask, workers: int, story: Callable[[Running], Awaitable[None]]
) -> list[Mapping[str, int]]:
    """What the logs counted in the end."""

    async def told() -> list[Mapping[str, int]]:
        async with asyncio.timeout(90):
            said: list[Any] = []
            supervisor = Supervisor(task, workers, lambda address, news: said.append((address, news)))
            running = Running(supervisor, asyncio.create_task(supervisor.run()), said)
            try:
                await until(lambda: said or running.work.done(), 60)
                if not running.work.done():
                    await story(running)
            finally:
                supervisor.stop()
            return await running.work

    return asyncio.run(told())


def test_workers_share_the_port_and_one_that_is_killed_comes_back_while_the_other_serves(
    task: ServeTask,
) -> None:
    served = 0

    async def story(running: Running) -> None:
        nonlocal served
        ((address, news),) = running.said
        assert address == f"127.0.0.1:{running.port}"
        assert (news["versions"], news["doubts"]) == ({"promoted": "v1"}, [])
        first = running.supervisor.pids
        assert len(set(first)) == 2
        all_listeners = listeners(running.port)
        assert all_listeners in (2, 4)
        workers = set()
        while workers != {0, 1}:  # each connection reaches either by chance
            workers.add((await running.rank()).worker)
            served += 1
        os.kill(first[0], signal.SIGKILL)
        await until(lambda: listeners(running.port) == all_listeners // 2)
        for _ in range(5):
            assert (await running.rank()).items, "the other one answers"
            served += 1
        await until(lambda: listeners(running.port) == all_listeners, 60)
        again = running.supervisor.pids
        assert again[1] == first[1]
        assert again[0] not in first
        with pytest.raises(SettingError, match="cannot listen"):
            await Supervisor(replace(task, port=running.port), 1, lambda *_: None).run()
        for _ in range(10):
            assert (await running.rank()).items
            served += 1

    counts = run(task, 2, story)
    assert len(counts) == 2
    assert all(not count["dropped"] for count in counts)
    assert 0 < sum(count["written"] for count in counts) <= served


def test_a_request_in_flight_is_answered_when_the_server_is_told_to_stop(task: ServeTask) -> None:
    async def story(running: Running) -> None:
        assert (await running.rank()).items
        held = proxy.hold(lambda _: True)
        proxy.is_silent = True
        before = asked()
        calls = [asyncio.create_task(running.rank()) for _ in range(3)]
        await until(lambda: asked() >= before + 3)
        running.supervisor.stop()
        await asyncio.sleep(0.3)
        assert not running.work.done()
        for pipe in [*held, *proxy.pipes]:
            pipe.open.set()
        for answer in await asyncio.gather(*calls):
            assert len(answer.items) == 2
        counts = await running.work
        assert [count["written"] for count in counts] == [4]
        assert listeners(running.port) == 0

    async def told() -> None:
        nonlocal proxy
        async with proxied(int(task.redis_url.rsplit(":", 1)[1].split("/")[0])) as proxy:
            behind = replace(task, redis_url=f"redis://127.0.0.1:{proxy.port}/0")
            said: list[Any] = []
            supervisor = Supervisor(behind, 1, lambda *news: said.append(news))
            running = Running(supervisor, asyncio.create_task(supervisor.run()), said)
            try:
                await until(lambda: said or running.work.done(), 60)
                assert not running.work.done()
                await story(running)
            finally:
                supervisor.stop()
                proxy.is_silent = False
                for pipe in proxy.pipes:
                    pipe.open.set()
                await running.work

    def asked() -> int:
        return sum(pipe.said.count(b"item 2") for pipe in proxy.readers())

    proxy: Any = None
    asyncio.run(told())


def test_under_load_a_stop_loses_no_answer_and_refuses_what_comes_later(task: ServeTask) -> None:
    """Each ranking that was made, and so logged, was answered; the others were never begun.

    gRPC cancels what waits unseen when a server stops, and refuses connections afterwards.
    """
    answered = 0
    refused: list[tuple[bool, grpc.StatusCode]] = []

    async def story(running: Running) -> None:
        stopped = False

        async def call_again_and_again() -> None:
            nonlocal answered
            while not running.work.done():
                try:
                    assert (await running.rank()).items
                    answered += 1
                except grpc.aio.AioRpcError as error:
                    refused.append((stopped, error.code()))
                    await asyncio.sleep(0.02)

        callers = [asyncio.create_task(call_again_and_again()) for _ in range(8)]
        await until(lambda: answered >= 100 or any(caller.done() for caller in callers), 60)
        stopped = True
        running.supervisor.stop()
        await asyncio.gather(*callers)

    counts = run(task, 2, story)
    assert sum(count["written"] for count in counts) == answered
    assert answered >= 100
    assert refused
    assert set(refused) <= {(True, grpc.StatusCode.UNAVAILABLE), (True, grpc.StatusCode.CANCELLED)}


def test_workers_that_cannot_start_give_their_reason(task: ServeTask, tmp_path: Path) -> None:
    async def never(running: Running) -> None:
        raise AssertionError(running)

    with pytest.raises(StartError, match="manifest"):
        run(replace(task, bundle=str(tmp_path)), 2, never)
    with pytest.raises(StartError, match=r"Redis at 127\.0\.0\.1:1"):
        run(replace(task, redis_url="redis://127.0.0.1:1"), 1, never)
    wrong = replace(SETTINGS, levels=LevelSettings(order_by=("nothing",)))
    with pytest.raises(SettingError, match="order_by"):
        run(replace(task, settings=wrong), 1, never)


def test_a_taken_port_is_an_error_before_any_worker_starts(task: ServeTask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        supervisor = Supervisor(replace(task, port=taken.getsockname()[1]), 2, lambda *_: None)
        with pytest.raises(SettingError, match="cannot listen"):
            asyncio.run(supervisor.run())
        assert supervisor.pids == []


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_all_workers_end_when_their_supervisor_is_killed(online_world: OnlineWorld, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "marquee", "serve", "--workers", "2", "--port", "0", "--no-log"),
        *("--bundle", str(online_world.bundle), "--redis", online_world.redis_url),
    ]
    environment = {**os.environ, "MARQUEE_HOME": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert "serving bundle v1" in process.stdout.readline()
            workers = children(process.pid)
            assert len(workers) == 2
            assert all(map(alive, workers))
        finally:
            process.kill()
    deadline = time.monotonic() + 20
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "they would serve on with nobody to stop them"
        time.sleep(0.05)
