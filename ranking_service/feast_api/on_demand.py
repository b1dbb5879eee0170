"""On-demand features as Feast computes them: by the shared transforms, on values as they are stored and sent.

Missing numbers stay missing, missing text is empty: the defaults that stand in for missing values in a model's
input are not filled in, as Feast does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from feature_repo.columns import Array, Column, Columns, Ragged, take
from feature_repo.errors import RequestError
from feature_repo.transforms import TRANSFORMS
from materialization.data_plane.online.batched_fetch import FetchedView
from materialization.data_plane.rows.layout import FIXED
from materialization.data_plane.rows.value_wire import numbers_on_wire, texts_on_wire
from ranking_service.contract import Contract, Field, TransformPlan

NUMBERS = ("double_val", "float_val", "int64_val", "int32_val", "unix_timestamp_val", "bool_val")
"""Fields of Feast's Value that a number may come in."""


@dataclass(frozen=True)
class OnDemand:
    """One on-demand view of a query."""

    plan: TransformPlan
    features: tuple[str, ...]
    """That are asked for."""
    stored: Mapping[str, str]
    """The view's read by the stored feature that the transform looks at."""
    request_fields: tuple[Field, ...]
    """That it looks at."""

    def values(self, fetched: Mapping[str, FetchedView], request: Columns, count: int) -> Iterator[bytes]:
        """The features' values on the wire, `count` each."""
        columns: dict[str, Column] = {one.name: request[one.name] for one in self.request_fields}
        for name, read in self.stored.items():
            columns[name] = _repeated(stored_column(fetched[read], name), count)
        outputs = TRANSFORMS[self.plan.name](columns)
        fields = {one.name: one for one in self.plan.fields}
        return (_on_wire(fields[name], outputs[name]) for name in self.features)


def inputs_of(contract: Contract, plan: TransformPlan) -> tuple[str, ...]:
    """The stored features and request fields that a transform looks at, found by running it on a row of nothing."""
    looked = _Looked({name: _blank(one) for name, one in contract.raw_fields.items()})
    TRANSFORMS[plan.name](looked)
    return (*looked.names,)


class _Looked(Mapping[str, Column]):
    """Columns that remember which of them were looked at."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> Column:
        self.names[name] = None
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def _blank(one: Field) -> Column:
    if one.is_list:
        return Ragged.from_lists([None], object if one.value_type == "STRING_LIST" else np.float64)
    return np.full(1, "", object) if one.is_text else np.full(1, np.nan)


def stored_column(fetched: FetchedView, name: str) -> Column:
    """As a transform takes it; rows that are not there, or too old, hold nothing."""
    rows = fetched.rows
    column = rows.layout.columns[rows.layout.places[name]]
    if column.is_fixed:
        return rows.numbers(column)
    if column.value_type == "STRING":
        texts = rows.texts(column)
        return np.where(texts == np.array(None), "", texts)
    lists = rows.lists(column)
    return Ragged(lists.offsets, lists.values, np.arange(len(rows)))


def request_column(where: str, values: Any, one: Field) -> Array:
    """A request field's column from a `feast.types.RepeatedValue`. Raises RequestError for other types."""
    found = [_plain(where, value, one) for value in values.val]
    return np.array(found, object if one.is_text else np.float64)


def _plain(where: str, value: Any, one: Field) -> float | str:
    kind = value.WhichOneof("val")
    if kind in (None, "null_val"):
        return "" if one.is_text else np.nan
    if one.is_text and kind == "string_val":
        return str(value.string_val)
    if not one.is_text and not one.is_list and kind in NUMBERS:
        return float(getattr(value, kind))
    raise RequestError(where, f"is declared {one.value_type}, found a {kind.removesuffix('_val')}")


def _repeated(column: Column, count: int) -> Column:
    return column if len(column) == count else take(column, np.zeros(count, np.intp))


def _on_wire(one: Field, output: Column) -> bytes:
    assert not isinstance(output, Ragged), f"{one.name} is a list; transforms give numbers or text"
    if one.value_type not in FIXED:
        return texts_on_wire(str(text) for text in output.tolist())
    numbers = np.asarray(output, np.float64)
    nulls = np.isnan(numbers)
    return numbers_on_wire(one.value_type, np.where(nulls, 0, numbers).astype(FIXED[one.value_type]), nulls)
