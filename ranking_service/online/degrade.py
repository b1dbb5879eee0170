"""Rows that stand in for an answer that did not come, and what is said about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.fetched import DegradedView, EntityRows, Fetched, Origin, ViewRows

LAST_KNOWN, DEFAULTS = 1, 2
"""Levels of a view."""


def last_known(rows: EntityRows, stale: npt.NDArray[np.bool_] | None = None) -> EntityRows:
    """The same rows, those found marked as only last known; with `stale`, bool [rows], only these."""

    def marked(view: ViewRows) -> ViewRows:
        found = view.presence == Origin.FOUND
        chosen = found if stale is None else found & stale
        return replace(view, presence=np.where(chosen, np.int8(Origin.LAST_KNOWN), view.presence))

    return EntityRows(rows.columns, {name: marked(view) for name, view in rows.views.items()})


def degraded_views(
    rows: EntityRows, candidates: int, ages: npt.NDArray[np.float64]
) -> Iterator[DegradedView]:
    """The views with rows that are last known or unread. `ages`, seconds [rows]: since each was confirmed.

    A view is at level 1 when something is known of every row, else at level 2.
    """
    for name, view in rows.views.items():
        known = view.presence == Origin.LAST_KNOWN
        unread = view.presence == Origin.UNREAD
        if not known.any() and not unread.any() and not (ages > 0).any():
            continue
        share = int(np.count_nonzero(known)) * (candidates if len(known) == 1 else 1)
        oldest = float(ages[known].max(initial=0.0))
        yield DegradedView(name, DEFAULTS if unread.any() else LAST_KNOWN, share, oldest)


def unread(plans: Sequence[BlockPlan], candidates: int, *, reason: str) -> Fetched:
    """No row of any view. `plans` are those of the user's views, the items' and the pairs'."""
    counts = (1, candidates, candidates)
    user, item, pair = (
        plan.entity_rows(plan.blank.take(np.zeros(count, np.intp)))
        for plan, count in zip(plans, counts, strict=True)
    )
    views = [DegradedView(name, DEFAULTS, 0, 0.0) for rows in (user, item, pair) for name in rows.views]
    return Fetched(candidates, user, item, pair, degraded=tuple(views), reason=reason)


def noting_damage(fetched: Fetched) -> Fetched:
    """What the store answered, saying so where rows of a view are damaged: these are read as defaults."""
    views = [
        DegradedView(name, DEFAULTS, last_known_candidates=0, oldest_seconds=0.0)
        for rows in (fetched.user, fetched.item, fetched.pair)
        for name, view in rows.views.items()
        if (view.presence == Origin.UNREAD).any()
    ]
    if not views:
        return fetched
    reason = f"rows of {', '.join(view.view for view in views)} in Redis are damaged"
    return replace(fetched, degraded=tuple(views), reason=reason)
