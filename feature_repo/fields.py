"""Short ways to declare a field with its type, meaning and default in one line.

A field's tags carry what Feast has no place for: `default` stands in for a missing value ("nan" keeps it missing
for the model), `role: input` marks fields that only feed request-time transforms and are no column of the model.
"""

from __future__ import annotations

from feast import Field
from feast.types import Array, FeastType, Float32, Float64, String

WINDOWS = (1, 3, 7)
"""Days of the sliding windows."""


def number(name: str, description: str, *, default: str = "nan") -> Field:
    """A measurement; missing stays missing unless a default is given."""
    return _field(name, Float32, description, default)


def count(name: str, description: str) -> Field:
    """A number of events; a missing row means none."""
    return _field(name, Float32, description, "0")


def text(name: str, description: str, *, role: str = "model") -> Field:
    """A category or id; empty where unknown."""
    return _field(name, String, description, "", role=role)


def instant(name: str, description: str) -> Field:
    """Unix seconds, for request-time ages."""
    return _field(name, Float64, description, "nan", role="input")


def names(name: str, description: str) -> Field:
    """A list of ids or categories, for request-time look-ups."""
    return _field(name, Array(String), description, "[]", role="input")


def weights(name: str, description: str) -> Field:
    """Numbers parallel to a list of names."""
    return _field(name, Array(Float32), description, "[]", role="input")


def derived(name: str, description: str, *, default: str = "nan") -> Field:
    """A number computed at request time."""
    return _field(name, Float64, description, default)


def windowed_counts(prefix: str, owner: str) -> list[Field]:
    """Exposures and outcomes over each window."""
    kinds = {
        "exposures": "exposures",
        "clicks": "clicks",
        "long_views": "long views",
        "completions": "views to the end",
        "likes": "likes",
    }
    return [
        count(f"{prefix}_{kind}_{days}d", f"{meaning} of {owner} in the last {days} x 24 h")
        for days in WINDOWS
        for kind, meaning in kinds.items()
    ]


def windowed_rates(prefix: str, owner: str) -> list[Field]:
    """Smoothed outcome rates over each window."""
    kinds = {"click_rate": "clicks", "long_view_rate": "long views", "completion_rate": "views to the end"}
    return [
        number(
            f"{prefix}_{kind}_{days}d",
            f"{meaning} per exposure of {owner} in the last {days} x 24 h, smoothed toward the service's rate",
        )
        for days in WINDOWS
        for kind, meaning in kinds.items()
    ]


def _field(name: str, dtype: FeastType, description: str, default: str, role: str = "model") -> Field:
    return Field(name=name, dtype=dtype, description=description, tags={"default": default, "role": role})
