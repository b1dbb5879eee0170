"""What one fetch brings: raw columns by kind of entity, and where each view's rows come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Column, Columns, take
from ranking_service.assemble import Prepared


class Origin(IntEnum):
    """Where one row of one view comes from; the first three are `Presence` in the feature store's own answer."""

    FOUND = 0
    NOT_FOUND = 1
    EXPIRED = 2
    """There is a row, but it is older than the view's ttl; its values are not used."""
    LAST_KNOWN = 3
    """The store did not answer; an earlier answer took its place."""
    UNREAD = 4
    """The store did not answer and nothing is known, or what it holds is damaged."""


@dataclass(frozen=True)
class ViewRows:
    """How one view's rows were found."""

    presence: npt.NDArray[np.int8]
    """int8 [rows] of `Origin`."""
    event_timestamps: npt.NDArray[np.float64]
    """float64 [rows], Unix seconds; NaN where there is no row."""

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """bool [rows]."""
        usable: npt.NDArray[np.bool_] = (self.presence == Origin.FOUND) | (self.presence == Origin.LAST_KNOWN)
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
class DegradedView:
    """A view that the feature store did not answer for, or some rows of which are damaged."""

    view: str
    level: int
    """1 last-known rows took its place, 2 declared defaults did, for some candidates at least."""
    last_known_candidates: int
    """Candidates that got a last-known row."""
    oldest_seconds: float
    """The longest that one of these rows has not been confirmed."""


class Slate(Mapping[str, Column]):
    """Columns of several kinds of entity at one length; a column is made when it is first looked at."""

    def __init__(self, user: Columns, others: Sequence[Columns], count: int) -> None:
        self._user = user
        self._others = others
        self._count = count

    def __getitem__(self, name: str) -> Column:
        for columns in self._others:
            if name in columns:
                return columns[name]
        return take(self._user[name], np.zeros(self._count, np.intp))

    def __iter__(self) -> Iterator[str]:
        return iter([*self._user, *(name for columns in self._others for name in columns)])

    def __len__(self) -> int:
        return len(self._user) + sum(map(len, self._others))


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
    prepared: tuple[Prepared, ...] = ()
    """Columns of the matrix that come with the rows."""
    degraded: tuple[DegradedView, ...] = ()
    """Empty when the store answered for all views, and every row was as it had been written."""
    reason: str = ""
    """Why any is."""
    cached_candidates: int = 0
    """Candidates whose item rows were in memory, and current."""

    @cached_property
    def is_unread(self) -> bool:
        """Whether there is no row of any view, and the store did not say so."""
        views = (view for rows in (self.user, self.item, self.pair) for view in rows.views.values())
        return bool(self.degraded) and all((view.presence == Origin.UNREAD).all() for view in views)

    def slate(self, context: Columns) -> Slate:
        """All columns at length n, the request's own included; the user's row stands in every one of them."""
        return Slate(self.user.columns, (context, self.item.columns, self.pair.columns), self.candidate_count)

    @property
    def has_rows(self) -> bool:
        """Whether any row of any view is usable."""
        of_all = (self.user, self.item, self.pair)
        return any(view.usable.any() for rows in of_all for view in rows.views.values())

    def missing(self) -> tuple[dict[str, int], int]:
        """Candidates without a usable row, by view (views that lack none are left out), and those that lack one of
        at least one view.
        """
        counts: dict[str, int] = {}
        incomplete = np.zeros(self.candidate_count, np.bool_)
        for rows in (self.user, self.item, self.pair):
            for name, view in rows.views.items():
                usable = view.usable
                if usable.all():
                    continue
                missing = np.broadcast_to(~usable, incomplete.shape)
                counts[name] = int(np.count_nonzero(missing))
                incomplete |= missing
        return counts, int(np.count_nonzero(incomplete))
