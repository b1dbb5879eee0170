"""What one fetch brings: raw columns by kind of entity, and how each view's row was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Column, Columns, take
from materialization.data_plane.online.batched_fetch import Presence


@dataclass(frozen=True)
class ViewRows:
    """How one view's rows were found."""

    presence: npt.NDArray[np.int8]
    """int8 [rows] of `Presence`."""
    event_timestamps: npt.NDArray[np.float64]
    """float64 [rows], Unix seconds; NaN where there is no row."""

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """bool [rows]."""
        usable: npt.NDArray[np.bool_] = self.presence == Presence.FOUND
        return usable


@dataclass(frozen=True)
class EntityRows:
    """The rows of one kind of entity, defaults not yet filled in."""

    columns: Columns
    """By feature name; missing as `feature_repo.columns` says."""
    views: Mapping[str, ViewRows]
    """By view name."""


NO_ROWS = EntityRows({}, {})


@dataclass(frozen=True)
class Fetched:
    """Everything stored about a user and n candidates, in the candidates' order."""

    candidate_count: int
    user: EntityRows = field(default=NO_ROWS)
    """1 row."""
    item: EntityRows = field(default=NO_ROWS)
    """n rows."""
    pair: EntityRows = field(default=NO_ROWS)
    """n rows: this user with each item."""

    def slate(self) -> dict[str, Column]:
        """All stored columns at length n; the user's row stands in every one of them."""
        first = np.zeros(self.candidate_count, np.intp)
        user = {name: take(column, first) for name, column in self.user.columns.items()}
        return {**user, **self.item.columns, **self.pair.columns}

    def missing_counts(self) -> dict[str, int]:
        """Candidates without a usable row, by view; views that lack none are left out."""
        counts = {name: int((~rows).sum()) for name, rows in self._usable_rows()}
        return {name: count for name, count in counts.items() if count}

    def incomplete_candidates(self) -> int:
        """Candidates that lack a usable row of at least one view."""
        incomplete = np.zeros(self.candidate_count, np.bool_)
        for _, rows in self._usable_rows():
            incomplete |= ~rows
        return int(incomplete.sum())

    def _usable_rows(self) -> list[tuple[str, npt.NDArray[np.bool_]]]:
        shape = (self.candidate_count,)
        views = [view for rows in (self.user, self.item, self.pair) for view in rows.views.items()]
        return [(name, np.broadcast_to(rows.usable, shape)) for name, rows in views]
