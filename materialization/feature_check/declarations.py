"""Everything the rules look at, as one value: the repository's own, or a planted one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, OnDemandFeatureView

from feature_repo.transforms import TRANSFORMS
from feature_repo.workspace import FEATURE_REPO
from materialization.declared import (
    SQL,
    BatchView,
    batch_views,
    entities,
    on_demand_views,
    services,
)


@dataclass(frozen=True)
class Declarations:
    """What feature authors wrote."""

    views: tuple[BatchView, ...]
    on_demand_views: tuple[OnDemandFeatureView, ...]
    services: tuple[FeatureService, ...]
    entities: tuple[Entity, ...]
    transforms: Mapping[str, Callable[..., Any]]
    """Request-time functions by name."""
    sql: Path
    """Folder of the queries and the prelude."""
    definitions: ModuleType
    """The one module Feast scans."""
    modules: tuple[ModuleType, ...]
    """Every other module of the feature repository."""

    @classmethod
    def of_repository(cls) -> Declarations:
        """As `feature_repo/` stands now, applied or not."""
        names = sorted(path.stem for path in FEATURE_REPO.glob("*.py") if path.stem != "__init__")
        modules = {name: importlib.import_module(f"feature_repo.{name}") for name in names}
        return cls(
            views=tuple(batch_views()),
            on_demand_views=tuple(on_demand_views()),
            services=tuple(services()),
            entities=tuple(entities()),
            transforms=TRANSFORMS,
            sql=SQL,
            definitions=modules.pop("definitions"),
            modules=tuple(modules.values()),
        )

    @property
    def join_keys(self) -> dict[str, str]:
        """Entity name to its join key."""
        return {str(entity.name): str(entity.join_key) for entity in self.entities}

    @property
    def keyed_views(self) -> list[BatchView]:
        """The views whose entities are all declared; the others are one rule's finding, and no other's."""
        return [view for view in self.views if set(view.view.entities) <= self.join_keys.keys()]

    @property
    def request_fields(self) -> dict[str, Field]:
        """What the caller of a ranking supplies, by name."""
        sources = [source for view in self.on_demand_views for source in view.source_request_sources.values()]
        return {field.name: field for source in sources for field in source.schema}

    def owned_fields(self) -> Iterator[tuple[str, Field]]:
        """Every declared field with the declaration it stands in."""
        for view in self.views:
            yield from ((f"view {view.name}", field) for field in view.fields)
        for on_demand in self.on_demand_views:
            yield from ((f"on-demand view {on_demand.name}", field) for field in on_demand.features)
        yield from (("request source", field) for field in self.request_fields.values())


def feast_objects(module: ModuleType) -> dict[str, Any]:
    """The module's Feast objects by module-level name, which is how Feast finds them."""
    kinds = (Entity, FeatureService, FeatureView, OnDemandFeatureView)
    return {name: value for name, value in vars(module).items() if isinstance(value, kinds)}
