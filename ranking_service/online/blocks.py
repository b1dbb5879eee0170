"""Rows of one kind of entity as a few wide arrays instead of a column each.

Rows of all views of a kind lie side by side: taking 500 items' rows is one step for each array, whatever the number of
features. Columns by name are made from them when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Ragged


@dataclass(frozen=True)
class Blocks:
    """n rows of every view of one kind of entity."""

    floats: npt.NDArray[np.float32]
    """float32 [n, FLOAT columns]; NaN is missing."""
    numbers: npt.NDArray[np.float64]
    """float64 [n, other fixed-width columns]; NaN is missing."""
    texts: npt.NDArray[np.object_]
    """object [n, text columns]; None is missing."""
    lists: tuple[Ragged, ...]
    """[n] for each list column."""
    presence: npt.NDArray[np.int8]
    """int8 [n, views] of `Origin`."""
    events: npt.NDArray[np.float64]
    """float64 [n, views], Unix seconds; NaN where there is no row."""

    def __len__(self) -> int:
        return len(self.presence)

    def take(self, rows: npt.NDArray[np.intp]) -> Blocks:
        """These rows, in that order."""
        return Blocks(
            self.floats[rows],
            self.numbers[rows],
            self.texts[rows],
            tuple(one.take(rows) for one in self.lists),
            self.presence[rows],
            self.events[rows],
        )
