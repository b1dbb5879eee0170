"""Which trained models a change of the declarations would break, before it is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from feature_repo.errors import BundleError, FeatureError
from feature_repo.workspace import Workspace
from materialization.feature_check.problem import Problem
from ranking_service import bundle
from ranking_service.compile_contract import compile_declared
from ranking_service.contract import Contract, Field, TransformPlan, ViewPlan
from ranking_service.models.registry import Registry, registry_of

Compile = Callable[[str, str], Contract]
"""From project and service to the contract that the declarations give."""
MEND = "restore it or retrain with `marquee model train`"


def check_models(workspace: Workspace, compile_now: Compile = compile_declared) -> list[Problem]:
    """Every published bundle against the declarations.

    What breaks the bundle that would be served is an error, what breaks another a warning before a rollback.
    """
    registry = registry_of(workspace)
    versions = registry.versions()
    served = _served(registry) if versions else ""
    problems = [] if isinstance(served, str) else [served]
    for version in versions:
        for what, mend in _findings(registry, version, compile_now):
            problems.append(Problem(f"bundle {version}", what, mend, is_error=version == served))
    return problems


def _served(registry: Registry) -> str | Problem:
    try:
        return registry.served()
    except BundleError as error:
        return Problem("models", str(error), "promote another version")


def _findings(registry: Registry, version: str, compile_now: Compile) -> Iterator[tuple[str, str]]:
    try:
        trained = bundle.load(registry.folder(version)).contract
    except BundleError as error:
        yield str(error), "publish it again or remove it"
        return
    try:
        declared = compile_now(trained.project, trained.service)
    except FeatureError as error:
        yield f"its contract cannot be compiled any more: {error}", MEND
        return
    yield from ((what, MEND) for what in breaks(trained, declared))


def breaks(trained: Contract, declared: Contract) -> Iterator[str]:
    """What a model that was trained on one contract would miss or misread under the other."""
    views = {view.name: view for view in declared.views}
    transforms = {plan.name: plan for plan in declared.transforms}
    found = [
        *chain.from_iterable(_view_breaks(view, views.get(view.name)) for view in trained.views),
        *chain.from_iterable(
            _transform_breaks(plan, transforms.get(plan.name)) for plan in trained.transforms
        ),
        *_field_breaks("the request", trained.request_fields, declared.request_fields),
    ]
    yield from found
    still_there = {field.name for view in declared.views for field in view.fields}
    still_there |= {field.name for plan in declared.transforms for field in plan.fields}
    for feature in trained.features:
        if feature.name in still_there and feature.name not in declared.feature_names:
            yield f"feature {feature.name} of {feature.origin} is no model feature any more"


def _view_breaks(trained: ViewPlan, declared: ViewPlan | None) -> list[str]:
    where = f"view {trained.name}"
    if declared is None:
        return [f"{where} is gone from the service, with {len(trained.fields)} fields"]
    found = _field_breaks(where, trained.fields, declared.fields)
    if trained.join_keys != declared.join_keys:
        found.append(
            f"{where} was keyed by {_listed(trained.join_keys)}, now by {_listed(declared.join_keys)}"
        )
    if trained.ttl_seconds != declared.ttl_seconds:
        found.append(f"{where} had a ttl of {trained.ttl_seconds:g} s, now {declared.ttl_seconds:g} s")
    if not found and trained.fingerprint != declared.fingerprint:
        found.append(
            f"{where}: its query changed (sql/{trained.name}.sql or _prelude.sql)" + _grown(trained, declared)
        )
    return found


def _transform_breaks(trained: TransformPlan, declared: TransformPlan | None) -> list[str]:
    where = f"transform {trained.name}"
    if declared is None:
        return [f"{where} is gone from the service, with {len(trained.fields)} features"]
    found = _field_breaks(where, trained.fields, declared.fields)
    if not found and trained.fingerprint != declared.fingerprint:
        found.append(f"{where}: its code changed (feature_repo/transforms.py)" + _grown(trained, declared))
    return found


def _field_breaks(where: str, trained: tuple[Field, ...], declared: tuple[Field, ...]) -> list[str]:
    now = {field.name: field for field in declared}
    before = {field.name for field in trained}
    found = []
    for index, field in enumerate(trained):
        same = now.get(field.name)
        if same is None:
            found.append(f"feature {field.name} of {where} is gone{_renamed(field, index, before, declared)}")
        elif same.value_type != field.value_type:
            found.append(f"feature {field.name} of {where} was {field.value_type}, now {same.value_type}")
        elif str(same.default) != str(field.default):
            found.append(
                f"feature {field.name} of {where} had the default {field.default!r}, now {same.default!r}"
            )
    return found


def _renamed(field: Field, index: int, before: set[str], declared: tuple[Field, ...]) -> str:
    """A new field of the same type in the same place is probably the same one."""
    candidate = declared[index] if index < len(declared) else None
    if candidate is None or candidate.name in before or candidate.value_type != field.value_type:
        return ""
    return f" (renamed to {candidate.name}?)"


def _grown(trained: ViewPlan | TransformPlan, declared: ViewPlan | TransformPlan) -> str:
    before = {field.name for field in trained.fields}
    added = [field.name for field in declared.fields if field.name not in before]
    return f", with new {_listed(added)}" if added else ""


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
