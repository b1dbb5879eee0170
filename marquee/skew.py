"""`marquee skew`: is what was served what the offline path gives?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from marquee.lazy import LazyGroup, Verb
from marquee.terminal import DAY, INSTANT, check_range, console

skew = LazyGroup(
    "skew",
    verbs={
        "check": Verb("marquee.skew:check", "Replay the serving log through the training join and compare."),
        "calibrate": Verb(
            "marquee.skew_calibrate:calibrate", "How often the drift checks would cry wolf here."
        ),
        "history": Verb("marquee.skew_history:history", "Nights side by side: when did it start?"),
    },
    help="Prove that what was served equals what the offline path gives.",
)


@click.command()
@click.option("--date", type=DAY, help="One UTC day, by the requests' own time.")
@click.option("--from", "start", type=INSTANT, help="First instant [default: the log's first request]")
@click.option("--to", "end", type=INSTANT, help="Before this instant [default: after the last request]")
@click.option("--sample", type=click.IntRange(min=1), help="Most requests, chosen by hash [default: all]")
@click.option(
    "--min-requests",
    default=1,
    show_default=True,
    type=click.IntRange(min=0),
    help="Fewer are not enough to say it is clean.",
)
@click.option(
    "--min-rows",
    default=100,
    show_default=True,
    type=click.IntRange(min=0),
    help="The same for candidate rows.",
)
def check(
    date: datetime | None,
    start: datetime | None,
    end: datetime | None,
    sample: int | None,
    min_requests: int,
    min_rows: int,
) -> int:
    """Compare every served value with what the training join gives for the same request.

    Exit codes: 0 equal; 1 could not be done; 2 mismatches (or wrong usage); 3 not enough data to say.
    """
    if date is not None and (start is not None or end is not None):
        raise click.UsageError("--date is a window by itself; leave out --from and --to")
    check_range(start, end)
    if date is not None:
        start, end = date, date + timedelta(days=1)

    from feature_repo.workspace import Workspace
    from materialization.progress import spoken
    from skew_checks.check import verdict_of as run
    from skew_checks.report import render, write
    from skew_checks.result_parts import Window
    from skew_checks.verdict import Minimum

    workspace = Workspace.from_environment()
    with spoken(console) as step:
        verdict = run(
            workspace, Window(start, end, sample), minimum=Minimum(min_requests, min_rows), step=step
        )
    console.print(render(verdict))
    console.print(f"written: {write(verdict, workspace.reports, now=datetime.now(UTC))}")
    return int(verdict.outcome)
