"""What belongs together is there on both sides: views and queries, transforms, services, definitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from materialization.feature_check.declarations import Declarations, feast_objects
from materialization.feature_check.problem import Problem


def entities_known(declared: Declarations) -> Iterator[Problem]:
    """Views keyed by an entity that is not declared."""
    for view in declared.views:
        for entity in sorted(set(view.view.entities) - declared.join_keys.keys()):
            yield Problem(
                f"view {view.name}", f"is keyed by {entity}, which is no declared entity", "declare it"
            )


def services_whole(declared: Declarations) -> Iterator[Problem]:
    """Services that name views which are gone, or on-demand views without the views they compute from."""
    on_demand = {view.name: view for view in declared.on_demand_views}
    known = {view.name for view in declared.views} | on_demand.keys()
    for service in declared.services:
        where = f"service {service.name}"
        chosen = [projection.name for projection in service.feature_view_projections]
        for name in chosen:
            if name not in known:
                yield Problem(where, f"lists view {name}, which is not declared", "restore it or take it out")
            for source in (
                on_demand[name].source_feature_view_projections.values() if name in on_demand else ()
            ):
                if source.name not in chosen:
                    yield Problem(
                        where,
                        f"lists on-demand view {name} without its source {source.name}",
                        f"add {source.name} to the service",
                    )


def queries_paired(declared: Declarations) -> Iterator[Problem]:
    """Views without a query, and queries without a view."""
    names = {view.name for view in declared.views}
    for view in declared.views:
        if not view.sql_path.is_file():
            yield Problem(f"view {view.name}", f"has no query sql/{view.sql_path.name}", "write it")
    for path in sorted(declared.sql.glob("*.sql")):
        if path.stem not in names and not path.stem.startswith("_"):
            yield Problem(
                f"sql/{path.name}", "belongs to no declared view", "declare the view or remove the file"
            )


def transforms_paired(declared: Declarations) -> Iterator[Problem]:
    """On-demand views without a function, and functions without an on-demand view."""
    names = {view.name for view in declared.on_demand_views}
    for name in sorted(names - declared.transforms.keys()):
        yield Problem(
            f"on-demand view {name}", "has no function in feature_repo/transforms.py", "add it to TRANSFORMS"
        )
    for name in sorted(declared.transforms.keys() - names):
        yield Problem(
            f"transform {name}",
            "has no on-demand view",
            "declare one in request_views.py or remove the function",
        )


def all_defined(declared: Declarations) -> Iterator[Problem]:
    """Objects that Feast will not see, or that only Feast will see."""
    seen = feast_objects(declared.definitions)
    listed = set(getattr(declared.definitions, "__all__", ()))
    for name in sorted(seen.keys() - listed):
        yield Problem("definitions.py", f"imports {name} but __all__ lacks it", "add it to __all__")
    identities = {id(value) for value in seen.values()}
    reported = set()
    for module in declared.modules:
        for name, value in feast_objects(module).items():
            if id(value) not in identities and id(value) not in reported:
                reported.add(id(value))
                yield Problem(
                    f"{module.__name__.rpartition('.')[2]}.py",
                    f"declares {name}, which definitions.py does not import: Feast never sees it",
                    "import it in definitions.py and add it to __all__, or remove it",
                )


def names_unique(declared: Declarations) -> Iterator[Problem]:
    """Two objects of one name: the registry would keep one of them."""
    views = [*(view.name for view in declared.views), *(view.name for view in declared.on_demand_views)]
    for kind, names in (
        ("view", views),
        ("service", [service.name for service in declared.services]),
        ("entity", [entity.name for entity in declared.entities]),
    ):
        for name, times in Counter(names).items():
            if times > 1:
                yield Problem(f"{kind} {name}", f"is declared {times} times", "rename all but one")
