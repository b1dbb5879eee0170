"""The nodes of a Redis Cluster as one event loop knows them: connections to each, and who has which slots.

The map is learned when it is first needed, and again when a node fails, refuses, or says that a slot has moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.link import command
from materialization.data_plane.online.pipelined import PipelinedLink
from materialization.data_plane.online.redis_address import Host
from materialization.data_plane.online.slot_map import SLOTS, SlotMap

CLUSTER_SLOTS = command(b"CLUSTER", b"SLOTS")
LEARN_PAUSE_SECONDS = 0.25
"""From one look at the slots to the next, at least."""
ASKED_AT_ONCE = 3
"""Nodes asked for the slots; the first good answer counts."""


@dataclass
class ClusterNodes:
    """Belongs to one event loop."""

    start: Sequence[Host]
    """Nodes to ask first; any of the cluster will do."""
    connect: Callable[[Host], PipelinedLink]
    """Makes a node's link; that opens no connection yet."""
    seconds: float
    """For one node to say who has which slots."""
    map: SlotMap | None = None
    why: str = "nobody has been asked for the slots yet"
    """There is no map."""
    _links: dict[Host, PipelinedLink] = field(default_factory=dict)
    _learning: asyncio.Task[None] | None = None
    _not_before: float = 0.0
    _turn: int = 0

    def link(self, node: Host) -> PipelinedLink:
        """Connections to a node, in the map or not."""
        if node not in self._links:
            self._links[node] = self.connect(node)
        return self._links[node]

    async def known(self, deadline: float) -> SlotMap:
        """The map; learned first where there is none. Raises OnlineStoreError."""
        if self.map is None:
            await self.learned(deadline)
        if self.map is None:
            raise OnlineStoreError(self.why)
        return self.map

    async def learned(self, deadline: float) -> None:
        """Wait for a look at the slots that is under way or due; not longer than until the deadline."""
        learning = self.learn()
        if learning is not None:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait((learning,), timeout=max(0.0, left))

    def learn(self) -> asyncio.Task[None] | None:
        """Begin to look at the slots anew, unless that was done a moment ago; goes on when nobody waits."""
        loop = asyncio.get_running_loop()
        if self._learning is None and loop.time() >= self._not_before:
            self._learning = loop.create_task(self._learn())
        return self._learning

    def moved(self, owners: dict[int, Host]) -> None:
        """A node said so."""
        if self.map is not None:
            self.map = self.map.corrected(owners)

    async def close(self) -> None:
        """Close all connections; reads under way fail."""
        if self._learning is not None:
            self._learning.cancel()
        for link in self._links.values():
            await link.close()

    async def _learn(self) -> None:
        try:
            found = await self._best_map()
            if found is not None:
                self.map = found
                await self._forget_strangers(found)
        finally:
            self._learning = None
            self._not_before = asyncio.get_running_loop().time() + LEARN_PAUSE_SECONDS

    async def _best_map(self) -> SlotMap | None:
        """The first that has an owner for every slot, else the one with the most; None where nobody tells."""
        best: SlotMap | None = None
        nodes = self._witnesses()
        for first in range(0, len(nodes), ASKED_AT_ONCE):
            asked = [asyncio.create_task(self._asked(node)) for node in nodes[first : first + ASKED_AT_ONCE]]
            try:
                for answer in asyncio.as_completed(asked):
                    found = await answer
                    if found is not None and found.covered > (best.covered if best else 0):
                        best = found
                    if best is not None and best.covered == SLOTS:
                        return best
            finally:
                for task in asked:
                    task.cancel()
        return best

    def _witnesses(self) -> list[Host]:
        """Everybody who may know, beginning with another each time."""
        known = (*self.map.primaries, *self.map.replicas) if self.map is not None else ()
        nodes = list(dict.fromkeys([*known, *self.start]))
        self._turn = (self._turn + 1) % len(nodes)
        return nodes[self._turn :] + nodes[: self._turn]

    async def _asked(self, node: Host) -> SlotMap | None:
        try:
            (reply,) = await self.link(node).exchange(CLUSTER_SLOTS, 1, seconds=self.seconds)
            found = SlotMap.of_reply(reply, node)
        except OnlineStoreError as error:
            self.why = f"no node of the Redis Cluster says who has which slots: {error}"
            return None
        if not found.covered:
            self.why = f"Redis at {node[0]}:{node[1]} knows of no cluster with slots; check the address"
        return found

    async def _forget_strangers(self, found: SlotMap) -> None:
        """Nodes that have left, unless somebody waits for one."""
        strangers = self._links.keys() - set(found.primaries)
        for node in strangers:
            if self._links[node].is_idle:
                await self._links.pop(node).close()
