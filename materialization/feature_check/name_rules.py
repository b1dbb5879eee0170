"""Names that would meet: in a service's columns, in the training join, or in a hash of the online store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import mmh3
from feast import FeatureService

from materialization.declared import CREATED_TIMESTAMP, EVENT_TIMESTAMP
from materialization.feature_check.declarations import Declarations
from materialization.feature_check.problem import Problem

RESERVED = frozenset({EVENT_TIMESTAMP, CREATED_TIMESTAMP, "row_id", "exposure_id", "request_id", "label"})
"""Columns that the training join carries beside keys, request fields and features."""


def unique_in_service(declared: Declarations) -> Iterator[Problem]:
    """A feature name that two views of one service share: its columns could not be told apart."""
    for service in declared.services:
        owners = defaultdict(list)
        for view, names in _columns(declared, service).items():
            for name in names:
                owners[name].append(view)
        for name, views in sorted(owners.items()):
            if len(views) > 1:
                yield Problem(
                    f"service {service.name}",
                    f"feature {name} stands in {' and '.join(views)}",
                    "rename it in one of them",
                )


def _columns(declared: Declarations, service: FeatureService) -> dict[str, list[str]]:
    """Field names of the service's views; a view named twice counts once."""
    chosen = {projection.name for projection in service.feature_view_projections}
    stored = {view.name: [field.name for field in view.fields] for view in declared.views}
    computed = {view.name: [field.name for field in view.features] for view in declared.on_demand_views}
    return {name: names for name, names in (stored | computed).items() if name in chosen}


def unreserved(declared: Declarations) -> Iterator[Problem]:
    """A feature named like a key, a timestamp, a request field or the row id."""
    keys = set(declared.join_keys.values())
    for where, field in declared.owned_fields():
        is_request = where == "request source"
        if field.name in RESERVED or field.name in keys:
            kind = "a join key" if field.name in keys else "a column of the training join"
            yield Problem(where, f"{field.name} is also {kind}", "rename the feature")
        elif not is_request and field.name in declared.request_fields:
            yield Problem(where, f"{field.name} is also a request field", "rename the feature")


def distinct_in_store(declared: Declarations) -> Iterator[Problem]:
    """Two features that Feast's Redis store would keep in one place.

    It addresses a value by the 32-bit murmur3 of `view:feature` in a hash that all views of the same join
    keys share, and does not look for collisions: the later write would silently win.
    """
    places = defaultdict(list)
    for view in declared.keyed_views:
        for field in view.fields:
            name = f"{view.name}:{field.name}"
            places[frozenset(view.view.entities), mmh3.hash(name, signed=False)].append(name)
    for (entities, place), names in places.items():
        if len(names) > 1:
            yield Problem(
                " and ".join(f"view {view}" for view in dict.fromkeys(name.split(":")[0] for name in names)),
                f"{' and '.join(names)} have the same hash {place:08x} in the online store's rows of "
                f"{', '.join(sorted(entities))}",
                "rename one of them",
            )
