"""What a model expects: its features in order, and the plan by which serving and replay obtain them.

Compiled once from the Feast registry (`ranking_service.compile_contract`), stored in the bundle's manifest, and
read back without importing Feast.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

Scalar = float | str
LIST_TYPES = frozenset({"STRING_LIST", "FLOAT_LIST", "DOUBLE_LIST", "INT64_LIST"})
TEXT_TYPES = frozenset({"STRING"})


@dataclass(frozen=True)
class Field:
    """One named value: a stored feature, a request field, or the output of a transform."""

    name: str
    value_type: str
    """Feast's value type: FLOAT, DOUBLE, INT64, STRING, STRING_LIST, FLOAT_LIST ..."""
    default: Scalar
    """Stands in for a missing value; NaN keeps it missing for the model. Unused for lists (empty)."""
    tolerance: float = 0.0
    """Largest difference between served and replayed value that counts as equal, relative, beside 1e-9 absolute."""

    @property
    def is_list(self) -> bool:
        return self.value_type in LIST_TYPES

    @property
    def is_text(self) -> bool:
        return self.value_type in TEXT_TYPES


@dataclass(frozen=True)
class ViewPlan:
    """How one stored view is read."""

    name: str
    join_keys: tuple[str, ...]
    """In the view's order: ("user_id",), ("item_id",) or ("user_id", "item_id")."""
    fields: tuple[Field, ...]
    ttl_seconds: float
    """A row older than this at request time counts as missing; 0 means no limit."""
    fingerprint: str
    """Hash of the view's schema, keys, ttl and SQL."""


@dataclass(frozen=True)
class TransformPlan:
    """One request-time transform: the on-demand view's name is its name in `feature_repo.transforms`."""

    name: str
    fields: tuple[Field, ...]
    fingerprint: str


@dataclass(frozen=True)
class ModelFeature:
    """One column of the model's matrix."""

    field: Field
    origin: str
    """The view or transform it comes from."""
    description: str
    categories: tuple[str, ...] = ()
    """Dictionary of a text feature, frozen at training: the code is the index; unseen and missing are NaN."""

    @property
    def name(self) -> str:
        return self.field.name

    @cached_property
    def codes(self) -> dict[str, float]:
        """Of the categories."""
        return {category: float(code) for code, category in enumerate(self.categories)}


@dataclass(frozen=True)
class Contract:
    """Everything between the store and the model's matrix."""

    project: str
    service: str
    views: tuple[ViewPlan, ...]
    request_fields: tuple[Field, ...]
    """What the caller supplies: surface, device, request_timestamp (Unix seconds), session_position ..."""
    transforms: tuple[TransformPlan, ...]
    features: tuple[ModelFeature, ...]
    """In the order of the model's columns."""
    left_out: tuple[str, ...] = ()
    """References `view:field` of fields, of stored and on-demand views, that the feature service does not name."""

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @cached_property
    def raw_fields(self) -> dict[str, Field]:
        """Stored features and request fields by name."""
        stored = [field for view in self.views for field in view.fields]
        return {field.name: field for field in (*stored, *self.request_fields)}

    def view(self, name: str) -> ViewPlan:
        return next(view for view in self.views if view.name == name)

    def to_json(self) -> dict[str, Any]:
        return {key: without_nan(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Contract:
        return cls(
            project=raw["project"],
            service=raw["service"],
            views=tuple(
                ViewPlan(
                    name=view["name"],
                    join_keys=tuple(view["join_keys"]),
                    fields=_fields(view["fields"]),
                    ttl_seconds=view["ttl_seconds"],
                    fingerprint=view["fingerprint"],
                )
                for view in raw["views"]
            ),
            request_fields=_fields(raw["request_fields"]),
            transforms=tuple(
                TransformPlan(plan["name"], _fields(plan["fields"]), plan["fingerprint"])
                for plan in raw["transforms"]
            ),
            features=tuple(
                ModelFeature(
                    field=_field(feature["field"]),
                    origin=feature["origin"],
                    description=feature["description"],
                    categories=tuple(feature["categories"]),
                )
                for feature in raw["features"]
            ),
            left_out=tuple(raw.get("left_out", ())),
        )


def _fields(raw: list[dict[str, Any]]) -> tuple[Field, ...]:
    return tuple(_field(entry) for entry in raw)


def _field(raw: dict[str, Any]) -> Field:
    default = math.nan if raw["default"] is None else raw["default"]
    return Field(raw["name"], raw["value_type"], default, raw["tolerance"])


def without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
