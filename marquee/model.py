"""`marquee model`: train, evaluate, list and promote rankers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from marquee.lazy import LazyGroup, Verb
from marquee.terminal import INTERVAL, console

model = LazyGroup(
    "model",
    verbs={
        "train": Verb("marquee.model:train", "Fit a ranker and publish its bundle."),
        "evaluate": Verb("marquee.model:evaluate", "Judge a bundle on its test days, against baselines."),
        "list": Verb("marquee.bundles:list_bundles", "Show every bundle, and which one is served."),
        "show": Verb("marquee.model_show:show", "Show what a bundle was trained on, expects, and is worth."),
        "promote": Verb("marquee.model_promote:promote", "Choose the bundle that is served."),
        "compare": Verb(
            "marquee.model_compare:compare", "Two bundles on the same requests, live or replayed."
        ),
        "rollback": Verb("marquee.bundles:rollback", "Go back to the bundle that was promoted before."),
        "push": Verb("marquee.bundles:push", "Copy a bundle to the registry of all servers."),
    },
    help="Train, evaluate, list and promote rankers.",
)


@click.command()
@click.option("--service", default="ranker_v1", show_default=True, help="Feature service.")
@click.option(
    "--label",
    type=click.Choice(["long_view", "completed", "click", "like"]),
    help="Outcome to predict [default: the event source's own]",
)
@click.option(
    "--objective",
    type=click.Choice(["binary:logistic", "rank:ndcg"]),
    default="binary:logistic",
    show_default=True,
    help="What XGBoost optimizes.",
)
@click.option(
    "--validate-days",
    default=1,
    show_default=True,
    type=click.IntRange(1, 3660),
    help="Days before the test days that stop the training.",
)
@click.option(
    "--test-days",
    default=3,
    show_default=True,
    type=click.IntRange(1, 3660),
    help="Last days, never trained on.",
)
@click.option(
    "--rounds", default=1500, show_default=True, type=click.IntRange(1, 1_000_000), help="Most trees."
)
@click.option(
    "--patience",
    default=60,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="Trees without improvement before stopping.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**31 - 1),
    help="Of row and column sampling.",
)
@click.option(
    "--threads", default=0, type=click.IntRange(0, 1024), help="XGBoost threads [default: every core]"
)
@click.option(
    "--from",
    "origin",
    type=click.Choice(["join", "serving-log"]),
    default="join",
    show_default=True,
    help="Features joined to all exposures, or as logged when they were served.",
)
@click.option(
    "--attribution",
    type=INTERVAL,
    default="1h",
    show_default=True,
    help="With serving-log: how long after a request its outcomes count.",
)
def train(
    service: str,
    label: str | None,
    objective: str,
    validate_days: int,
    test_days: int,
    rounds: int,
    patience: int,
    seed: int,
    threads: int,
    origin: str,
    attribution: timedelta,
) -> None:
    """Join labels with features as known at request time, fit with early stopping, publish a bundle.

    --from serving-log joins nothing: it takes the inputs that the model was given when it served, and the outcomes
    that came within --attribution (docs/serving-log.md says when to prefer which).
    """
    from feature_repo.workspace import Workspace
    from materialization.events.store import EventStore
    from materialization.progress import spoken
    from ranking_service.training.from_log import train_from_log
    from ranking_service.training.labelled import Split
    from ranking_service.training.train import Recipe
    from ranking_service.training.train import train as train_from_join

    workspace = Workspace.from_environment()
    recipe = Recipe(
        service=service,
        label=label,
        objective=objective,
        rounds=rounds,
        patience=patience,
        seed=seed,
        threads=threads,
    )
    with spoken(console) as step:
        if origin == "join":
            first, last = EventStore(workspace.events).span()
            split = Split.by_days(first, last, validate_days=validate_days, test_days=test_days)
            path = train_from_join(workspace, recipe, split=split, now=datetime.now(UTC), step=step)
        else:
            path = train_from_log(
                workspace,
                recipe,
                attribution=attribution,
                validate_days=validate_days,
                test_days=test_days,
                now=datetime.now(UTC),
                step=step,
            )
    console.print(f"published {path}; next: marquee model evaluate")


@click.command()
@click.option("--bundle", "named", help="A version, or a bundle's folder [default: the promoted or newest]")
@click.option(
    "--resamples",
    default=200,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Bootstrap resamplings of the users.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Of the bootstrap and the random baseline.",
)
def evaluate(named: str | None, resamples: int, seed: int) -> None:
    """Judge a bundle on its test days, next to baselines and, on simulated events, the best possible ranking."""
    from feature_repo.workspace import Workspace
    from materialization.progress import bars
    from ranking_service.bundle import load
    from ranking_service.evaluation.judge import judge, write_evaluation
    from ranking_service.evaluation.table import render
    from ranking_service.models.registry import registry_of

    workspace = Workspace.from_environment()
    bundle = load(registry_of(workspace).chosen(named))
    with bars(console) as report:
        evaluation = judge(workspace, bundle, resamples=resamples, seed=seed, progress=report)
    console.print(render(evaluation))
    for path in write_evaluation(workspace, evaluation):
        console.print(f"written: {path}")
