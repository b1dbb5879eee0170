"""What Redis held when: which versions of a row an answer may show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from .canary import ABSENT, ITEM, VIEWS, CanaryWorld, Known, Whole

STALENESS = {ITEM: 2.0}
"""Seconds for which a view's rows may be shown although Redis has newer ones; other views' must be current."""

Versions = dict[int, Known]
"""By version of a view's rows: for which candidates it is allowed, bool [candidates]."""


@dataclass
class Change:
    """Rows of one view became another version, at some moment between `began` and `ended`."""

    view: str
    version: int
    began: float
    ended: float
    entities: Known | None = None
    """By item's number: whether its row changed; None means every row of the view."""


@dataclass
class Timeline:
    """Begins with version 0 of every row; times are of the monotonic clock."""

    world: CanaryWorld
    changes: list[Change] = field(default_factory=list)

    @contextmanager
    def changing(self, view: str, version: int, items: Whole | None = None) -> Iterator[None]:
        """Around what changes the rows."""
        chosen = None
        if items is not None:
            chosen = np.zeros(self.world.items, np.bool_)
            chosen[items] = True
        change = Change(view, version, time.monotonic(), float("inf"), chosen)
        self.changes.append(change)
        yield
        change.ended = time.monotonic()

    @contextmanager
    def changing_all(self, version: int) -> Iterator[None]:
        """The same for every row of every view; `ABSENT` where Redis lost them."""
        began = time.monotonic()
        changes = [Change(plan.name, version, began, float("inf")) for plan in VIEWS]
        self.changes += changes
        yield
        for change in changes:
            change.ended = time.monotonic()

    def current(self, view: str, user: int, items: Whole, *, since: float, until: float) -> Versions:
        """What may be shown as current by an answer made between the two instants."""
        since -= STALENESS.get(view, 0.0)
        known = self.world.known(view, np.full(len(items), user), items)
        found: Versions = {0: known.copy(), ABSENT: ~known}
        for change in self.changes:
            if change.view != view or change.began > until:
                continue
            hit = known if change.entities is None else known & change.entities[items]
            if change.ended <= since:
                for allowed in found.values():
                    allowed &= ~hit
            found.setdefault(change.version, np.zeros(len(items), np.bool_))
            found[change.version] |= hit
        return found

    def ever(self, view: str, user: int, items: Whole, *, until: float) -> Versions:
        """What may be shown as last known: every version so far, and defaults for what was never read."""
        found = self.current(view, user, items, since=float("-inf"), until=until)
        found[ABSENT] = np.ones(len(items), np.bool_)
        return found
