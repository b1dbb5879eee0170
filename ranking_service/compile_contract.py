"""From Feast objects to a contract: the only step between the declarations and a model that knows Feast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView
from feast import Field as FeastField
from feast.errors import FeastObjectNotFoundException

from feature_repo.errors import FeatureError
from feature_repo.transforms import TRANSFORMS
from materialization.declared import BatchView, batch_views, on_demand_views, parse_default, services
from materialization.feast_store import registered_on_demand_views
from ranking_service.contract import Contract, Field, ModelFeature, TransformPlan, ViewPlan
from ranking_service.transform_code import fingerprint


@dataclass(frozen=True)
class _Parts:
    """A service with all views that may stand in it, wherever they were read from."""

    service: FeatureService
    stored: Mapping[str, tuple[FeatureView, Sequence[str]]]
    """Views and their join keys."""
    on_demand: dict[str, OnDemandFeatureView]


def compile_contract(store: FeatureStore, service_name: str) -> Contract:
    """The contract of a registered feature service, still without category dictionaries.

    Raises FeatureError for an unknown service, a view without query, or a transform without function.
    """
    try:
        service = store.get_feature_service(service_name)
    except FeastObjectNotFoundException as error:
        raise FeatureError(f"{_unknown(service_name)}; apply it first") from error
    stored = {view.name: (view, view.join_keys) for view in store.list_batch_feature_views()}
    on_demand = {view.name: view for view in registered_on_demand_views(store)}
    return _compile(store.project, _Parts(service, stored, on_demand))


def compile_declared(project: str, service_name: str, views: Sequence[BatchView] | None = None) -> Contract:
    """The contract that the declarations would give once they are applied.

    `views` stands in for the repository's. Raises FeatureError as `compile_contract` does.
    """
    service = next((found for found in services() if found.name == service_name), None)
    if service is None:
        raise FeatureError(f"{_unknown(service_name)}; restore it")
    declared = batch_views() if views is None else views
    stored = {view.name: (view.view, view.join_keys) for view in declared}
    on_demand = {view.name: view for view in on_demand_views()}
    return _compile(project, _Parts(service, stored, on_demand), declared)


def _unknown(service_name: str) -> str:
    known = ", ".join(str(found.name) for found in services())
    return f"no feature service {service_name}; there are {known}"


def _compile(project: str, parts: _Parts, declared: Sequence[BatchView] | None = None) -> Contract:
    names = [projection.name for projection in parts.service.feature_view_projections]
    absent = [name for name in names if name not in parts.stored and name not in parts.on_demand]
    if absent:
        raise FeatureError(
            f"service {parts.service.name} lists {', '.join(absent)}, which is gone; restore it"
        )
    queries = {view.name: view for view in (batch_views() if declared is None else declared)}
    stored = {name: parts.stored[name] for name in names if name in parts.stored}
    on_demand = [parts.on_demand[name] for name in names if name in parts.on_demand]
    return Contract(
        project=project,
        service=str(parts.service.name),
        views=tuple(_view_plan(view, keys, queries.get(name)) for name, (view, keys) in stored.items()),
        request_fields=_request_fields(on_demand),
        transforms=tuple(_transform_plan(view) for view in on_demand),
        features=tuple(_model_features(parts.service, [*(view for view, _ in stored.values()), *on_demand])),
        left_out=tuple(left_out(parts.service, [*(view for view, _ in stored.values()), *on_demand])),
    )


def _view_plan(view: FeatureView, join_keys: Sequence[str], built: BatchView | None) -> ViewPlan:
    if built is None:
        raise FeatureError(f"view {view.name} is registered but not declared; run `marquee features apply`")
    return ViewPlan(
        name=str(view.name),
        join_keys=tuple(join_keys),
        fields=_fields(view.features),
        ttl_seconds=view.ttl.total_seconds() if view.ttl else 0.0,
        fingerprint=built.fingerprint(),
    )


def _request_fields(transforms: Iterable[OnDemandFeatureView]) -> tuple[Field, ...]:
    """Every request source's fields, each once, in order of first use."""
    sources = [source for view in transforms for source in view.source_request_sources.values()]
    return tuple({field.name: _field(field) for source in sources for field in source.schema}.values())


def _transform_plan(view: OnDemandFeatureView) -> TransformPlan:
    if view.name not in TRANSFORMS:
        raise FeatureError(
            f"on-demand view {view.name} has no function of that name in feature_repo/transforms.py"
        )
    fields = _fields(view.features)
    return TransformPlan(view.name, fields, fingerprint(view.name, fields))


def _model_features(
    service: FeatureService, views: Iterable[FeatureView | OnDemandFeatureView]
) -> Iterable[ModelFeature]:
    """The service's features; a view may lend it only some. Inputs of transforms and lists are no columns."""
    chosen = {projection.name: projection.features for projection in service.feature_view_projections}
    for view in views:
        names = {field.name for field in chosen[view.name]}
        for declared in view.features:
            field = _field(declared)
            if field.name in names and not field.is_list and declared.tags.get("role") != "input":
                yield ModelFeature(field, view.name, declared.description)


def left_out(service: FeatureService, views: Iterable[FeatureView | OnDemandFeatureView]) -> Iterable[str]:
    """As `Contract.left_out`."""
    chosen = {projection.name: projection.features for projection in service.feature_view_projections}
    for view in views:
        names = {field.name for field in chosen[view.name]}
        yield from (f"{view.name}:{field.name}" for field in view.features if field.name not in names)


def _fields(declared: Iterable[FeastField]) -> tuple[Field, ...]:
    return tuple(_field(field) for field in declared)


def _field(declared: FeastField) -> Field:
    return Field(
        name=declared.name,
        value_type=declared.dtype.to_value_type().name,
        default=parse_default(declared),
        tolerance=float(declared.tags.get("tolerance", 0)),
    )
