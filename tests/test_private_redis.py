"""The private Redis: ready, alone, and gone afterwards however its owner ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from feature_repo.errors import OnlineStoreError
from feature_repo.workspace import REDIS_VARIABLE
from materialization.private_redis import LISTED, given_or_private_redis, private_redis

OWNER = """
import sys, time
from materialization.private_redis import private_redis
with private_redis() as server:
    print(server.pid, server.port, flush=True)
    time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b"redis-server" in Path(f"/proc/{pid}/cmdline").read_bytes()


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


def test_the_server_answers_inside_the_block_and_is_gone_after_it(tmp_path: Path) -> None:
    with private_redis(tmp_path) as server:
        assert redis.Redis.from_url(server.url).ping()
        assert is_running(server.pid)
        assert len(list(tmp_path.iterdir())) == 1
    assert gone_within(server.pid, 2)
    assert list(tmp_path.iterdir()) == []


def test_servers_side_by_side_do_not_see_each_others_keys(tmp_path: Path) -> None:
    with private_redis(tmp_path) as first, private_redis(tmp_path) as second:
        redis.Redis.from_url(first.url).set("key", "first")
        assert redis.Redis.from_url(second.url).get("key") is None


def test_a_hash_of_many_small_rows_is_a_hash_and_no_list(tmp_path: Path) -> None:
    """A list is searched as a whole for each of a request's candidates."""
    with private_redis(tmp_path) as server:
        client = redis.Redis(port=server.port)
        client.hset("pairs", mapping={f"item {number}": b"x" * 40 for number in range(LISTED)})
        assert client.object("encoding", "pairs") in (b"ziplist", b"listpack")
        client.hset("pairs", "one more", b"x")
        assert client.object("encoding", "pairs") == b"hashtable"


def test_nothing_is_written_to_disk(tmp_path: Path) -> None:
    with private_redis(tmp_path) as server:
        client = redis.Redis.from_url(server.url)
        client.set("key", "value")
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_a_killed_owner_leaves_no_server_behind() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline().split()[0])
        assert is_running(pid)
        owner.send_signal(signal.SIGKILL)
        owner.wait(5)
        assert gone_within(pid, 5)
    finally:
        owner.kill()
        owner.wait(5)
        if owner.stdout is not None:
            owner.stdout.close()


def test_an_error_inside_the_block_stops_the_server_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), private_redis(tmp_path) as server:
        _ = 1 / 0
    assert gone_within(server.pid, 2)


def test_a_server_that_never_gets_ready_is_an_error_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho out of order\nexec sleep 60\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    started = time.monotonic()
    with pytest.raises(OnlineStoreError, match="out of order"), private_redis(start_seconds=0.5):
        pass
    assert time.monotonic() - started < 3


def test_a_server_named_by_the_environment_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, "redis://elsewhere:1/0")
    with given_or_private_redis() as url:
        assert url == "redis://elsewhere:1/0"
    assert os.environ[REDIS_VARIABLE] == "redis://elsewhere:1/0"


def test_without_one_the_variable_names_the_private_server_for_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(REDIS_VARIABLE, raising=False)
    with given_or_private_redis() as url:
        assert os.environ[REDIS_VARIABLE] == url
        assert redis.Redis.from_url(url).ping()
    assert REDIS_VARIABLE not in os.environ


def test_the_verb_runs_one_until_told_to_stop() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "marquee", "redis"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        variable, _, url = process.stdout.readline().strip().removeprefix("export ").partition("=")
        assert variable == "MARQUEE_REDIS_URL"
        assert redis.Redis.from_url(url).ping()
        process.terminate()
        assert process.wait(timeout=10) == 0
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(url).ping()
