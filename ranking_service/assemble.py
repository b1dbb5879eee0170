"""The one step from fetched columns to the model's matrix, called by training, serving and replay alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Array, Column, Columns, Ragged
from feature_repo.transforms import TRANSFORMS
from ranking_service.column_runs import ColumnRuns
from ranking_service.contract import Contract, Field, ModelFeature


@dataclass(frozen=True)
class Prepared:
    """Columns of the matrix that are known before the request: `fill` and `encode` have been done."""

    places: ColumnRuns
    """Columns of `values`, and columns of the matrix."""
    values: npt.NDArray[np.float32]
    """float32 [rows, k]."""


def assemble(
    columns: Columns, contract: Contract, prepared: Sequence[Prepared] = ()
) -> npt.NDArray[np.float32]:
    """Turn raw columns (stored features and request fields, all of one length) into the model's matrix.

    Missing stored and request values take their declared defaults, the request-time transforms run in the
    contract's order on the result, text becomes dictionary codes. What is `prepared` is taken as it is.

    Returns float32 [rows, features] in the contract's order; NaN is missing.
    """
    filled = with_transforms(columns, contract)
    rest = np.ones(len(contract.features), np.bool_)
    for block in prepared:
        for _, there in block.places:
            rest[there] = False
    places = np.flatnonzero(rest).tolist()
    encoded = [encode(filled[contract.features[place].name], contract.features[place]) for place in places]
    rows = len(prepared[0].values) if prepared else len(encoded[0])
    result = np.empty((rows, len(contract.features)), np.float32)
    for block in prepared:
        for here, there in block.places:
            result[:, there] = block.values[:, here]
    for place, column in zip(places, encoded, strict=True):
        result[:, place] = column
    return result


class Filled(Mapping[str, Column]):
    """Columns with defaults in the place of what is missing; a column is filled when it is first looked at."""

    def __init__(self, columns: Columns, contract: Contract) -> None:
        self._columns = columns
        self._fields = contract.raw_fields
        self._filled: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._filled:
            self._filled[name] = fill(self._columns[name], self._fields[name])
        return self._filled[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._fields, **self._filled})

    def __len__(self) -> int:
        return len({**self._fields, **self._filled})

    def add(self, outputs: Columns, fields: Sequence[Field]) -> None:
        """The outputs of a transform, filled."""
        self._filled |= {field.name: fill(outputs[field.name], field) for field in fields}


def with_transforms(columns: Columns, contract: Contract) -> Filled:
    """The columns with defaults filled in, and the outputs of every transform beside them."""
    filled = Filled(columns, contract)
    for plan in contract.transforms:
        filled.add(TRANSFORMS[plan.name](filled), plan.fields)
    return filled


def fill(column: Column, field: Field) -> Column:
    """`column` with its missing values replaced by the field's default; the input is left as it is."""
    if isinstance(column, Ragged) or field.default != field.default:  # a NaN: missing stays missing
        return column
    missing = column == np.array(None) if field.is_text else np.isnan(column)
    if not missing.any():
        return column
    return np.where(missing, field.default, column)


def encode(column: Column, feature: ModelFeature) -> Array:
    """Numbers as they are; text as the index in the feature's dictionary, NaN where it is not there."""
    assert not isinstance(column, Ragged), f"{feature.name} is a list; lists feed transforms, not the model"
    if not feature.field.is_text:
        return column
    return np.fromiter(map(feature.codes.get, column.tolist(), repeat(np.nan)), np.float32, len(column))
