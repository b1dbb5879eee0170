"""A world whose every stored value derives from its ids, so that each score betrays whose rows made it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xgboost

from materialization.data_plane.online.connection import ConnectionSettings, RedisConnections
from materialization.data_plane.online.writing import RowWriter
from materialization.data_plane.rows.keys import ViewKeys, text_entities
from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.packing import pack
from ranking_service.bundle import publish
from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan

USER, ITEM, PAIR = "user_rows", "item_rows", "pair_rows"
ABSENT = -1
"""Version of a row that is not there: its features have their defaults."""
WEEK = 7 * 86_400.0
VERSION_SECONDS = 1.0
"""A row's next version is so much younger."""

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]
Known = npt.NDArray[np.bool_]


def _view(name: str, join_keys: tuple[str, ...], defaults: Sequence[float], ttl: float = 0.0) -> ViewPlan:
    fields = tuple(Field(f"{name}_{place}", "FLOAT", default) for place, default in enumerate(defaults))
    return ViewPlan(name, join_keys, fields, ttl, "")


VIEWS = (
    _view(USER, ("user_id",), (0.21, 0.47, 0.83)),
    _view(ITEM, ("item_id",), (0.15, 0.38, 0.62, 0.91), WEEK),
    _view(PAIR, ("user_id", "item_id"), (0.33, 0.71)),
)
FIELDS = tuple(field for view in VIEWS for field in view.fields)
CONTRACT = Contract(
    project="chaos",
    service="canary",
    views=VIEWS,
    request_fields=(Field("surface", "STRING", ""), Field("request_timestamp", "DOUBLE", 0.0)),
    transforms=(),
    features=tuple(
        ModelFeature(field, view.name, "derived from ids") for view in VIEWS for field in view.fields
    ),
)


@dataclass(frozen=True)
class CanaryWorld:
    """Users and items by number; the last tenth of each has no rows, and two pairs in three have none."""

    users: int = 100
    items: int = 1_000
    trees: int = 300
    written_at: float = field(default_factory=lambda: time.time() - 3_600.0)
    """Event time of version 0 of every row, Unix seconds."""

    def user_id(self, user: int) -> str:
        return f"u{user:05d}"

    def item_id(self, item: int) -> str:
        return f"i{item:06d}"

    def item_number(self, item_id: str) -> int:
        """Raises ValueError for an id that is none of this world's."""
        number = int(item_id[1:])
        if self.item_id(number) != item_id or not 0 <= number < self.items:
            raise ValueError(f"{item_id} is no item of this world")
        return number

    def known(self, view: str, users: Whole, items: Whole) -> Known:
        """Whether there is a row for each (user, item); bool [n]."""
        has_user, has_item = users < self.users * 9 // 10, items < self.items * 9 // 10
        if view == USER:
            return has_user
        if view == ITEM:
            return has_item
        return has_user & has_item & (_mixed(99, users, items, users * 0) % np.uint64(3) == 0)

    def values(self, view: str, users: Whole, items: Whole, versions: Whole) -> Floats:
        """float32 [n, features of the view] in [0, 1); the defaults where the version is `ABSENT`."""
        number = next(place for place, plan in enumerate(VIEWS) if plan.name == view)
        users = users if view != ITEM else users * 0 + 7
        items = items if view != USER else items * 0 + 7
        columns = []
        for place, entry in enumerate(VIEWS[number].fields):
            mixed = _mixed(number * 16 + place, users, items, versions) >> np.uint64(40)
            value = mixed.astype(np.float32) / np.float32(2**24)
            columns.append(np.where(versions == ABSENT, np.float32(entry.default), value))
        return np.stack(columns, axis=1).astype(np.float32)

    def scores(self, user: int, items: Whole, versions: tuple[Any, Any, Any]) -> Floats:
        """Of one user's candidates with rows of these versions (user, item, pair), each a number or one for each
        candidate; float32 [items]."""
        if all(isinstance(version, int) and version in (0, ABSENT) for version in versions):
            return self.table(versions)[user, items]
        return self._predicted(np.full(len(items), user), items, versions)

    @cached_property
    def booster(self) -> xgboost.Booster:
        """Rough in every feature, so that hardly two rows score the same."""
        random = np.random.default_rng(11)
        rows = random.random((8_000, len(FIELDS)), np.float32)
        target = np.sin(rows * np.linspace(17, 41, len(FIELDS))).sum(axis=1)
        matrix = xgboost.DMatrix(rows, label=target, feature_names=[entry.name for entry in FIELDS])
        settings = {"max_depth": 6, "eta": 0.2, "seed": 1, "nthread": 2, "tree_method": "hist"}
        booster = xgboost.train(settings, matrix, self.trees)
        booster.set_param({"nthread": 1})
        return booster

    def publish(self, models: Path, version: str = "canary") -> Path:
        """The bundle's folder."""
        return publish(models, version=version, booster=self.booster, contract=CONTRACT, manifest={})

    def table(self, versions: tuple[int, int, int]) -> Floats:
        """Scores of everybody and everything, float32 [users, items]; each is made once."""
        kept: dict[tuple[int, int, int], Floats] = self.__dict__.setdefault("_kept", {})
        if versions not in kept:
            users, items = np.divmod(np.arange(self.users * self.items), self.items)
            kept[versions] = self._predicted(users, items, versions).reshape(self.users, self.items)
        return kept[versions]

    def _predicted(self, users: Whole, items: Whole, versions: tuple[Any, Any, Any]) -> Floats:
        parts = []
        for plan, version in zip(VIEWS, versions, strict=True):
            there = np.where(self.known(plan.name, users, items), version, ABSENT)
            parts.append(self.values(plan.name, users, items, there))
        predicted: Floats = self.booster.inplace_predict(np.hstack(parts))
        return predicted


