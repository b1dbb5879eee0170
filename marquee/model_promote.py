"""`marquee model promote`: choose the bundle that is served, through the gates asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import click


@click.command()
@click.argument("version")
@click.option("--note", default="", help="Why, for the history.")
def promote(version: str, note: str) -> None:
    """Make VERSION the bundle that is served, once it is found whole and fit for the present code."""
    from feature_repo.workspace import Workspace
    from marquee.bundles import tell_promoted, who
    from ranking_service.bundle import load
    from ranking_service.models.registry import registry_of
    from ranking_service.transform_code import code_problems

    registry = registry_of(Workspace.from_environment())
    bundle = load(registry.folder(version))
    for problem in code_problems(version, bundle.contract):
        raise problem
    tell_promoted(registry.promote(bundle, at=datetime.now(UTC), by=who(), note=note), version)
