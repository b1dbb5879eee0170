"""The model's input with some features put right, and everything that is made of them with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from ranking_service.assemble import assemble
from ranking_service.contract import Contract
from skew_checks.judging.compare import differ

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Candidates of some requests, side by side."""

    contract: Contract
    """By which replay assembles; its features are the matrices' columns."""
    served: Matrix
    """As the booster read it, float32 [rows, features]."""
    logged: Columns
    """Stored values as served, by name, at the rows' length."""
    offline: Columns
    """Ids, request fields and stored values as the training join gives them."""

    def corrected(self, stored: Collection[str], columns: Collection[str] = ()) -> Matrix:
        """`served` with the offline values of `stored` features, and the offline `columns` of the model.

        Only cells that the correction changes are replaced: whatever else was served stays as it was served.
        """
        matrix = self.served.copy()
        values = {**self.offline, **self.logged}
        if stored:
            before = assemble(values, self.contract)
            right = {name: self.offline[name] for name in stored if name in self.offline}
            after = assemble({**values, **right}, self.contract)
            changed = differ(before, after)
            matrix[changed] = after[changed]
        if columns:
            places = [self.contract.feature_names.index(name) for name in columns]
            matrix[:, places] = assemble(self.offline, self.contract)[:, places]
        return matrix


def mapped_back(
    column: npt.NDArray[np.float32], *, now: npt.NDArray[np.float32], training: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """`column` with each number moved to the same quantile of `training`; missing and infinite ones stay.

    `now` is the population served, float32 [n]; `training` are quantiles of the training population at equal
    steps from 0 to 1, rising. Quantile mapping: x -> T^-1(F(x)), F the served distribution function with ties at
    their middle.
    """
    known = np.sort(now[np.isfinite(now)].astype(np.float64))
    moved = np.isfinite(column)
    if not len(known) or not len(training):
        return column.copy()
    numbers = column[moved].astype(np.float64)
    rank = (np.searchsorted(known, numbers, "left") + np.searchsorted(known, numbers, "right")) / 2
    result = column.copy()
    result[moved] = np.interp(rank / len(known), np.linspace(0, 1, len(training)), training)
    return result
