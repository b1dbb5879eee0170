"""Where a Feast view's rows lie in Redis and how: derived from the registered view alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from feast import OnDemandFeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.repo_config import RepoConfig

from materialization.data_plane.rows.keys import ViewKeys, netstring
from materialization.data_plane.rows.layout import Layout


def layout_of(view: Any) -> Layout:
    """A row has the view's features in their order.

    An on-demand view that is written may also be asked for its join keys, so they are columns too.
    """
    fields = [*view.features]
    if isinstance(view, OnDemandFeatureView):
        known = {field.name for field in fields} | {DUMMY_ENTITY_ID}
        fields += [field for field in view.entity_columns if field.name not in known]
    return _layout(tuple((field.name, field.dtype.to_value_type().name) for field in fields))


def keys_of(config: RepoConfig, view: Any, join_keys: Sequence[str] | None = None) -> ViewKeys:
    """By the view's name, never its alias, and its version where the registry versions views.

    `join_keys` only matter for a view that declares none, as those Feast makes for precomputed vectors.
    """
    declared = tuple(view.join_keys)
    return ViewKeys(config.project, view.name, declared or tuple(join_keys or ()), _version(config, view))


def ttl_seconds(view: Any) -> float:
    """0 where there is none; on-demand views have none."""
    ttl = getattr(view, "ttl", None)
    return ttl.total_seconds() if ttl else 0.0


def key_types(view: Any) -> dict[str, str]:
    """Value types of the join keys the view declares."""
    return {field.name: field.dtype.to_value_type().name for field in view.entity_columns}


def names_gone(config: RepoConfig, views: Sequence[Any], kept: Sequence[Any]) -> set[bytes]:
    """What the keys of views that are gone begin with, after their kind: all versions, unless another one stays."""
    stay = {view.name: _version(config, view) for view in kept}
    gone = set()
    for view in views:
        if view.name not in stay:
            gone.add(netstring(config.project.encode()) + netstring(view.name.encode()))
        elif _version(config, view) != stay[view.name]:
            gone.add(keys_of(config, view).name)
    return gone


def _version(config: RepoConfig, view: Any) -> int | None:
    """A pinned version beats the current one; version 0 is the view without versions, as in Feast."""
    if not config.registry.enable_online_feature_view_versioning:
        return None
    version = getattr(view.projection, "version_tag", None)
    if version is None:
        version = getattr(view, "current_version_number", None)
    return version if version and version > 0 else None


@lru_cache(maxsize=1024)
def _layout(columns: tuple[tuple[str, str], ...]) -> Layout:
    """One object per schema: what follows from it is computed once."""
    return Layout.of(columns)
