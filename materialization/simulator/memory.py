"""What users have watched. It advances once a day: a day's visits see the memory of the evening before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from materialization.simulator.catalogue import Indices

UNFINISHED = 5
"""Titles a user can have on the continue page."""


@dataclass(frozen=True)
class Memory:
    """Grows with the completed views, not with the exposures."""

    items: int
    completed: Indices
    """Ascending keys `user * items + item` of the titles watched to the end."""
    unfinished: Indices
    """[users, UNFINISHED] titles begun, latest first; -1 where there is none."""

    @classmethod
    def empty(cls, *, users: int, items: int) -> Memory:
        return cls(items, np.empty(0, np.int64), np.full((users, UNFINISHED), -1))

    def has_completed(self, users: Indices, items: Indices) -> npt.NDArray[np.bool_]:
        """bool, in the shape of the arguments."""
        if not len(self.completed):
            return np.zeros(items.shape, bool)
        keys = users * self.items + items
        place = np.minimum(np.searchsorted(self.completed, keys), len(self.completed) - 1)
        return np.asarray(self.completed[place] == keys)

    def after(self, users: Indices, items: Indices, completed: npt.NDArray[np.bool_]) -> Memory:
        """The memory after a day's clicks, which are in time order."""
        done = np.union1d(self.completed, users[completed] * self.items + items[completed])
        grown = Memory(self.items, done, _push(self.unfinished, users[~completed], items[~completed]))
        rows = np.arange(len(grown.unfinished))[:, None]
        finished = grown.has_completed(np.broadcast_to(rows, grown.unfinished.shape), grown.unfinished)
        return Memory(self.items, done, np.where(finished, -1, grown.unfinished))


def _push(stacks: Indices, users: Indices, items: Indices) -> Indices:
    """Put each user's last new items before the old ones."""
    order = np.lexsort((-np.arange(len(users)), users))
    user, item = users[order], items[order]
    first = np.concatenate([[True], user[1:] != user[:-1]]) if len(user) else np.empty(0, bool)
    rank = np.arange(len(user)) - np.maximum.accumulate(np.where(first, np.arange(len(user)), 0))
    fits = rank < UNFINISHED
    new = np.full_like(stacks, -1)
    new[user[fits], rank[fits]] = item[fits]
    both = np.concatenate([new, stacks], axis=1)
    filled_first = np.argsort(both < 0, axis=1, kind="stable")
    return np.take_along_axis(both, filled_first, axis=1)[:, :UNFINISHED]
