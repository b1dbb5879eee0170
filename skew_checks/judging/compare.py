"""Are two columns of values the same, by type: vectorized, one answer per row.

Text, categories, booleans and whole numbers are the same when they are equal. Floats are the same within
1e-9 + relative * max(|served|, |offline|), where `relative` covers a last-digit difference of the stored
type, or the tolerance the feature declares. NaN is the same as NaN, None as None; a missing value never
equals a present one. Lists are the same when they have the same length and the same entries in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Array, Column, Ragged
from ranking_service.contract import Field, ModelFeature

ABSOLUTE = 1e-9
FLOAT32 = 2.0**-22
"""Two units in the last place of a float32, relative."""
FLOAT64 = 2.0**-40
"""Room for another order of summation; 2 ms of today's Unix seconds, where FLOAT32 would be 400 s."""
RELATIVE = {"FLOAT": FLOAT32, "FLOAT_LIST": FLOAT32, "DOUBLE": FLOAT64, "DOUBLE_LIST": FLOAT64}
"""By Feast's value type; all other types compare exactly."""

Mask = npt.NDArray[np.bool_]


def stored_tolerance(field: Field) -> float:
    """Relative tolerance of a stored value."""
    return max(RELATIVE.get(field.value_type, 0.0), field.tolerance)


def model_tolerance(feature: ModelFeature) -> float:
    """Relative tolerance of a model input, a float32; the code of a category is exact."""
    return 0.0 if feature.field.is_text else max(FLOAT32, feature.field.tolerance)


def differ(served: Column, offline: Column, relative: float | Array = 0.0) -> Mask:
    """Bool, of the columns' shape: where they differ. Columns of different kinds differ everywhere."""
    if isinstance(served, Ragged) or isinstance(offline, Ragged):
        if isinstance(served, Ragged) and isinstance(offline, Ragged):
            return _lists_differ(served, offline, relative)
        return np.ones(len(served), bool)
    if (served.dtype == object) != (offline.dtype == object):
        return np.ones(served.shape, bool)
    if served.dtype == object:
        return np.asarray(served != offline, bool)
    return _numbers_differ(served.astype(np.float64), offline.astype(np.float64), relative)


def inputs_differ(served: Array, offline: Array, relative: Array) -> Mask:
    """`differ` of two float32 matrices [rows, features], a tolerance a feature: most cells are equal to the bit."""
    with np.errstate(invalid="ignore"):
        unequal: Mask = (served != offline) & ~(np.isnan(served) & np.isnan(offline))
    row, column = np.nonzero(unequal)
    unequal[row, column] = _numbers_differ(
        served[row, column].astype(np.float64), offline[row, column].astype(np.float64), relative[column]
    )
    return unequal


def _numbers_differ(served: Array, offline: Array, relative: float | Array) -> Mask:
    """Infinities are the same only when equal: a tolerance relative to infinity would pass anything."""
    with np.errstate(invalid="ignore", over="ignore"):
        room = ABSOLUTE + relative * np.maximum(np.abs(served), np.abs(offline))
        close = (np.abs(served - offline) <= room) & np.isfinite(room)
    same: Mask = close | (served == offline) | (np.isnan(served) & np.isnan(offline))
    return ~same


def _lists_differ(served: Ragged, offline: Ragged, relative: float | Array) -> Mask:
    result: Mask = served.lengths != offline.lengths
    comparable = np.flatnonzero(~result)
    row, left = served.take(comparable).flat()
    _, right = offline.take(comparable).flat()
    entries = differ(_plain(served.values[left]), _plain(offline.values[right]), relative)
    result[comparable[row[entries]]] = True
    return result


def _plain(values: npt.NDArray[Any]) -> Array:
    """Entries of a list column as `differ` wants them; an empty column has no telling type."""
    return values if len(values) else np.empty(0, np.float64)
