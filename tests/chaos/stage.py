"""The stage of one scenario: Redis, the proxy before it, the server, and the truth about the rows."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .canary import ABSENT, ITEM, CanaryRows, CanaryWorld
from .clock import MovableClock
from .proxy import Proxy
from .redis_node import RedisCluster, RedisNode, free_port, running_cluster, running_node
from .scenario import NotPossibleHere, Scenario
from .serve_process import ServeProcess, serving
from .timeline import Timeline

SMALL_DISK = "1m"
SETTINGS = "[log]\nsegment_seconds = 1.0\n"
"""The server's defaults, but for how often log segments are closed."""
OF_CLUSTER = '[redis]\ntype = "redis_cluster"\n'


@dataclass
class Stage:
    """What a scenario's steps act on."""

    world: CanaryWorld
    timeline: Timeline
    rows: CanaryRows
    server: ServeProcess
    nodes: list[RedisNode]
    cluster: RedisCluster | None = None
    gate: Proxy | None = None
    small_disk: Path | None = None
    movable_clock: MovableClock | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def redis(self) -> RedisNode:
        return self.nodes[0]

    @property
    def proxy(self) -> Proxy:
        assert self.gate is not None, "a cluster has no proxy before it"
        return self.gate

    @property
    def disk(self) -> Path:
        assert self.small_disk is not None, "the scenario asked for no small disk"
        return self.small_disk

    @property
    def clock(self) -> MovableClock:
        assert self.movable_clock is not None, "the scenario asked for no clock of its own"
        return self.movable_clock

    def start_redis_empty(self) -> None:
        with self.timeline.changing_all(ABSENT):
            self.redis.start(with_rows=False)

    def fill(self) -> None:
        """Materialize everything again."""
        with self.timeline.changing_all(0):
            self.rows.write_all()

    def update_items(self, version: int) -> None:
        """A new version of a third of the items."""
        random = np.random.default_rng(version)
        items = np.sort(random.choice(self.world.items, self.world.items // 3, replace=False))
        with self.timeline.changing(ITEM, version, items):
            self.rows.write_items(items, version)


@contextmanager
def staged(world: CanaryWorld, bundle: Path, scenario: Scenario, folder: Path) -> Iterator[Stage]:
    """Everything runs and every row is there."""
    with ExitStack() as stack:
        cluster, gate = None, None
        if scenario.is_cluster:
            cluster = stack.enter_context(running_cluster(folder / "redis"))
            nodes, address = cluster.nodes, cluster.address
            redis_url = f"redis://{address}"
        else:
            nodes = [stack.enter_context(running_node(folder / "redis"))]
            address = f"127.0.0.1:{nodes[0].port}"
            gate = Proxy.start(nodes[0].port)
            stack.callback(gate.close)
            redis_url = f"redis://127.0.0.1:{gate.port}/0"
        rows = CanaryRows.of(world, address, is_cluster=cluster is not None)
        stack.callback(rows.close)
        rows.write_all()
        disk = stack.enter_context(_small_disk(folder / "disk")) if scenario.log_on_small_disk else None
        clock = MovableClock.compile(folder) if scenario.with_own_clock else None
        server = stack.enter_context(
            serving(
                folder / "server",
                bundle=bundle,
                redis_url=redis_url,
                port=free_port(),
                settings=SETTINGS + (OF_CLUSTER if cluster else ""),
                workers=scenario.workers,
                log=disk,
                environment=clock.environment if clock else None,
            )
        )
        yield Stage(world, Timeline(world), rows, server, nodes, cluster, gate, disk, clock)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system of one megabyte. Raises NotPossibleHere where mounting is not allowed."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise NotPossibleHere(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
