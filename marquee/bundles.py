"""`marquee model list` and `promote`: which bundles there are, and which one is served."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from marquee.terminal import console


@click.command("list")
def list_bundles() -> int:
    """Every published bundle, oldest first; the one that `marquee serve` takes is marked."""
    from feature_repo.errors import BundleError
    from feature_repo.workspace import Workspace
    from ranking_service.bundle import latest, promoted, versions

    models = Workspace.from_environment().models
    problem = served = mark = ""
    try:
        served = latest(models).name
        mark = "promoted" if promoted(models) else "newest"
    except BundleError as error:
        problem = str(error)
    table = Table(title=str(models), title_justify="left")
    for heading in ("version", "served", "label", "trained until", "features", "validation", "state"):
        table.add_column(heading, justify="right" if heading == "features" else "left", overflow="fold")
    for version in versions(models):
        cells = (version, mark if version == served else "", *_told(models / version))
        table.add_row(*(Text(cell) for cell in cells), style="bold" if version == served else None)
    console.print(table)
    if problem:
        click.echo(f"error: {problem}", err=True)
    return 1 if problem else 0


@click.command()
@click.argument("version")
def promote(version: str) -> None:
    """Make VERSION the bundle that is served, once it is found whole and fit for the present code.

    A running server keeps the bundle it has.
    """
    from feature_repo.workspace import Workspace
    from ranking_service.bundle import load, published
    from ranking_service.bundle import promote as run
    from ranking_service.transform_code import code_problems

    models = Workspace.from_environment().models
    bundle = load(published(models, version))
    for problem in code_problems(version, bundle.contract):
        raise problem
    run(models, version)
    console.print(f"promoted {version}; next: start marquee serve again", markup=False)


def _told(path: Path) -> tuple[str, ...]:
    """Label, end of the training window, features, validation and state of one bundle."""
    from feature_repo.errors import BundleError
    from ranking_service.bundle import load
    from ranking_service.transform_code import code_problems

    try:
        bundle = load(path)
    except BundleError as error:
        return "", "", "", "", str(error)
    told = bundle.manifest
    figures = ", ".join(f"{name} {value:.4f}" for name, value in told.get("validation", {}).items())
    until = str(told.get("split", {}).get("validate_from", ""))[:16]
    problems = [str(problem) for problem in code_problems(bundle.version, bundle.contract)]
    state = "; ".join(problems) or "whole"
    return str(told.get("label", "")), until, str(len(bundle.contract.features)), figures, state
