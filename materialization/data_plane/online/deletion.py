"""Everything of some views out of Redis, and nothing else: by scan, bounded in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

import redis

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.connection import RedisConnections
from materialization.data_plane.rows.keys import ROWS, escaped, netstring

KEYS_AT_ONCE = 1_000


def delete_views(connections: RedisConnections, project: str, names: Collection[bytes]) -> int:
    """Rows and layouts whose keys go on with these names of the project; returns how many keys there were.

    One scan of each primary, however many names. Raises OnlineStoreError.
    """
    if not names:
        return 0
    mine, names = netstring(project.encode()), tuple(names)
    pattern = b"mq:[rs]|" + escaped(names[0] if len(names) == 1 else mine) + b"*"
    deleted = 0
    try:
        for primary in _primaries(connections):
            found = primary.scan_iter(match=pattern, count=KEYS_AT_ONCE)
            ours = (key for key in found if key[len(ROWS) :].startswith(names))
            while batch := list(islice(ours, KEYS_AT_ONCE)):
                deleted += _delete(connections, batch)
    except (redis.RedisError, OSError) as error:
        raise OnlineStoreError(
            f"Redis at {connections.address} failed after {deleted} keys were deleted: {error}; run it again"
        ) from error
    return deleted


def _primaries(connections: RedisConnections) -> list[Any]:
    if not connections.is_cluster:
        return [redis.Redis(connection_pool=connections.write_pool())]
    client: Any = connections.cluster(writing=True)
    return [client.get_redis_connection(node) for node in client.get_primaries()]


def _delete(connections: RedisConnections, keys: Sequence[bytes]) -> int:
    if not connections.is_cluster:
        client: Any = redis.Redis(connection_pool=connections.write_pool())
        return int(client.unlink(*keys))
    cluster: Any = connections.cluster(writing=True)
    pipeline = cluster.pipeline()
    for key in keys:
        pipeline.unlink(key)
    return sum(pipeline.execute())
