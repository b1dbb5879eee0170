"""Batched reads of a Redis Cluster: every node is asked at once, each on a few connections that all requests share.

A key is asked of the node that has its slot. A node that says the slot has moved, or is on its way, is believed at
once, and the read goes on there within its deadline; so it does when a node fails whose slots another has taken over.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import hiredis

from feature_repo.errors import OnlineStoreError, SettingError
from materialization.data_plane.online.cluster_nodes import ClusterNodes
from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.link import HashRead, Reply, bulk, command
from materialization.data_plane.online.pipelined import PipelinedLink, ReadCounts
from materialization.data_plane.online.redis_address import Address, Host
from materialization.data_plane.online.slot_map import Redirection, SlotMap, slots_of

FIRST_PAUSE_SECONDS = 0.0005
"""Before a read is sent on for the second time; then twice as long each time. Nodes may disagree for a moment."""
ASKING = command(b"ASKING")

Target: TypeAlias = tuple[Host, bool]
"""A node, and whether it is asked for slots that are still on their way there."""
Plan: TypeAlias = dict[Target, list[int]]
"""Numbers of questions by target."""


@dataclass
class Questions:
    """One read: a command for every key, and the replies that are here."""

    keys: Sequence[bytes]
    commands: Sequence[bytes]
    replies: list[Any] = field(init=False)
    slots: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.replies = [None] * len(self.commands)
        self.slots = slots_of(self.keys)

    def plan(self, places: Iterable[int], known: SlotMap) -> Plan:
        """Each to the owner of its slot. Raises OnlineStoreError for a slot without one."""
        owners, slots = known.owners, self.slots
        by_owner: dict[Host | None, list[int]] = {owner: [] for owner in (None, *known.primaries)}
        for place in places:
            by_owner[owners[slots[place]]].append(place)
        orphans = by_owner.pop(None)
        if orphans:
            raise OnlineStoreError(f"no node of the Redis Cluster has slot {slots[orphans[0]]} at the moment")
        return {(owner, False): some for owner, some in by_owner.items() if owner is not None and some}

    def sent(self, places: Sequence[int], *, asking: bool) -> bytes:
        """The commands of these questions."""
        wanted = [self.commands[place] for place in places]
        return b"".join([ASKING + one for one in wanted] if asking else wanted)

    def answered(self, places: Sequence[int], replies: Sequence[Any]) -> list[int]:
        """Keep the replies; the numbers of those that are refusals."""
        for place, reply in zip(places, replies, strict=True):
            self.replies[place] = reply
        if hiredis.ReplyError not in set(map(type, replies)):
            return []
        return [place for place in places if isinstance(self.replies[place], hiredis.ReplyError)]


@dataclass
class PipelinedClusterLink:
    """Belongs to one event loop. The settings are those of `PipelinedLink`, for every node."""

    endpoint: Endpoint
    """Some nodes to begin with; user, password and TLS are the same for all. There is only database 0."""
    connections: int = 2
    silent_seconds: float = 0.25
    hedge_seconds: float = 0.0
    hedge_share: float = 0.1
    counts: ReadCounts = field(default_factory=ReadCounts)
    """Of all nodes together: one read counts once for every node it asks."""
    on_read: Callable[[float, str], None] | None = None
    """Takes the seconds of each exchange with a node and what came of it: "ok", "late" or "failed"."""
    nodes: ClusterNodes = field(init=False)

    def __post_init__(self) -> None:
        if not self.endpoint.address.hosts:
            raise SettingError("a Redis Cluster has no unix socket; name some of its nodes as host:port")
        seconds = self.endpoint.connect_seconds + self.silent_seconds
        self.nodes = ClusterNodes(self.endpoint.address.hosts, self._connected, seconds)

    @property
    def address(self) -> str:
        return self.endpoint.text

    async def read(
        self, strings: Sequence[bytes], hashes: Sequence[HashRead], *, seconds: float
    ) -> list[Reply]:
        """A GET of every string, an HMGET of every hash. Raises OnlineStoreError after `seconds`."""
        keys = [*strings, *(key for key, _ in hashes)]
        replies = await self._replies(Questions(keys, _commands(strings, hashes)), seconds)
        found: list[Reply] = replies[: len(strings)]
        if not {*map(type, found)} <= {bytes, type(None)}:
            raise self._nonsense("values")
        for (_, fields), values in zip(hashes, replies[len(strings) :], strict=True):
            if not isinstance(values, list) or len(values) != len(fields):
                raise self._nonsense(f"{len(fields)} values")
            found += values
        return found

    async def fields(self, key: bytes, *, seconds: float) -> dict[bytes, bytes]:
        """All of one hash. Raises OnlineStoreError."""
        (flat,) = await self._replies(Questions([key], [command(b"HGETALL", key)]), seconds)
        if not isinstance(flat, list) or len(flat) % 2:
            raise self._nonsense("a hash")
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def keys(self, pattern: bytes, *, most: int, until: float) -> list[bytes]:
        """Some keys of the pattern, until that second of the event loop's time. Raises OnlineStoreError."""
        primaries = (await self.nodes.known(until)).primaries
        share = -(-most // len(primaries))
        found = await asyncio.gather(
            *(self.nodes.link(node).keys(pattern, most=share, until=until) for node in primaries)
        )
        return [key for some in found for key in some][:most]

    async def close(self) -> None:
        """Close all connections; reads under way fail."""
        await self.nodes.close()

    async def _replies(self, questions: Questions, seconds: float) -> list[Any]:
        """In the order of the questions. Raises OnlineStoreError after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        plan = questions.plan(range(len(questions.slots)), await self.nodes.known(deadline))
        for pause in _pauses():
            under_way = [self._asked(target, questions, places, deadline) for target, places in plan.items()]
            plan = _together(await asyncio.gather(*under_way))
            if not plan:
                return questions.replies
            if asyncio.get_running_loop().time() + pause > deadline:
                break
            await asyncio.sleep(pause)
        raise OnlineStoreError(
            f"the nodes of the Redis Cluster at {self.address} do not agree who has a slot"
        )

    async def _asked(self, target: Target, questions: Questions, places: list[int], deadline: float) -> Plan:
        """What of this is to be asked elsewhere. Raises OnlineStoreError."""
        node, asking = target
        count = len(places) * (2 if asking else 1)
        sent = questions.sent(places, asking=asking)
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            replies = await self.nodes.link(node).exchange(sent, count, seconds=left, keeps_refusals=True)
        except OnlineStoreError as error:
            return await self._taken_over(node, questions, places, deadline, error)
        refused = questions.answered(places, replies[1::2] if asking else replies)
        return self._redirected(node, questions, refused) if refused else {}

    async def _taken_over(
        self, node: Host, questions: Questions, places: list[int], deadline: float, error: OnlineStoreError
    ) -> Plan:
        """A node failed: to whoever has its slots now. Raises the error where it has them still."""
        await self.nodes.learned(deadline)
        plan = questions.plan(places, await self.nodes.known(deadline))
        if (node, False) in plan:
            raise error
        return plan

    def _redirected(self, node: Host, questions: Questions, refused: list[int]) -> Plan:
        """To where the node said that it is. Raises OnlineStoreError for any other refusal."""
        plan: Plan = {}
        moved: dict[int, Host] = {}
        for place in refused:
            refusal = questions.replies[place]
            told = Redirection.of(refusal, node)
            if told is None:
                self.nodes.learn()
                raise OnlineStoreError(f"Redis at {node[0]}:{node[1]} refused: {refusal}")
            if not told.is_ask:
                moved[told.slot] = told.host
            plan.setdefault((told.host, told.is_ask), []).append(place)
        if moved:
            self.nodes.moved(moved)
            self.nodes.learn()
        return plan

    def _connected(self, node: Host) -> PipelinedLink:
        options = {name: value for name, value in self.endpoint.address.options.items() if name != "db"}
        return PipelinedLink(
            replace(self.endpoint, address=Address((node,), options)),
            self.connections,
            silent_seconds=self.silent_seconds,
            hedge_seconds=self.hedge_seconds,
            hedge_share=self.hedge_share,
            counts=self.counts,
            on_read=self._exchanged,
        )

    def _exchanged(self, seconds: float, outcome: str) -> None:
        if self.on_read is not None:
            self.on_read(seconds, outcome)

    def _nonsense(self, wanted: str) -> OnlineStoreError:
        return OnlineStoreError(
            f"the Redis Cluster at {self.address} answered nonsense: {wanted} were asked for"
        )


def _commands(strings: Sequence[bytes], hashes: Sequence[HashRead]) -> list[bytes]:
    commands = [b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key) for key in strings]
    for key, fields in hashes:
        head = b"*%d\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n" % (len(fields) + 2, len(key), key)
        commands.append(head + bulk(fields))
    return commands


def _pauses() -> Iterator[float]:
    """Seconds before a read is sent on once more."""
    yield 0.0
    yield from (FIRST_PAUSE_SECONDS * 2**number for number in itertools.count())


def _together(plans: Iterable[Plan]) -> Plan:
    joined: Plan = {}
    for plan in plans:
        for target, places in plan.items():
            joined.setdefault(target, []).extend(places)
    return joined
