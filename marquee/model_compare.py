"""`marquee model compare`: two bundles on the same requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from marquee.terminal import console

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking_service.bundle import Bundle
    from ranking_service.models.paired import Paired

SHADOW, REPLAY = "shadow", "replay"


@click.command()
@click.argument("first")
@click.argument("second")
@click.option(
    "--source",
    type=click.Choice([SHADOW, REPLAY]),
    help="What both scored live, or the serving log scored again. [default: shadow where there is any]",
)
@click.option(
    "--sample", default=2000, show_default=True, type=click.IntRange(min=1), help="Newest requests taken."
)
@click.option(
    "--resamples",
    default=200,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Bootstrap resamplings of the users.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def compare(
    first: str, second: str, source: str | None, sample: int, resamples: int, seed: int, as_json: bool
) -> None:
    """How SECOND would rank what FIRST ranked: overlap, rank correlation, score shift by segment, latency.

    FIRST and SECOND are versions, folders, or "promoted". Online, from the shadow log (`marquee serve --shadow
    SECOND`); or offline, by scoring the serving log's requests again with both. Where the workspace's events have
    the outcomes of these requests, NDCG of both. Intervals are 95 %, by resampling users.
    """
    from feature_repo.workspace import Workspace
    from ranking_service.bundle import load
    from ranking_service.models.compare import compare as run
    from ranking_service.models.compare_table import render
    from ranking_service.models.registry import registry_of

    workspace = Workspace.from_environment()
    registry = registry_of(workspace)
    bundles = load(registry.chosen(first)), load(registry.chosen(second))
    paired = with_outcomes(workspace, taken(workspace, *bundles, source=source, sample=sample), bundles[1])
    comparison = run(paired, resamples=resamples, seed=seed)
    if as_json:
        click.echo(json.dumps(comparison.to_json(), indent=1))
    else:
        console.print(render(comparison))


def taken(workspace: Workspace, first: Bundle, second: Bundle, *, source: str | None, sample: int) -> Paired:
    """Both bundles' scores of the newest requests. Raises MissingInputError where there are none."""
    from feature_repo.errors import MissingInputError
    from ranking_service.models.paired import paired_from_shadow
    from ranking_service.models.replayed import paired_by_replay

    paired = None
    if source != REPLAY:
        paired = paired_from_shadow(workspace.shadow_log, first.version, second.version, sample=sample)
    if paired is None and source != SHADOW:
        paired = paired_by_replay(workspace.serving_log, first, second, sample=sample)
    if paired is None:
        where = {SHADOW: workspace.shadow_log, REPLAY: workspace.serving_log}.get(
            source or "", workspace.serving_log
        )
        raise MissingInputError(
            f"{where} has no requests to compare {first.version} and {second.version} on; serve some with "
            f"`marquee serve`, or with `--shadow {second.version}` beside {first.version}"
        )
    return paired


def with_outcomes(workspace: Workspace, paired: Paired, bundle: Bundle) -> Paired:
    """With the outcomes that `bundle` was trained to predict, where the workspace's events have them."""
    from materialization.events.store import EventStore
    from ranking_service.models.paired import KEYS

    label = bundle.manifest.get("label")
    if label is None or not workspace.events.exists():
        return paired
    exposures = EventStore(workspace.events).read("exposures", [*KEYS, label])
    return paired.with_labels(exposures.rename_columns([*KEYS, "label"]))
