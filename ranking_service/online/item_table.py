"""Many items' rows in memory, a slot for each item; slots are taken and read by the hundred.

Slot 0 stands for every item that is not here: a row of nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Ragged
from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.blocks import Blocks
from ranking_service.online.fetched import Origin

ABSENT = 0
EVICTED_SHARE = 0.1
"""Of the slots are freed at once when all are taken: those not used for longest."""
FIRST_SLOTS = 4096
TEXTS_PER_ITEM = 4

Slots = npt.NDArray[np.intp]


@dataclass
class TextPool:
    """One object for equal texts: taking hundreds of rows then touches few of them."""

    most: int
    """Beyond so many different ones it begins anew."""
    _texts: dict[Any, Any] = field(default_factory=dict)

    def same(self, texts: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
        """The same values, in the same shape."""
        if len(self._texts) > self.most:
            self._texts.clear()
        pooled = np.empty(texts.size, object)
        flat = texts.ravel().tolist()
        pooled[:] = [*map(self._texts.setdefault, flat, flat)]
        return pooled.reshape(texts.shape)


@dataclass
class ListStore:
    """One list column of all slots: values end to end, and where each slot's list lies."""

    dtype: np.dtype[np.generic]
    texts: TextPool
    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    used: int = 0

    def __post_init__(self) -> None:
        self.values = np.empty(1024, self.dtype)

    def put(self, slots: Slots, lists: Ragged) -> None:
        """What the slots held before becomes garbage, which is swept when it outweighs the rest."""
        _, position = lists.flat()
        added = lists.values[position]
        if self.dtype == object:
            added = self.texts.same(added)
        if self.used + len(added) > len(self.values):
            self._make_room(len(added))
        self.values[self.used : self.used + len(added)] = added
        lengths = lists.lengths
        self.start[slots] = self.used + np.cumsum(lengths) - lengths
        self.length[slots] = lengths
        self.used += len(added)

    def take(self, slots: Slots) -> Ragged:
        """The slots' lists."""
        lengths = self.length.take(slots)
        ends = np.cumsum(lengths)
        first = np.repeat(self.start.take(slots) - ends + lengths, lengths)
        values = self.values.take(first + np.arange(len(first)))
        return Ragged(np.concatenate(([0], ends)), values, np.arange(len(slots)))

    def grow(self, slots: int) -> None:
        self.start = _grown(self.start, slots, 0)
        self.length = _grown(self.length, slots, 0)

    def _make_room(self, added: int) -> None:
        live = self.take(np.arange(len(self.start)))
        self.start = live.offsets[:-1].copy()
        self.used = len(live.values)
        values = np.empty(2 * (self.used + added), self.dtype)
        values[: self.used] = live.values
        self.values = values


