"""`marquee model list`, `promote`, `rollback` and `push`: which bundles there are, and which one is served."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from marquee.terminal import console

if TYPE_CHECKING:
    from ranking_service.models.promotions import Promotion
    from ranking_service.models.registry import Registry

FOLLOWED = "servers that follow promotions try it out now, then switch"


@click.command("list")
def list_bundles() -> int:
    """Every published bundle, oldest first; the one that `marquee serve` takes is marked.

    Bundles that cannot be served by the present code are told one by one; the exit code is 1 if the marked one is
    among them.
    """
    from feature_repo.errors import BundleError
    from feature_repo.workspace import Workspace
    from ranking_service.models.registry import registry_of

    registry = registry_of(Workspace.from_environment())
    served = mark = ""
    problems: list[str] = []
    is_served = False
    try:
        served = registry.served()
        mark = "promoted" if registry.promoted() else "newest"
    except BundleError as error:
        problems.append(str(error))
    table = Table(title=Text(registry.where), title_justify="left", box=None, pad_edge=False)
    for heading in ("version", "served", "label", "trained\nuntil", "features", "validation"):
        table.add_column(
            heading, justify="right" if heading == "features" else "left", no_wrap=heading == "version"
        )
    for version in registry.versions():
        cells, troubles = _told(registry, version)
        problems += troubles
        is_served |= version == served and not troubles
        row = (version, mark if version == served else "", *cells)
        table.add_row(*(Text(cell) for cell in row), style="bold" if version == served else None)
    console.print(table)
    for problem in problems:
        click.echo(f"problem: {problem}", err=True)
    return 0 if is_served else 1


@click.command()
@click.option("--note", default="", help="Why, for the history.")
def rollback(note: str) -> None:
    """Go back to the bundle that was promoted before; again and again, down to the first.

    It must be whole and fit the present code. What is left behind stays in the registry and can be promoted again.
    """
    from feature_repo.workspace import Workspace
    from ranking_service.bundle import load
    from ranking_service.models.promotions import before
    from ranking_service.models.registry import registry_of
    from ranking_service.transform_code import code_problems

    registry = registry_of(Workspace.from_environment())
    earlier = load(registry.folder(before(registry.promotions()).version))
    for problem in code_problems(earlier.version, earlier.contract):
        raise problem
    entry = registry.rollback(at=datetime.now(UTC), by=who(), note=note)
    console.print(f"back to {entry.version}; {FOLLOWED}", markup=False)


@click.command()
@click.argument("bundle")
def push(bundle: str) -> None:
    """Copy BUNDLE, a version of the workspace or a folder, to the registry that MARQUEE_MODELS names.

    It is checked before and is there for others once it is whole. It is not promoted.
    """
    from feature_repo.workspace import Workspace
    from ranking_service.models.registry import Registry, registry_of

    workspace = Workspace.from_environment()
    registry = registry_of(workspace)
    folder = Registry.open(workspace.models).chosen(bundle)
    registry.add(folder)
    console.print(
        f"pushed {folder.name} to {registry.where}; next: marquee model promote {folder.name}", markup=False
    )


def tell_promoted(entry: Promotion, wanted: str) -> None:
    """What a promotion led to."""
    console.print(f"promoted {wanted}; {FOLLOWED}", markup=False)
    if entry.version != wanted:
        click.echo(
            f"warning: {entry.by} promoted {entry.version} at the same moment, which is in force now",
            err=True,
        )


def who() -> str:
    """The person and the machine, for the history."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _told(registry: Registry, version: str) -> tuple[tuple[str, ...], list[str]]:
    """Label, end of the training window, features and validation of one bundle; and what keeps it from serving."""
    from feature_repo.errors import BundleError
    from ranking_service.bundle import load
    from ranking_service.transform_code import code_problems

    try:
        bundle = load(registry.folder(version))
    except BundleError as error:
        return ("damaged", "", "", ""), [str(error)]
    told = bundle.manifest
    figures = ", ".join(f"{name} {value:.4f}" for name, value in told.get("validation", {}).items())
    until = str(told.get("split", {}).get("validate_from", ""))[:16].removesuffix("T00:00")
    problems = [str(problem) for problem in code_problems(bundle.version, bundle.contract)]
    return (str(told.get("label", "")), until, str(len(bundle.contract.features)), figures), problems
