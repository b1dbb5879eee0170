"""`marquee model promote`: choose the bundle that is served, through the gates asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from marquee.terminal import console


@click.command()
@click.argument("version")
@click.option("--note", default="", help="Why, for the history.")
@click.option(
    "--require-skew-clean",
    is_flag=True,
    help="Only if the last skew report found all that VERSION reads to be served as it is trained.",
)
@click.option(
    "--max-ndcg-drop",
    type=click.FloatRange(0, 1),
    help="Only if VERSION's NDCG@10 is not lower than the promoted bundle's by more than this, such as 0.01: on the "
    "serving log's requests where enough of them have outcomes, else on VERSION's test days.",
)
def promote(version: str, note: str, require_skew_clean: bool, max_ndcg_drop: float | None) -> None:
    """Make VERSION the bundle that is served, once it is found whole and fit for the present code.

    Running servers that follow promotions try it out in a process of its own, then switch without a failed request.
    """
    from feature_repo.workspace import Workspace
    from marquee.bundles import tell_promoted, who
    from marquee.model_gates import check_ndcg, check_skew_clean
    from ranking_service.bundle import load
    from ranking_service.models.registry import registry_of
    from ranking_service.transform_code import code_problems

    workspace = Workspace.from_environment()
    registry = registry_of(workspace)
    bundle = load(registry.folder(version))
    for problem in code_problems(version, bundle.contract):
        raise problem
    if require_skew_clean:
        console.print(check_skew_clean(workspace, registry, bundle), markup=False)
    if max_ndcg_drop is not None:
        console.print(check_ndcg(workspace, registry, bundle, most=max_ndcg_drop), markup=False)
    tell_promoted(registry.promote(bundle, at=datetime.now(UTC), by=who(), note=note), version)