@dataclass(frozen=True)
class CanaryRows:
    """Writes the world's rows into a Redis, as materialization does."""

    world: CanaryWorld
    connections: RedisConnections

    @classmethod
    def of(cls, world: CanaryWorld, address: str, *, is_cluster: bool = False) -> CanaryRows:
        """`address` is host:port."""
        kind = "redis_cluster" if is_cluster else "redis"
        return cls(world, RedisConnections(ConnectionSettings(address, redis_type=kind, connect_seconds=2.0)))

    def write_all(self) -> None:
        """Version 0 of every row there is."""
        users, items = np.arange(self.world.users), np.arange(self.world.items)
        self._write(USER, users, users * 0, 0)
        self.write_items(items, 0)
        for user in users:
            self._write(PAIR, np.full(len(items), user), items, 0)

    def write_items(self, items: Whole, version: int) -> None:
        """This version of these items' rows."""
        self._write(ITEM, items * 0, items, version)

    def close(self) -> None:
        self.connections.close()

    def _write(self, view: str, users: Whole, items: Whole, version: int) -> None:
        there = self.world.known(view, users, items)
        users, items = users[there], items[there]
        if not len(users):
            return
        plan = CONTRACT.view(view)
        layout = Layout.of((entry.name, entry.value_type) for entry in plan.fields)
        writer = RowWriter(self.connections, ViewKeys(CONTRACT.project, view, plan.join_keys))
        writer.register(layout)
        values = self.world.values(view, users, items, np.full(len(users), version))
        arrays: dict[str, Any] = {
            entry.name: pa.array(values[:, place]) for place, entry in enumerate(plan.fields)
        }
        moment = int((self.world.written_at + version * VERSION_SECONDS) * 1e6)
        rows = pack(layout, arrays, event=np.full(len(users), moment, np.int64)).to_pylist()
        of_users = text_entities(self.world.user_id(user) for user in users)
        of_items = text_entities(self.world.item_id(item) for item in items)
        entities = of_items if view == ITEM else of_users
        keys = [writer.keys.key([entity]) for entity in entities]
        writer.write(keys, of_items if view == PAIR else None, rows)


def _mixed(seed: int, users: Any, items: Any, versions: Any) -> npt.NDArray[np.uint64]:
    """SplitMix64 over the four numbers."""
    state = np.full(len(users), seed + 1, np.uint64)
    for numbers in (users, items, versions):
        state = state * np.uint64(0x9E3779B97F4A7C15) + np.asarray(numbers).astype(np.int64).astype(np.uint64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state
