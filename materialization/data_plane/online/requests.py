"""A Feast request before Feast sees it: its entities are checked, because Feast converts what it is given."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
from feast import FeatureService, utils
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.registry.base_registry import BaseRegistry

from materialization.data_plane.rows.entities import WHOLE, EntityError, columns_of_rows, exact_values

DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")


def checked_request(
    registry: BaseRegistry,
    project: str,
    features: list[str] | FeatureService,
    entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    full_feature_names: bool,
) -> dict[str, Any]:
    """The request's columns, entities under their join key and exactly as declared.

    Raises EntityError for an entity that is missing or of another type.
    """
    context = utils._get_cached_request_context(registry, project, features, full_feature_names)
    _, _, join_key_of, _, known_keys, grouped_refs, _, request_data, _ = context
    declared = _declared(grouped_refs)
    columns = columns_of_rows(entity_rows)
    named = {
        name if name in known_keys or name in request_data else join_key_of.get(name, name): column
        for name, column in columns.items()
    }
    for name, value_type in declared.items():
        if name not in named:
            raise EntityError(
                name, f"is missing from the request, and is declared {value_type}; give its values"
            )
    if _is_from_command_line():
        named = {name: _from_text(column, declared.get(name, "")) for name, column in named.items()}
    return {
        name: exact_values(name, column, declared[name]) if name in declared else column
        for name, column in named.items()
    }


def _is_from_command_line() -> bool:
    """Whether this is `feast get-online-features`, which passes every entity as text."""
    context = click.get_current_context(silent=True)
    return context is not None and context.info_name == "get-online-features"


def _from_text(column: Any, declared: str) -> Any:
    """Whole numbers written in decimal as numbers; anything else as it is."""
    if declared not in WHOLE:
        return column
    return [int(value) if isinstance(value, str) and DECIMAL.fullmatch(value) else value for value in column]


def without_vectors(service: FeatureService) -> FeatureService:
    """The service as if it had no precomputed vectors."""
    plain = copy.copy(service)
    plain.precompute_online = False
    return plain


def _declared(grouped_refs: Sequence[tuple[Any, Any]]) -> dict[str, str]:
    """Value types of all join keys the request needs, by the names it has for them."""
    return {
        view.projection.join_key_map.get(field.name, field.name): field.dtype.to_value_type().name
        for view, _ in grouped_refs
        for field in view.entity_columns
        if field.name != DUMMY_ENTITY_ID
    }
