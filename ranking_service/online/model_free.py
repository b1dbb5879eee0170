"""An order without the model: by item features as last known, else the caller's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Ragged
from feature_repo.errors import SettingError
from ranking_service.contract import Contract
from ranking_service.online.fetched import Fetched


@dataclass(frozen=True)
class ModelFreeOrder:
    """Largest first; items of which a feature is not known come after the others, equal ones as they were sent."""

    features: tuple[tuple[str, bool], ...] = ()
    """Name, and whether the smallest comes first; the first decides."""

    @classmethod
    def compile(cls, order_by: Sequence[str], contract: Contract) -> ModelFreeOrder:
        """Raises SettingError naming every feature that no item view of the contract has as a number."""
        numbers = {
            field.name
            for view in contract.views
            if view.join_keys == ("item_id",)
            for field in view.fields
            if not field.is_list and not field.is_text
        }
        strangers = [name for name in order_by if name.removeprefix("-") not in numbers]
        if strangers:
            raise SettingError(
                f"levels.order_by names {', '.join(strangers)}, but may name numbers of item views only: "
                f"{', '.join(sorted(numbers)) or 'there are none'}"
            )
        return cls(tuple((name.removeprefix("-"), name.startswith("-")) for name in order_by))

    def __call__(self, fetched: Fetched) -> npt.NDArray[np.intp]:
        """int [candidates]: positions, best first."""
        keys = [np.arange(fetched.candidate_count, dtype=np.float64)]
        for name, smallest_first in reversed(self.features):
            column = fetched.item.columns[name]
            assert not isinstance(column, Ragged)
            rank = column if smallest_first else -column
            keys.append(np.where(np.isnan(rank), np.inf, rank))
        return np.lexsort(keys)
