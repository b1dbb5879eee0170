"""Each feature of a logged candidate in words: where its value comes from, how old it is, what it did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ranking_service.contract import Contract, Field, ModelFeature, Scalar, ViewPlan
from ranking_service.online.explain import Explanation
from ranking_service.online.fetched import Origin
from ranking_service.serving_log.tables import EVENT_TIME_PREFIX, MODEL_PREFIX, PRESENCE_PREFIX

DEFAULT, SENT, COMPUTED = "default", "request", "computed"
WITH_VALUE = {Origin.FOUND: "stored", Origin.LAST_KNOWN: "last known"}
WITHOUT_VALUE = {Origin.EXPIRED: "expired", Origin.UNREAD: "unread"}
"""In these cases the default takes the value's place because of the row; else because the row has no value."""


@dataclass(frozen=True)
class FeatureLine:
    """One feature of one candidate."""

    name: str
    origin: str
    """stored, last known; default, expired, unread: the default took its place; request; computed."""
    raw: Any
    """As stored or sent; None when missing, and for what is computed."""
    default: Scalar | None
    """Where it was used."""
    age_seconds: float | None
    """Of the stored row at request time."""
    value: Scalar | None
    """What the model saw, a category by its name; None when missing, and for what the model does not read."""
    contribution: float | None
    """To the margin; None for what the model does not read."""
    description: str


def feature_lines(
    rows: pa.Table, contract: Contract, explanations: Sequence[Explanation]
) -> list[tuple[FeatureLine, ...]]:
    """For each row the model's features, largest contribution first, then what only feeds transforms.

    `rows` has everything that was logged of candidates and request side by side; without the model's answer there
    are no `explanations`.
    """
    views = {field.name: view for view in contract.views for field in view.fields}
    features = {feature.name: feature for feature in contract.features}
    names = [*features, *(name for name in contract.raw_fields if name not in features)]
    found = []
    for place, row in enumerate(rows.to_pylist()):
        entries = explanations[place].top if explanations else ()
        effects = {entry.feature.name: entry.contribution for entry in entries}
        ordered = sorted(names, key=lambda name: -abs(effects.get(name, 0.0)))
        found.append(
            tuple(
                _line(row, contract, features.get(name), name, views.get(name), effects.get(name))
                for name in ordered
            )
        )
    return found


def _line(
    row: dict[str, Any],
    contract: Contract,
    feature: ModelFeature | None,
    name: str,
    view: ViewPlan | None,
    contribution: float | None,
) -> FeatureLine:
    field = contract.raw_fields.get(name)
    raw = row[name] if field else None
    origin = _origin(row, raw, field, view)
    event = row[EVENT_TIME_PREFIX + view.name] if view else None
    return FeatureLine(
        name=name,
        origin=origin,
        raw=raw,
        default=_default(field) if field and raw is None else None,
        age_seconds=row["request_timestamp"] - event.timestamp() if event else None,
        value=_seen(row, feature) if feature else None,
        contribution=contribution,
        description=feature.description if feature else "",
    )


def _origin(row: dict[str, Any], raw: Any, field: Field | None, view: ViewPlan | None) -> str:
    if field is None:
        return COMPUTED
    if view is None:
        return DEFAULT if raw is None else SENT
    presence = Origin[row[PRESENCE_PREFIX + view.name].upper()]
    if raw is None or presence not in WITH_VALUE:
        return WITHOUT_VALUE.get(presence, DEFAULT)
    return WITH_VALUE[presence]


def _default(field: Field) -> Scalar | None:
    """None where the default is to stay missing."""
    return None if isinstance(field.default, float) and math.isnan(field.default) else field.default


def _seen(row: dict[str, Any], feature: ModelFeature) -> Scalar | None:
    value: float | None = row[MODEL_PREFIX + feature.name]
    return feature.categories[int(value)] if value is not None and feature.categories else value
