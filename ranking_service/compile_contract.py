"""From Feast's registry to a contract: the only step between the declarations and a model that knows Feast."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from feast import FeatureStore
from feast import Field as FeastField
from feast.errors import FeastObjectNotFoundException
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.errors import FeatureError
from feature_repo.transforms import TRANSFORMS
from materialization.declared import batch_views, digest, services
from ranking_service.contract import Contract, Field, ModelFeature, Scalar, TransformPlan, ViewPlan


def compile_contract(store: FeatureStore, service_name: str) -> Contract:
    """The contract of a registered feature service, still without category dictionaries.

    Raises FeatureError for an unknown service, a view without query, or a transform without function.
    """
    try:
        service = store.get_feature_service(service_name)
    except FeastObjectNotFoundException as error:
        known = ", ".join(str(found.name) for found in services())
        raise FeatureError(f"no feature service {service_name}; there are {known}; apply it first") from error
    names = [projection.name for projection in service.feature_view_projections]
    on_demand = {view.name: view for view in on_demand_views_of(store) if view.name in names}
    stored = [name for name in names if name not in on_demand]
    transforms = [on_demand[name] for name in names if name in on_demand]
    return Contract(
        project=store.project,
        service=service_name,
        views=tuple(_view_plan(store, name) for name in stored),
        request_fields=_request_fields(transforms),
        transforms=tuple(_transform_plan(view) for view in transforms),
        features=tuple(_model_features(store, stored, transforms)),
    )


def on_demand_views_of(store: FeatureStore) -> list[OnDemandFeatureView]:
    """The registered on-demand views with their fields' descriptions and tags, which Feast stores but does not read."""
    protos = {proto.spec.name: proto.spec.features for proto in store.registry.proto().on_demand_feature_views}
    views: list[OnDemandFeatureView] = store.list_on_demand_feature_views()
    for view in views:
        view.features = [FeastField.from_proto(feature) for feature in protos[view.name]]
    return views


def _view_plan(store: FeatureStore, name: str) -> ViewPlan:
    view = store.get_feature_view(name)
    built = next((candidate for candidate in batch_views() if candidate.name == name), None)
    if built is None:
        raise FeatureError(f"view {name} is registered but not declared any more; run `marquee features apply`")
    return ViewPlan(
        name=name,
        join_keys=tuple(sorted(view.join_keys)),
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
        raise FeatureError(f"on-demand view {view.name} has no function of that name in feature_repo/transforms.py")
    fields = _fields(view.features)
    code = inspect.getsource(TRANSFORMS[view.name])
    shapes = [(field.name, field.value_type, str(field.default)) for field in fields]
    return TransformPlan(view.name, fields, digest([view.name, shapes, code]))


def _model_features(
    store: FeatureStore, stored: list[str], transforms: list[OnDemandFeatureView]
) -> Iterable[ModelFeature]:
    for view in [*(store.get_feature_view(name) for name in stored), *transforms]:
        for declared in view.features:
            field = _field(declared)
            if not field.is_list and declared.tags.get("role") != "input":
                yield ModelFeature(field, view.name, declared.description)


def _fields(declared: Iterable[FeastField]) -> tuple[Field, ...]:
    return tuple(_field(field) for field in declared)


def _field(declared: FeastField) -> Field:
    value_type = declared.dtype.to_value_type().name
    return Field(
        name=declared.name,
        value_type=value_type,
        default=parse_default(declared, value_type),
        tolerance=float(declared.tags.get("tolerance", 0)),
    )


def parse_default(declared: FeastField, value_type: str) -> Scalar:
    """The `default` tag as a value of the field's type; raises FeatureError where it is absent or unusable."""
    text = declared.tags.get("default")
    if text is None:
        raise FeatureError(f"{declared.name} declares no default; give its field the tag `default`")
    if value_type == "STRING" or value_type.endswith("_LIST"):
        return str(text)
    try:
        return float(text)
    except ValueError:
        raise FeatureError(f"{declared.name}: default {text!r} is not a number; write one, or nan") from None
