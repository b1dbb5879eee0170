"""All rows of one view in Redis: found by scan, read in batches, deleted only where unchanged."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis import Redis
from redis.cluster import RedisCluster

from materialization.data_plane.online.connection import RedisConnections
from materialization.data_plane.rows.keys import ViewKeys, escaped
from materialization.data_plane.rows.layout import Layout

Place: TypeAlias = tuple[bytes, bytes]
"""Key, and field in the hash; the field is empty for a string."""

SCAN_COUNT = 2_000
"""Keys Redis looks at per SCAN step, and fields per HSCAN step: well under a millisecond of its time."""
DELETE_STRING = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
DELETE_FIELD = """
if redis.call('HGET', KEYS[1], ARGV[2]) == ARGV[1] then return redis.call('HDEL', KEYS[1], ARGV[2]) end
return 0
"""


@dataclass(frozen=True)
class OnlineRows:
    """The rows of a view on one server or cluster; `client` answers in bytes."""

    client: Any
    """A `redis.Redis` or `RedisCluster` that answers in bytes."""
    keys: ViewKeys

    @classmethod
    def of(cls, connections: RedisConnections, keys: ViewKeys) -> OnlineRows:
        """On a store's connections, with the timeouts of its writes."""
        if connections.is_cluster:
            return cls(connections.cluster(writing=True), keys)
        return cls(Redis(connection_pool=connections.write_pool()), keys)

    def places(self, wanted: Callable[[bytes], bool]) -> Iterator[Place]:
        """Every row whose first entity, encoded, is wanted; some may come twice, as SCAN may repeat itself."""
        prefix = len(self.keys.prefix)
        found = self.client.scan_iter(match=escaped(self.keys.prefix) + b"*", count=SCAN_COUNT)
        keys = (key for key in found if wanted(key[prefix:]))
        return self._fields(keys) if self.keys.is_hash else ((key, b"") for key in keys)

    def fetch(self, places: Sequence[Place]) -> list[bytes | None]:
        """The rows at these places, in order."""
        if not places:
            return []
        if not self.keys.is_hash:
            keys = [key for key, _ in places]
            is_cluster = isinstance(self.client, RedisCluster)
            answer: Any = self.client.mget_nonatomic(keys) if is_cluster else self.client.mget(keys)
            return list(answer)
        pipeline = self.client.pipeline(transaction=False)
        for key, group in itertools.groupby(places, key=lambda place: place[0]):
            pipeline.hmget(key, [field for _, field in group])
        return list(itertools.chain.from_iterable(pipeline.execute()))

    def delete_unchanged(self, places: Sequence[Place], rows: Sequence[bytes]) -> int:
        """Delete each row that is still exactly as it was read; returns how many were."""
        if not places:
            return 0
        pipeline = self.client.pipeline(transaction=False)
        for (key, field), row in zip(places, rows, strict=True):
            if self.keys.is_hash:
                pipeline.execute_command("EVAL", DELETE_FIELD, 1, key, row, field)
            else:
                pipeline.execute_command("EVAL", DELETE_STRING, 1, key, row)
        return sum(pipeline.execute())

    def find_layout(self, fingerprint: bytes) -> Layout | None:
        """The layout of a definition that rows were once written under."""
        raw: Any = self.client.hget(self.keys.schemas, fingerprint.hex())
        return Layout.from_json(json.loads(raw)) if raw else None

    def _fields(self, keys: Iterable[bytes]) -> Iterator[Place]:
        for key in keys:
            for field, _ in self.client.hscan_iter(key, count=SCAN_COUNT):
                yield key, field


def batched(places: Iterable[Place], size: int) -> Iterator[list[Place]]:
    """Lists of at most `size`."""
    iterator = iter(places)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def shown(keys: ViewKeys, place: Place) -> str:
    """The entities of a row for people: `user_id=7 item_id=a3`."""
    key, field = place
    entities = [key[len(keys.prefix) :]]
    entities += _unnetted(field) if len(keys.join_keys) > 2 else [field] if keys.is_hash else []
    named = zip(keys.join_keys, entities, strict=False)
    return " ".join(f"{name}={entity[1:].decode(errors='backslashreplace')}" for name, entity in named)


def _unnetted(field: bytes) -> list[bytes]:
    """The contents of netstrings one after the other."""
    found = []
    while field:
        length, _, rest = field.partition(b":")
        found.append(rest[: int(length)])
        field = rest[int(length) :]
    return found
