"""How the declarations differ from what is applied: Feast answers from its registry, not from the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from feast import FeatureService, FeatureStore, Field, OnDemandFeatureView

from feature_repo.workspace import Workspace
from materialization.declared import BatchView
from materialization.feast_store import open_store, registered_on_demand_views
from materialization.feature_check.declarations import Declarations
from materialization.feature_check.problem import Problem

Shape = dict[str, Any]
"""What of a declaration can change, by the word a person uses for it."""


def applied(workspace: Workspace, declared: Declarations) -> Iterator[Problem]:
    """What `apply` would add, change or remove; nothing while no registry exists."""
    if not workspace.registry.is_file():
        return
    store = open_store(workspace)
    in_files, in_registry = _declared_shapes(workspace, declared), _registered_shapes(store)
    for name in sorted(in_files.keys() | in_registry.keys()):
        for what in _differences(in_files.get(name), in_registry.get(name)):
            yield Problem(name, what, "run `marquee features apply`", is_error=False)


def _differences(declared: Shape | None, registered: Shape | None) -> Iterator[str]:
    if declared is None:
        yield "is in the registry but not declared any more"
    elif registered is None:
        yield "is declared but not applied"
    else:
        for aspect, value in declared.items():
            if registered[aspect] != value:
                yield f"has another {aspect} than the registry"


def _declared_shapes(workspace: Workspace, declared: Declarations) -> dict[str, Shape]:
    shapes = {f"view {view.name}": _view_shape(view, workspace) for view in declared.keyed_views}
    shapes |= {f"on-demand view {view.name}": _on_demand_shape(view) for view in declared.on_demand_views}
    return shapes | {f"service {service.name}": _service_shape(service) for service in declared.services}


def _view_shape(view: BatchView, workspace: Workspace) -> Shape:
    return {
        "join keys": sorted(view.join_keys),
        "ttl": view.view.ttl,
        "source path": str(workspace.feature_path(view.name) / "*" / "*.parquet"),
        **_documented(view.view),
    }


def _registered_shapes(store: FeatureStore) -> dict[str, Shape]:
    shapes = {
        f"view {view.name}": {
            "join keys": sorted(view.join_keys),
            "ttl": view.ttl,
            "source path": view.batch_source.path,
            **_documented(view),
        }
        for view in store.list_batch_feature_views()
    }
    on_demand = registered_on_demand_views(store)
    shapes |= {f"on-demand view {view.name}": _on_demand_shape(view) for view in on_demand}
    return shapes | {
        f"service {service.name}": _service_shape(service) for service in store.list_feature_services()
    }


def _on_demand_shape(view: OnDemandFeatureView) -> Shape:
    return {
        "function": view.feature_transformation.udf_string,
        "set of sources": {source.name for source in view.source_feature_view_projections.values()},
        "request source": [_fields(source.schema) for source in view.source_request_sources.values()],
        **_documented(view),
    }


def _service_shape(service: FeatureService) -> Shape:
    chosen = [
        (projection.name, [field.name for field in projection.features])
        for projection in service.feature_view_projections
    ]
    return {"list of features": chosen, "description": service.description, "set of tags": dict(service.tags)}


def _documented(view: Any) -> Shape:
    return {
        "list of fields": _fields(view.features),
        "description": view.description,
        "set of tags": dict(view.tags),
    }


def _fields(declared: Iterable[Field]) -> list[tuple[str, str, str, dict[str, str]]]:
    return [(field.name, str(field.dtype), field.description, dict(field.tags)) for field in declared]
