"""Redis servers of every kind, from the one executable there is: a cluster, a sentinel, a socket."""

from __future__ import annotations

import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from materialization.private_redis import redis_executable

SLOTS = 16_384
READY_SECONDS = 15.0


@contextmanager
def running(
    *settings: str, folder: Path, first: Sequence[str] = (), port: int | None = None
) -> Iterator[int]:
    """A server with these settings on a free port, or that one; it is yielded."""
    port = port or free_port()
    words = [
        redis_executable(),
        *first,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        *settings,
    ]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: redis.Redis(port=port, socket_timeout=1).ping() or True)
        yield port
    finally:
        process.kill()
        process.wait()


def until(ready: Any) -> None:
    """Wait until it is true and raises nothing of redis-py's."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if ready():
                return
        except redis.AuthenticationError:
            return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.02)


@contextmanager
def cluster(nodes: int = 3) -> Iterator[list[int]]:
    """Ports of a cluster of primaries that share the slots evenly."""
    with ExitStack() as stack:
        ports = []
        for _ in range(nodes):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--save", "")
            ports.append(stack.enter_context(running(*settings, folder=folder)))
        clients = [redis.Redis(port=port) for port in ports]
        for number, client in enumerate(clients):
            slots = range(SLOTS * number // nodes, SLOTS * (number + 1) // nodes)
            client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        for client in clients:
            until(lambda client=client: is_whole(client, nodes))
        yield ports


def is_whole(client: Any, nodes: int) -> bool:
    known = client.execute_command("CLUSTER NODES")
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and len(known) == nodes


@contextmanager
def sentinel() -> Iterator[tuple[int, int]]:
    """Ports of a sentinel and of the primary it calls `mymaster`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        primary = stack.enter_context(running("--save", "", folder=folder))
        settings = folder / "sentinel.conf"
        settings.write_text(f"sentinel monitor mymaster 127.0.0.1 {primary} 1\n")
        yield stack.enter_context(running("--sentinel", folder=folder, first=[str(settings)])), primary


def free_port() -> int:
    """Free together with the bus of a cluster, which listens 10,000 ports higher."""
    for _ in range(1_000):
        port = random.randrange(20_000, 22_700)
        with socket.socket() as probe, socket.socket() as bus, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            return port
    raise OSError("no free port between 20000 and 22700")
