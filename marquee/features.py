"""`marquee features`: check, apply, build, materialize and reconcile the declared features."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from marquee.features_against_log import SAMPLE
from marquee.lazy import LazyGroup, Verb
from marquee.terminal import INSTANT, INTERVAL, check_range, console

features = LazyGroup(
    "features",
    verbs={
        "check": Verb(
            "marquee.features:check", "Find what is wrong with the declarations before anything runs."
        ),
        "plan": Verb("marquee.features:plan", "What `apply` would change (feast plan)."),
        "apply": Verb("marquee.features:apply", "Register the declarations (feast apply)."),
        "build": Verb("marquee.features:build", "Compute feature snapshots from the events."),
        "materialize": Verb(
            "marquee.features:materialize", "Bring the newest rows into Redis (feast materialize)."
        ),
        "reconcile": Verb(
            "marquee.reconcile:reconcile", "Find and repair what incremental materialization missed."
        ),
    },
    help="Check, apply, build, materialize and reconcile the features that feature_repo/ declares.",
)


class ViewName(click.ParamType[str]):
    """The name of a declared batch view."""

    name = "view"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises a usage error for any other name."""
        from materialization.declared import batch_views

        known = [view.name for view in batch_views()]
        if value not in known:
            self.fail(f"no view named {value}; there are {', '.join(known)}", param, ctx)
        return value


VIEW = ViewName()


@click.command()
@click.option(
    "--against-log",
    is_flag=True,
    help="Also build what changed, aside, and compare it with what was served.",
)
@click.option(
    "--from", "start", type=INSTANT, help="First instant of the log to look at [default: its first]"
)
@click.option("--to", "end", type=INSTANT, help="Before this instant [default: after its last]")
@click.option(
    "--sample",
    default=SAMPLE,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most requests, chosen by hash.",
)
def check(against_log: bool, start: datetime | None, end: datetime | None, sample: int) -> int:
    """Find what is wrong with the declarations, and which trained models a change would break.

    With --against-log: what the declarations and SQL as they are now would have given for requests of the serving
    log, feature by feature, and what that does to the ranking. Use it on a changed view before it is applied, and
    after a backfill, to see that the rebuilt history is the one that was served.

    Exit code 0 if nothing is wrong, 1 otherwise; warnings alone are 0. With --against-log, where the declarations
    are right: that of `marquee skew check` (0 the same, 1 warnings, 2 different, 3 not enough requests).
    """
    check_range(start, end)

    from feature_repo.workspace import Workspace
    from ranking_service.declaration_check import check_declarations, render, stops_a_build

    problems = check_declarations(Workspace.from_environment())
    console.print(render(problems))
    if not against_log or any(map(stops_a_build, problems)):
        return int(any(problem.is_error for problem in problems))

    from marquee.features_against_log import run

    return run(start, end, sample=sample)


@click.command()
def plan() -> None:
    """Show what `marquee features apply` would change in the registry."""
    from feature_repo.workspace import Workspace
    from materialization.feast_store import plan_definitions

    console.print(plan_definitions(Workspace.from_environment()).strip(), markup=False)


@click.command()
def apply() -> None:
    """Register entities, views and services; the same as `feast apply` inside feature_repo/."""
    from feature_repo.workspace import Workspace
    from materialization.feast_store import apply_definitions

    workspace = Workspace.from_environment()
    with console.status("feast apply"):
        printed = apply_definitions(workspace)
    console.print(printed.strip(), markup=False)
    console.print(f"registered in {workspace.registry}; next: marquee model train", markup=False)


@click.command()
@click.option(
    "--from", "start", type=INSTANT, help="First snapshot [default: first midnight after the first event]"
)
@click.option(
    "--to", "end", type=INSTANT, help="Last snapshot [default: first midnight after the last event]"
)
@click.option(
    "--every",
    type=INTERVAL,
    default="6h",
    show_default=True,
    help="Step; a view with a longer cadence is built less often.",
)
@click.option("--view", "views", type=VIEW, multiple=True, help="Only this view (repeatable).")
@click.option(
    "--memory-limit", default="2GB", show_default=True, help="Per worker; beyond it DuckDB spills to disk."
)
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Snapshots computed at once.",
)
@click.option("--fresh", is_flag=True, help="Forget what was built before.")
def build(
    start: datetime | None,
    end: datetime | None,
    every: timedelta,
    views: tuple[str, ...],
    memory_limit: str,
    workers: int,
    fresh: bool,
) -> None:
    """Compute each view as of each instant, from the events known by then.

    Only what is missing, or whose events or SQL changed, is computed. Safe to interrupt and to run again.
    """
    check_range(start, end)

    from feature_repo.workspace import Workspace
    from materialization.feature_build.build import build_features
    from materialization.feature_build.summary import render
    from materialization.progress import bars

    with bars(console) as report:
        summary = build_features(
            Workspace.from_environment(),
            start=start,
            end=end,
            every=every,
            views=views,
            memory_limit=memory_limit,
            workers=workers,
            fresh=fresh,
            report=report,
        )
    console.print(render(summary))
    console.print("next: marquee features apply")


@click.command()
@click.option("--to", "end", type=INSTANT, help="Newest instant to serve [default: the newest snapshot]")
@click.option("--from", "start", type=INSTANT, help="Oldest instant [default: each view's ttl before --to]")
@click.option(
    "--incremental", is_flag=True, help="From each view's last end (feast materialize-incremental)."
)
@click.option("--view", "views", type=VIEW, multiple=True, help="Only this view (repeatable).")
def materialize(
    end: datetime | None, start: datetime | None, incremental: bool, views: tuple[str, ...]
) -> None:
    """Bring the newest row of every entity into Redis, where the ranking service reads it."""
    if incremental and start is not None:
        raise click.UsageError("--incremental knows where to start; leave out --from")
    check_range(start, end)

    from feature_repo.workspace import Workspace
    from materialization.feast_store import materialize as full
    from materialization.feast_store import materialize_incremental, newest_snapshot
    from materialization.progress import bars

    workspace = Workspace.from_environment()
    until = end or newest_snapshot(workspace)
    with bars(console) as report:
        if incremental:
            materialize_incremental(workspace, end=until, views=list(views), report=report)
        else:
            full(workspace, start=start, end=until, views=list(views), report=report)
    console.print(f"Redis serves what was known at {until:%Y-%m-%d %H:%M} UTC; next: marquee serve")
