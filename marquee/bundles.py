"""`marquee model list` and `promote`: which bundles there are, and which one is served."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from marquee.terminal import console


@click.command("list")
def list_bundles() -> int:
    """Every published bundle, oldest first; the one that `marquee serve` takes is marked.

    Bundles that cannot be served by the present code are told one by one; the exit code is 1 if the marked one is
    among them.
    """
    from feature_repo.errors import BundleError
    from feature_repo.workspace import Workspace
    from ranking_service.bundle import latest, promoted, versions

    models = Workspace.from_environment().models
    served = mark = ""
    problems: list[str] = []
    is_served = False
    try:
        served = latest(models).name
        mark = "promoted" if promoted(models) else "newest"
    except BundleError as error:
        problems.append(str(error))
    table = Table(title=str(models), title_justify="left", box=None, pad_edge=False)
    for heading in ("version", "served", "label", "trained\nuntil", "features", "validation"):
        table.add_column(
            heading, justify="right" if heading == "features" else "left", no_wrap=heading == "version"
        )
    for version in versions(models):
        cells, troubles = _told(models / version)
        problems += troubles
        is_served |= version == served and not troubles
        row = (version, mark if version == served else "", *cells)
        table.add_row(*(Text(cell) for cell in row), style="bold" if version == served else None)
    console.print(table)
    for problem in problems:
        click.echo(f"problem: {problem}", err=True)
    return 0 if is_served else 1


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


def _told(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Label, end of the training window, features and validation of one bundle; and what keeps it from serving."""
    from feature_repo.errors import BundleError
    from ranking_service.bundle import load
    from ranking_service.transform_code import code_problems

    try:
        bundle = load(path)
    except BundleError as error:
        return ("damaged", "", "", ""), [str(error)]
    told = bundle.manifest
    figures = ", ".join(f"{name} {value:.4f}" for name, value in told.get("validation", {}).items())
    until = str(told.get("split", {}).get("validate_from", ""))[:16].removesuffix("T00:00")
    problems = [str(problem) for problem in code_problems(bundle.version, bundle.contract)]
    return (str(told.get("label", "")), until, str(len(bundle.contract.features)), figures), problems
