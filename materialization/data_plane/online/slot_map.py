"""Which node of a Redis Cluster has which keys, and what its nodes say about that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.redis_address import Host

SLOTS = REDIS_CLUSTER_HASH_SLOTS


def slots_of(keys: Iterable[bytes]) -> list[int]:
    """Of each key; of a part of it in braces where there is one."""
    return [key_slot(key) for key in keys]


@dataclass(frozen=True)
class SlotMap:
    """What one node knew, corrected by what others said since."""

    owners: Sequence[Host | None]
    """By slot; None where nobody has it."""
    replicas: tuple[Host, ...] = ()

    @classmethod
    def of_reply(cls, reply: Any, asked: Host) -> SlotMap:
        """Of CLUSTER SLOTS; a node without a name of its own is where it was `asked`. Raises OnlineStoreError."""
        owners: list[Host | None] = [None] * SLOTS
        replicas = []
        try:
            for first, last, primary, *others in reply:
                owners[first : last + 1] = [_host(primary, asked)] * (last + 1 - first)
                replicas += [_host(other, asked) for other in others]
        except (TypeError, ValueError, IndexError, AttributeError):
            raise OnlineStoreError(
                f"Redis at {asked[0]}:{asked[1]} answered nonsense: CLUSTER SLOTS was asked"
            ) from None
        return cls(owners[:SLOTS], tuple(dict.fromkeys(replicas)))

    @cached_property
    def primaries(self) -> tuple[Host, ...]:
        """In the order of their slots."""
        return tuple(dict.fromkeys(owner for owner in self.owners if owner is not None))

    @cached_property
    def covered(self) -> int:
        """Slots that somebody has."""
        return sum(owner is not None for owner in self.owners)

    def corrected(self, owners: Mapping[int, Host]) -> SlotMap:
        """Some slots are elsewhere."""
        changed = list(self.owners)
        for slot, owner in owners.items():
            changed[slot] = owner
        return SlotMap(changed, self.replicas)


@dataclass(frozen=True)
class Redirection:
    """A node's word that a key is, or at the moment may be, at another."""

    slot: int
    host: Host
    is_ask: bool
    """For this one time only: the slot is on its way there."""

    @classmethod
    def of(cls, refusal: Exception, asked: Host) -> Redirection | None:
        """`MOVED 3999 127.0.0.1:6381`, or ASK; None for another refusal."""
        words = str(refusal).split()
        if len(words) != 3 or words[0] not in ("MOVED", "ASK"):
            return None
        name, colon, port = words[2].rpartition(":")
        if not (colon and words[1].isdigit() and port.isdigit() and int(words[1]) < SLOTS):
            return None
        return cls(int(words[1]), (name or asked[0], int(port)), words[0] == "ASK")


def _host(node: Sequence[Any], asked: Host) -> Host:
    name = (node[0] or b"").decode()
    return (asked[0] if name in ("", "?") else name, int(node[1]))
