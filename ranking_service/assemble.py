"""The one step from fetched columns to the model's matrix, called by training, serving and replay alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Array, Column, Columns, Ragged
from feature_repo.transforms import TRANSFORMS
from ranking_service.contract import Contract, Field, ModelFeature


def assemble(columns: Columns, contract: Contract) -> npt.NDArray[np.float32]:
    """Turn raw columns (stored features and request fields, all of one length) into the model's matrix.

    Missing stored and request values take their declared defaults, the request-time transforms run in the
    contract's order on the result, text becomes dictionary codes.

    Returns float32 [rows, features] in the contract's order; NaN is missing.
    """
    return matrix(with_transforms(columns, contract), contract)


def with_transforms(columns: Columns, contract: Contract) -> dict[str, Column]:
    """The columns with defaults filled in, and the outputs of every transform beside them."""
    stored = [field for view in contract.views for field in view.fields]
    filled = {field.name: fill(columns[field.name], field) for field in (*stored, *contract.request_fields)}
    for plan in contract.transforms:
        outputs = TRANSFORMS[plan.name](filled)
        filled |= {field.name: fill(outputs[field.name], field) for field in plan.fields}
    return filled


def fill(column: Column, field: Field) -> Column:
    """`column` with its missing values replaced by the field's default; the input is left as it is."""
    if isinstance(column, Ragged):
        return column
    missing = column == np.array(None) if field.is_text else np.isnan(column)
    if not missing.any():
        return column
    return np.where(missing, field.default, column)


def matrix(filled: Mapping[str, Column], contract: Contract) -> npt.NDArray[np.float32]:
    """Stack the model's features: float32 [rows, features]."""
    columns = [encode(filled[feature.name], feature) for feature in contract.features]
    result = np.empty((len(columns[0]), len(columns)), np.float32)
    for index, column in enumerate(columns):
        result[:, index] = column
    return result


def encode(column: Column, feature: ModelFeature) -> Array:
    """Numbers as they are; text as the index in the feature's dictionary, NaN where it is not there."""
    assert not isinstance(column, Ragged), f"{feature.name} is a list; lists feed transforms, not the model"
    if not feature.field.is_text:
        return column
    codes = {category: float(code) for code, category in enumerate(feature.categories)}
    return np.array([codes.get(value, np.nan) for value in column], np.float32)
