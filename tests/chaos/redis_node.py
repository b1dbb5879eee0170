"""A Redis that can be killed, stopped and started again, with its rows or without; alone or in a cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from materialization.private_redis import redis_executable

SLOTS = 16_384
READY_SECONDS = 20.0
DUMP = "dump.rdb"


@dataclass
class RedisNode:
    """One server of our own."""

    folder: Path
    port: int
    settings: Sequence[str] = ()
    process: Any = None
    clients: list[Any] = field(default_factory=list)

    def start(self, *, with_rows: bool = True) -> None:
        """Returns when it answers and has loaded its rows; without them it is empty."""
        if not with_rows:
            (self.folder / DUMP).unlink(missing_ok=True)
        words = [redis_executable(), "--port", str(self.port), "--bind", "127.0.0.1"]
        words += ["--dir", str(self.folder), "--save", "", *self.settings]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self.admin().ping())

    def save(self) -> None:
        """So that the next start has the present rows."""
        self.admin().save()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stall(self) -> None:
        """It keeps its connections and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def limit_clients(self, most: int) -> None:
        """Close everybody else's connections and take no more than `most`, ours included."""
        client = self.admin()
        client.config_set("maxclients", most)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.clients.append(client)

    def admin(self) -> Any:
        """A client of one connection."""
        at_once = Retry(NoBackoff(), 0)
        if self.clients:
            return self.clients[0]
        return redis.Redis(port=self.port, socket_timeout=2, single_connection_client=True, retry=at_once)

    def close(self) -> None:
        """Also when it is stalled."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


@dataclass
class RedisCluster:
    """Primaries that share the slots evenly, then as many replicas of the first ones as were asked for."""

    nodes: list[RedisNode]
    primaries: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.nodes[1].port}"

    def move_slots_of(self, keys: Sequence[bytes], *, source: int, target: int) -> int:
        """Resharding, live: every slot of these keys that `source` holds goes to `target`; how many moved."""
        giver, taker = self.nodes[source].admin(), self.nodes[target].admin()
        giver_id, taker_id = _node_id(giver), _node_id(taker)
        slots = sorted({int(giver.execute_command("CLUSTER", "KEYSLOT", key)) for key in keys})
        held = {slot for slot in slots if slot in _slots_of(source, self.primaries)}
        for slot in sorted(held):
            taker.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", giver_id)
            giver.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", taker_id)
            self._migrate(giver, slot, target)
            for node in self.nodes[: self.primaries]:
                node.admin().execute_command("CLUSTER", "SETSLOT", slot, "NODE", taker_id)
        return len(held)

    def _migrate(self, giver: Any, slot: int, target: int) -> None:
        port = self.nodes[target].port
        while keys := giver.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            giver.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5_000, "KEYS", *keys)


@contextmanager
def running_node(folder: Path, *settings: str) -> Iterator[RedisNode]:
    folder.mkdir(parents=True)
    node = RedisNode(folder, free_port(), settings)
    try:
        node.start()
        yield node
    finally:
        node.close()


@contextmanager
def running_cluster(folder: Path, *, primaries: int = 3, replicas: int = 1) -> Iterator[RedisCluster]:
    """Whole and in sync; a primary that is silent for two seconds is replaced by its replica."""
    settings = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
    settings += (
        "--cluster-node-timeout",
        "2000",
        "--repl-diskless-sync",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
    )
    with ExitStack() as stack:
        count = primaries + replicas
        nodes = [
            stack.enter_context(running_node(folder / f"node{number}", *settings)) for number in range(count)
        ]
        for number, node in enumerate(nodes):
            client = node.admin()
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < primaries:
                client.execute_command("CLUSTER", "ADDSLOTS", *_slots_of(number, primaries))
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        for node in nodes:
            until(lambda node=node: len(_known_nodes(node.admin())) == count)
        for number, node in enumerate(nodes[primaries:]):
            of = _node_id(nodes[number].admin())
            until(lambda node=node, of=of: node.admin().execute_command("CLUSTER", "REPLICATE", of))
            until(lambda node=node: node.admin().info("replication")["master_link_status"] == "up")
        for node in nodes:
            until(lambda node=node: node.admin().execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield RedisCluster(nodes, primaries)


def until(ready: Any) -> None:
    """Wait until it is true and raises nothing of redis-py's."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(redis.RedisError):
            if ready():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"Redis was not ready within {READY_SECONDS:g} s")
        time.sleep(0.02)


def free_port() -> int:
    """Free together with the cluster's bus, 10,000 ports higher; both below the ports the system gives away."""
    for _ in range(1_000):
        port = 20_000 + int.from_bytes(os.urandom(2), "big") % 2_700
        with socket.socket() as probe, socket.socket() as bus, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            return port
    raise OSError("no free port between 20000 and 22700")


def _slots_of(number: int, primaries: int) -> range:
    return range(SLOTS * number // primaries, SLOTS * (number + 1) // primaries)


def _known_nodes(client: Any) -> Any:
    return client.execute_command("CLUSTER NODES")


def _node_id(client: Any) -> str:
    found = client.execute_command("CLUSTER", "MYID")
    return found.decode() if isinstance(found, bytes) else str(found)