@dataclass
class ItemTable:
    """Not thread-safe; what `take` returns is a copy and stays as it is."""

    plan: BlockPlan
    capacity: int
    """Items kept, at least as many as one request may have."""
    slots: dict[str, int] = field(default_factory=dict)
    moves: int = 0
    """How often items came or went; as long as it stays, `find` finds the same."""

    def __post_init__(self) -> None:
        size = min(FIRST_SLOTS, self.capacity + 1)
        blank = self.plan.blank
        self._pool = TextPool(TEXTS_PER_ITEM * self.capacity)
        self._floats = np.repeat(blank.floats, size, axis=0)
        self._numbers = np.repeat(blank.numbers, size, axis=0)
        self._texts = np.repeat(blank.texts, size, axis=0)
        self._presence = np.repeat(blank.presence, size, axis=0)
        self._events = np.repeat(blank.events, size, axis=0)
        self._prepared = np.repeat(self.plan.blank_prepared, size, axis=0)
        empty = np.zeros(size, np.int64)
        self._lists = [
            ListStore(kind, self._pool, empty.copy(), empty.copy()) for kind in self.plan.list_types
        ]
        self._ids: list[str | None] = [None] * size
        self._free = list(range(size - 1, ABSENT, -1))
        self._used = np.zeros(size, np.int64)
        self.fresh = np.zeros(size, np.bool_)
        """bool [slots]: nothing was heard of a newer row."""
        self.confirmed = np.full(size, -np.inf)
        """float64 [slots], monotonic seconds: when the store last gave these rows."""
        self._clock = 0

    def __len__(self) -> int:
        return len(self.slots)

    def find(self, item_ids: Sequence[str]) -> Slots:
        """int [n]; `ABSENT` for unknown ones. Marks them as used."""
        found = np.fromiter(map(self.slots.get, item_ids, [ABSENT] * len(item_ids)), np.intp, len(item_ids))
        self._clock += 1
        self._used[found] = self._clock
        return found

    def put(
        self, item_ids: Sequence[str], blocks: Blocks, *, now: float, fresh: npt.NDArray[np.bool_]
    ) -> None:
        """Keep rows. `now` is in monotonic seconds; `fresh`, bool [n], tells which may be used again unread."""
        slots = self._slots_for(item_ids)
        self._floats[slots] = blocks.floats
        self._numbers[slots] = blocks.numbers
        self._texts[slots] = self._pool.same(blocks.texts)
        self._presence[slots] = blocks.presence
        self._events[slots] = blocks.events
        self._prepared[slots] = self.plan.prepared(blocks)
        for store, lists in zip(self._lists, blocks.lists, strict=True):
            store.put(slots, lists)
        self.confirmed[slots] = now
        self.fresh[slots] = fresh

    def take(self, slots: Slots) -> tuple[Blocks, npt.NDArray[np.float32]]:
        """The slots' rows, whatever their age, and their columns of the model's matrix, float32 [n, k]."""
        blocks = Blocks(
            floats=self._floats.take(slots, axis=0),
            numbers=self._numbers.take(slots, axis=0),
            texts=self._texts.take(slots, axis=0),
            lists=tuple(store.take(slots) for store in self._lists),
            presence=self._presence.take(slots, axis=0),
            events=self._events.take(slots, axis=0),
        )
        return blocks, self._prepared.take(slots, axis=0)

    def doubt_all(self, *, current_until: float) -> None:
        """Newer rows of any may exist; those that were fresh were current at that monotonic second."""
        self.confirmed[self.fresh] = np.maximum(self.confirmed[self.fresh], current_until)
        self.fresh[:] = False

    def doubt(self, item_ids: Iterable[str]) -> None:
        """Newer rows of these may exist."""
        known = [slot for slot in map(self.slots.get, item_ids) if slot is not None]
        self.fresh[known] = False

    def doubtful(self, most: int) -> list[str]:
        """Items whose rows should be read again, those used last first; not damaged ones, which may be so for long."""
        slots = np.flatnonzero(~self.fresh & (self._used > 0))
        slots = slots[(self._presence[slots] != Origin.UNREAD).all(axis=1)]
        if len(slots) > most:
            slots = slots[np.argpartition(-self._used[slots], most)[:most]]
        return [item for item in (self._ids[slot] for slot in slots.tolist()) if item is not None]

    def _slots_for(self, item_ids: Sequence[str]) -> Slots:
        fresh = [item for item in item_ids if item not in self.slots]
        if len(fresh) > len(self._free):
            self._make_room(len(fresh), keep=item_ids)
        self.moves += bool(fresh)
        for item in fresh:
            slot = self._free.pop()
            self.slots[item] = slot
            self._ids[slot] = item
        slots = np.fromiter((self.slots[item] for item in item_ids), np.intp, len(item_ids))
        self._clock += 1
        self._used[slots] = self._clock
        return slots

    def _make_room(self, wanted: int, *, keep: Sequence[str]) -> None:
        size = len(self._ids)
        if size < self.capacity + 1:
            self._grow(min(max(2 * size, size + wanted), self.capacity + 1))
        if wanted <= len(self._free):
            return
        held = {self.slots[item] for item in keep if item in self.slots}
        count = max(wanted - len(self._free), int(EVICTED_SHARE * len(self.slots)))
        oldest = [
            slot
            for slot in np.argsort(self._used, kind="stable").tolist()
            if slot not in held and self._ids[slot]
        ]
        for slot in oldest[:count]:
            self._forget(slot)

    def _forget(self, slot: int) -> None:
        item = self._ids[slot]
        assert item is not None
        del self.slots[item]
        self._ids[slot] = None
        self._used[slot] = 0
        self.fresh[slot] = False
        self.confirmed[slot] = -np.inf
        self._free.append(slot)

    def _grow(self, size: int) -> None:
        blank, old = self.plan.blank, len(self._ids)
        self._floats = _grown(self._floats, size, blank.floats)
        self._numbers = _grown(self._numbers, size, blank.numbers)
        self._texts = _grown(self._texts, size, blank.texts)
        self._presence = _grown(self._presence, size, blank.presence)
        self._events = _grown(self._events, size, blank.events)
        self._prepared = _grown(self._prepared, size, self.plan.blank_prepared)
        for store in self._lists:
            store.grow(size)
        self._ids += [None] * (size - old)
        self._free = [*range(size - 1, old - 1, -1), *self._free]
        self._used = _grown(self._used, size, 0)
        self.fresh = _grown(self.fresh, size, False)
        self.confirmed = _grown(self.confirmed, size, -np.inf)


def _grown(array, size: int, blank):  # type: ignore[no-untyped-def]
    """The array with more rows, each of them `blank`."""
    larger = np.empty((size, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    larger[len(array) :] = blank
    return larger
