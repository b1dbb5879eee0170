"""`marquee skew calibrate`: how often do the drift checks cry wolf on this project's data?"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from marquee.terminal import INSTANT, check_range, console


@click.command()
@click.option(
    "--source",
    type=click.Choice(["serving-log", "join"]),
    default="serving-log",
    show_default=True,
    help="What was served, or the exposures with their joined features.",
)
@click.option("--from", "start", type=INSTANT, help="First instant of the log [default: all of it]")
@click.option("--to", "end", type=INSTANT, help="Before this instant of the log")
@click.option("--service", default="ranker_v1", show_default=True, help="Feature service, for the join.")
@click.option("--splits", type=click.IntRange(min=2), default=100, show_default=True, help="Random halves.")
@click.option(
    "--users",
    type=click.IntRange(min=2),
    default=2_000,
    show_default=True,
    help="Most users, chosen by hash; all requests of each.",
)
@click.option("--seed", type=int, default=0, show_default=True)
def calibrate(
    source: str,
    start: datetime | None,
    end: datetime | None,
    service: str,
    splits: int,
    users: int,
    seed: int,
) -> None:
    """Judge one random half of the users against the other, many times: every alarm is a false one.

    Prints how many such nights would have raised an alarm, and how the p-values lie: they must be uniform, or
    larger. Writes both as JSON and as a page under reports/. Run it once on your own data before you believe the
    checks, and again after a change of tolerances or of who is served.

    Examples: `marquee skew calibrate`; before there is a log, `marquee skew calibrate --source join`.
    """
    check_range(start, end)

    from feature_repo.workspace import Workspace
    from materialization.progress import spoken
    from skew_checks.distributions.settings import DriftSettings
    from skew_checks.distributions.trial import calibrate as run
    from skew_checks.distributions.trial_report import to_json, to_text, write
    from skew_checks.distributions.trial_rows import joined_rows, sampled, served_rows
    from skew_checks.result.parts import Window

    workspace, settings, now = Workspace.from_environment(), DriftSettings(), datetime.now(UTC)
    with spoken(console) as step:
        if source == "join":
            rows = joined_rows(workspace, service, step=step)
        else:
            rows = served_rows(workspace, Window(start, end), step=step)
        step(f"judging {splits} random halves")
        found = run(sampled(rows, users), splits=splits, seed=seed, settings=settings)
    raw = to_json(found, settings, source=source, now=now)
    console.print(to_text(found))
    data, page = write(raw, workspace.reports, now=now)
    console.print(f"\nwritten: {page}\n         {data}")
