"""Rows of one Redis database: read as bytes, changed, and put back as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import redis

from materialization.data_plane.batch.newest_rows import CREATED, EVENT
from materialization.data_plane.rows.keys import ViewKeys
from materialization.data_plane.rows.layout import Column
from materialization.data_plane.rows.row_making import RowMaker
from materialization.declared import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from ranking_service.contract import ViewPlan
from ranking_service.online.packed_reader import keys_of
from ranking_service.online.view_rows import layout_of
from skew_checks.bench.world import World

Place = tuple[int, bytes, bytes | None]
"""Step, key, and field where the key is a hash."""


@dataclass
class RedisRows:
    """Every change is remembered with what was there before."""

    world: World
    before: dict[Place, bytes | None] = field(default_factory=dict)
    _clients: dict[int, Any] = field(default_factory=dict)

    def put(self, view: ViewPlan, step: int, table: pa.Table) -> list[Place]:
        """Rows of a partition's columns, packed as materialization packs them, into the database of `step`."""
        if not len(table):
            return []
        batch = pa.RecordBatch.from_struct_array(
            pa.concat_arrays(table.rename_columns(_renamed(table)).to_struct_array().chunks)
        )
        packed = self._maker(view)(batch)
        fields: list[bytes | None] = [*packed.fields] if packed.fields else [None] * len(packed.keys)
        places: list[Place] = [(step, key, name) for key, name in zip(packed.keys, fields, strict=True)]
        self.write(dict(zip(places, packed.rows, strict=True)))
        return places

    def places(self, view: ViewPlan, step: int, keys: Sequence[tuple[str, ...]]) -> list[Place]:
        """Where the rows of these entities lie."""
        names = self.view_keys(view)
        encoded = [[b"s" + part.encode() for part in key] for key in keys]
        return [(step, names.key(key), names.field(key) if names.is_hash else None) for key in encoded]

    def view_keys(self, view: ViewPlan) -> ViewKeys:
        return keys_of(self.world.bundle.contract, view)

    def read(self, places: Sequence[Place]) -> list[bytes | None]:
        """Rows as they lie there; None where there is none."""
        found: dict[Place, bytes | None] = {}
        for step in {place[0] for place in places}:
            here = [place for place in places if place[0] == step]
            pipeline = self._client(step).pipeline(transaction=False)
            for _, key, name in here:
                pipeline.get(key) if name is None else pipeline.hget(key, name)
            found |= dict(zip(here, pipeline.execute(), strict=True))
        return [found[place] for place in places]

    def write(self, rows: Mapping[Place, bytes | None]) -> None:
        """None deletes. A key keeps its time to live."""
        unknown = [place for place in rows if place not in self.before]
        self.before |= dict(zip(unknown, self.read(unknown), strict=True))
        self._send(rows)

    def restore(self) -> None:
        """Put everything back."""
        self._send(self.before)
        self.before.clear()

    def everything(self, step: int) -> dict[bytes, Any]:
        """All rows of that database, hashes as dicts; for tests."""
        keys = sorted(self._client(step).scan_iter(b"mq:r|*", count=5000))
        kinds = self._client(step).pipeline(transaction=False)
        for key in keys:
            kinds.type(key)
        rows = self._client(step).pipeline(transaction=False)
        for key, kind in zip(keys, kinds.execute(), strict=True):
            rows.hgetall(key) if kind == b"hash" else rows.get(key)
        return dict(zip(keys, rows.execute(), strict=True))

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _send(self, rows: Mapping[Place, bytes | None]) -> None:
        for step in {place[0] for place in rows}:
            pipeline = self._client(step).pipeline(transaction=False)
            for (at, key, name), row in rows.items():
                if at != step:
                    continue
                if name is None:
                    pipeline.delete(key) if row is None else pipeline.set(key, row, keepttl=True)
                else:
                    pipeline.hdel(key, name) if row is None else pipeline.hset(key, name, row)
            pipeline.execute()

    def _client(self, step: int) -> Any:
        if step not in self._clients:
            self._clients[step] = redis.Redis.from_url(self.world.database(step))
        return self._clients[step]

    def _maker(self, view: ViewPlan) -> RowMaker:
        entities = tuple(Column(key, "STRING") for key in view.join_keys)
        return RowMaker(layout_of(view), self.view_keys(view), entities)


def _renamed(table: pa.Table) -> list[str]:
    names = {EVENT_TIMESTAMP: EVENT, CREATED_TIMESTAMP: CREATED}
    return [names.get(name, name) for name in table.column_names]
