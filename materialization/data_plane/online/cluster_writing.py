"""Rows to a Redis Cluster: to each node its own; what has moved meanwhile, to where it is now."""

from __future__ import annotations

from itertools import accumulate, chain, zip_longest
from typing import Any

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.connection import RedisConnections
from materialization.data_plane.online.write_calls import Call, RowsToWrite, conversation, hold


def write_to_cluster(connections: RedisConnections, rows: RowsToWrite) -> list[Any]:
    """The replies to all script calls, one slot each. Raises OnlineStoreError."""
    client = connections.cluster(writing=True)
    replies: list[Any] = []
    try:
        for node, calls in _by_node(client, rows):
            said = hold(
                client.get_redis_connection(node).connection_pool, conversation(calls), address=node.name
            )
            for call, reply in zip_longest(calls, said):
                failed = reply is None or isinstance(reply, Exception)
                replies.append(_again(client, call) if failed else reply)
    except (OnlineStoreError, redis.RedisError, OSError) as error:
        connections.forget_clusters()
        raise OnlineStoreError(f"Redis Cluster at {connections.address} failed: {error}") from error
    return replies


def _by_node(client: RedisCluster, rows: RowsToWrite) -> list[tuple[ClusterNode, list[Call]]]:
    """Each node's rows, slot by slot, those of one key in their order."""
    of_slots: dict[int, list[int]] = {}
    for place, key in enumerate(rows.keys):
        of_slots.setdefault(key_slot(key), []).append(place)
    of_nodes: dict[str, list[int]] = {}
    for slot in of_slots:
        of_nodes.setdefault(client.nodes_manager.get_node_from_slot(slot).name, []).append(slot)
    found = []
    for name, slots in of_nodes.items():
        places = [of_slots[slot] for slot in slots]
        ends = list(accumulate(map(len, places)))
        node = client.get_node(node_name=name)  # type: ignore[no-untyped-call]
        assert node is not None
        found.append((node, rows.picked(list(chain.from_iterable(places))).calls(ends[:-1])))
    return found


def _again(client: RedisCluster, call: Call) -> Any:
    """By way of redis-py, which follows redirections."""
    name, *words = chain.from_iterable(call.words(in_full=True))
    return client.execute_command(name.decode(), *words)  # type: ignore[no-untyped-call]
