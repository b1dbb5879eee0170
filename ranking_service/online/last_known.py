"""What the last answered read said about a user, for when the next one is not answered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.blocks import Blocks
from ranking_service.online.fetched import Origin


@dataclass(frozen=True)
class KnownUser:
    """One user's rows."""

    user: Blocks
    """1 row."""
    pairs: Blocks
    """The pairs that had a row in any view."""
    items: Sequence[str]
    """Of `pairs`, row by row."""
    others: npt.NDArray[np.int64]
    """Hashes of all items of that read, if some had no row: a pair among these that has no row had none."""
    read_at: float
    """Monotonic seconds."""


@dataclass
class LastKnownUsers:
    """The users read last, up to a number of them."""

    pair_plan: BlockPlan
    most: int
    _users: OrderedDict[str, KnownUser] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._users)

    def keep(self, user_id: str, user: Blocks, item_ids: Sequence[str], pairs: Blocks, *, now: float) -> None:
        """Of pairs only those that have a row, and which others there were. A read with damaged rows is not kept."""
        if not self.most or any((rows.presence == Origin.UNREAD).any() for rows in (user, pairs)):
            return
        rows = np.flatnonzero((pairs.presence == Origin.FOUND).any(axis=1))
        others = _hashes(())
        if len(rows) < len(item_ids):
            others = _hashes(item_ids)
            item_ids, pairs = [item_ids[row] for row in rows.tolist()], pairs.take(rows)
        self._users[user_id] = KnownUser(user, pairs, item_ids, others, now)
        self._users.move_to_end(user_id)
        if len(self._users) > self.most:
            self._users.popitem(last=False)

    def known(self, user_id: str, *, since: float) -> KnownUser | None:
        """What was read of the user at or after that monotonic second."""
        known = self._users.get(user_id)
        return known if known is not None and known.read_at >= since else None

    def pairs(self, known: KnownUser | None, item_ids: Sequence[str]) -> Blocks:
        """The user's rows with these items; NOT_FOUND where there was none, UNREAD where nothing is known."""
        if known is None:
            return self.pair_plan.blank.take(np.zeros(len(item_ids), np.intp))
        row_of = {item: row for row, item in enumerate(known.items)}
        rows = np.array([row_of.get(item, -1) for item in item_ids], np.intp)
        source = known.pairs if len(known.pairs) else self.pair_plan.blank
        found = source.take(np.maximum(rows, 0))
        gone = np.repeat((rows < 0)[:, None], found.presence.shape[1], axis=1)
        pairs = self.pair_plan.without(found, gone, Origin.UNREAD)
        pairs.presence[np.isin(_hashes(item_ids), known.others) & (rows < 0)] = Origin.NOT_FOUND
        return pairs


def _hashes(item_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(hash, item_ids), np.int64, len(item_ids))
