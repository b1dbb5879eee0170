"""Made-up rows: three views as parquet, and request frames for joins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from materialization.bench.sizes import Sizes

INSTANT = pa.timestamp("us", tz="UTC")
DAY_MICROS = 86_400 * 10**6
ROWS_PER_WRITE = 250_000


@dataclass(frozen=True)
class MadeUpView:
    """A view of float features."""

    name: str
    join_keys: tuple[str, ...]
    feature_count: int

    @cached_property
    def features(self) -> list[str]:
        return [f"{self.name}_{number}" for number in range(self.feature_count)]


def made_up_views(sizes: Sizes) -> tuple[MadeUpView, MadeUpView, MadeUpView]:
    """Users, items, and users with items; the matrix has their features in this order."""
    return (
        MadeUpView("users", ("user_id",), sizes.user_features),
        MadeUpView("items", ("item_id",), sizes.item_features),
        MadeUpView("pairs", ("user_id", "item_id"), sizes.pair_features),
    )


def ids(kind: str, count: int) -> npt.NDArray[np.str_]:
    """`user000007` ...: as long as each other, as ids of one service often are."""
    return np.char.add(kind, np.char.zfill(np.arange(count).astype(str), 6))


@dataclass(frozen=True)
class Shelf:
    """The user x item rows: which items each active user has rows of."""

    users: npt.NDArray[np.str_]
    """[active users]."""
    items: npt.NDArray[np.str_]
    """[active users, candidates]."""

    @classmethod
    def made_up(cls, sizes: Sizes, random: np.random.Generator) -> Shelf:
        items = ids("item", sizes.items)
        chosen = [random.choice(items, sizes.candidates, replace=False) for _ in range(sizes.active_users)]
        return cls(ids("user", sizes.active_users), np.stack(chosen))

    def keys(self) -> dict[str, npt.NDArray[np.str_]]:
        """One entry per row."""
        return {"user_id": np.repeat(self.users, self.items.shape[1]), "item_id": self.items.ravel()}


def write_online_rows(
    folder: Path, sizes: Sizes, shelf: Shelf, at: datetime, random: np.random.Generator
) -> None:
    """`folder`/<view>.parquet: one row per entity, an hour old."""
    users, items, pairs = made_up_views(sizes)
    event = at - timedelta(hours=1)
    keys = {
        users: {"user_id": ids("user", sizes.users)},
        items: {"item_id": ids("item", sizes.items)},
        pairs: shelf.keys(),
    }
    for view, columns in keys.items():
        write_rows(folder, view, columns, [event], random)


def write_snapshots(
    folder: Path, sizes: Sizes, snapshots: int, *, last: datetime, random: np.random.Generator
) -> None:
    """`folder`/<view>.parquet of users and items: every entity once a day, up to `last`."""
    users, items, _ = made_up_views(sizes)
    days = [last - timedelta(days=back) for back in reversed(range(snapshots))]
    write_rows(folder, users, {"user_id": ids("user", sizes.users)}, days, random)
    write_rows(folder, items, {"item_id": ids("item", sizes.items)}, days, random)


def write_rows(
    folder: Path,
    view: MadeUpView,
    keys: Mapping[str, npt.NDArray[np.str_]],
    instants: list[datetime],
    random: np.random.Generator,
) -> None:
    """Every key at each of the instants, in bounded memory; each row is known as soon as it has happened."""
    folder.mkdir(parents=True, exist_ok=True)
    writer: pq.ParquetWriter | None = None
    try:
        for instant in instants:
            for start in range(0, len(next(iter(keys.values()))), ROWS_PER_WRITE):
                part = {name: pa.array(ids[start : start + ROWS_PER_WRITE]) for name, ids in keys.items()}
                table = _rows(view, part, instant, random)
                writer = writer or pq.ParquetWriter(folder / f"{view.name}.parquet", table.schema)
                writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _rows(
    view: MadeUpView, keys: Mapping[str, pa.Array], instant: datetime, random: np.random.Generator
) -> pa.Table:
    count = len(next(iter(keys.values())))
    instants = pa.array([instant] * count, INSTANT)
    values = {name: random.random(count, dtype=np.float32) for name in view.features}
    return pa.table({**keys, "event_timestamp": instants, "created_timestamp": instants, **values})


@dataclass(frozen=True)
class Labels:
    """How many, and of which time."""

    count: int
    days: int
    last: datetime
    """The last of the snapshots; labels lie between the first and a day after the last."""


def write_request(path: Path, sizes: Sizes, labels: Labels, random: np.random.Generator) -> None:
    """Labels with a user, an item and a time.

    `row` numbers them: who joins wrongly mixes them up with the features.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = int(labels.last.timestamp() * 1e6) + DAY_MICROS
    users, items = ids("user", sizes.users), ids("item", sizes.items)
    writer: pq.ParquetWriter | None = None
    try:
        for start in range(0, labels.count, ROWS_PER_WRITE):
            count = min(ROWS_PER_WRITE, labels.count - start)
            at = random.integers(ends - labels.days * DAY_MICROS, ends, count)
            table = pa.table(
                {
                    "user_id": pa.array(random.choice(users, count)),
                    "item_id": pa.array(random.choice(items, count)),
                    "event_timestamp": pa.array(at).cast(INSTANT),
                    "row": np.arange(start, start + count),
                }
            )
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
