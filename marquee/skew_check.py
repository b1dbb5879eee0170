"""`marquee skew check`: replay the serving log through the training join, compare, find causes."""

from __future__ import annotations

import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click

from feature_repo.errors import MarqueeError
from marquee.terminal import DAY, INSTANT, check_range, console

if TYPE_CHECKING:
    from skew_checks.result.report import SkewReport

INTERNAL = 4
"""Exit code where the check itself failed."""


@click.command()
@click.option("--date", type=DAY, help="One UTC day, by the requests' own time.")
@click.option("--from", "start", type=INSTANT, help="First instant [default: the log's first request]")
@click.option("--to", "end", type=INSTANT, help="Before this instant [default: after the last request]")
@click.option("--sample", type=click.IntRange(min=1), help="Most requests, chosen by hash [default: all]")
@click.option(
    "--request", help="Only the requests of this id: replays a defect's evidence; writes no report."
)
@click.option(
    "--min-requests",
    default=100,
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
@click.option(
    "--budget",
    default=0.001,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of wrong units allowed where a view has no tag skew_budget.",
)
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the report's files go [default: reports/ of the workspace]",
)
@click.option("--effect/--no-effect", default=True, help="Score requests again with the right values.")
@click.option("--drift/--no-drift", default=True, help="Judge distributions too.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON in place of the summary.")
def check(
    *,
    date: datetime | None,
    start: datetime | None,
    end: datetime | None,
    sample: int | None,
    request: str | None,
    min_requests: int,
    min_rows: int,
    budget: float,
    reports: Path | None,
    effect: bool,
    drift: bool,
    as_json: bool,
) -> int:
    """Compare every served value with what the training join gives for the same request.

    A feature fails where more than its budget of requests, item rows or pair rows is wrong for sure (99.9 %). Rows
    that are older than the offline ones, but within their view's freshness target, are no mismatch.

    Exit codes: 0 ok; 1 warn; 2 fail (or wrong usage); 3 not enough data, or over 0.1 % of the log dropped, and
    nothing failing in the rest; 4 the check itself failed.
    """
    if date is not None and (start is not None or end is not None):
        raise click.UsageError("--date is a window by itself; leave out --from and --to")
    check_range(start, end)
    if date is not None:
        start, end = date, date + timedelta(days=1)
    with _Failing() as failing:
        from rich.console import Console

        from feature_repo.workspace import Workspace
        from materialization.progress import spoken
        from skew_checks.check import check as run
        from skew_checks.extras import Extras
        from skew_checks.formats.history import with_nights_of
        from skew_checks.result.parts import Window
        from skew_checks.thresholds import Thresholds

        workspace = Workspace.from_environment()
        folder = reports or workspace.reports
        with spoken(Console(stderr=True) if as_json else console) as step:
            report = run(
                workspace,
                Window(start, end, sample),
                thresholds=Thresholds(min_requests=min_requests, min_rows=min_rows, budget=budget),
                request=request,
                extras=Extras(effect=effect, drift=drift and request is None, nights=folder),
                now=datetime.now(UTC),
                step=step,
            )
        if request is None:
            report = with_nights_of(report, folder)
        _tell(report, None if request is not None else folder, as_json=as_json)
        return report.exit_code
    if request is None:
        _leave_word(failing.why, start=start, end=end, sample=sample, reports=reports)
    return failing.code


def _leave_word(
    why: str, *, start: datetime | None, end: datetime | None, sample: int | None, reports: Path | None
) -> None:
    """A report that says that there is none, so that nobody takes an earlier one for tonight's."""
    from feature_repo.workspace import Workspace
    from skew_checks.formats.report_files import write
    from skew_checks.result.parts import Outcome, Volume, Window
    from skew_checks.result.report import SkewReport

    window, now = Window(start, end, sample), datetime.now(UTC)
    report = SkewReport(window, now, Outcome.INTERNAL, f"The check itself failed: {why}", Volume(), ())
    with suppress(MarqueeError, OSError):
        write(report, reports or Workspace.from_environment().reports)


def _tell(report: SkewReport, folder: Path | None, *, as_json: bool) -> None:
    from skew_checks.formats.report_files import write
    from skew_checks.formats.report_json import dumps
    from skew_checks.formats.terminal import render, render_written

    written = write(report, folder) if folder is not None else None
    if as_json:
        click.echo(dumps(report), nl=False)
        return
    console.print(render(report))
    if written is not None:
        console.print(render_written(written, report.outcome))


class _Failing:
    """Around the check: whatever fails inside has an exit code of its own, as 1 and 2 are verdicts."""

    code = INTERNAL
    why = ""

    def __enter__(self) -> _Failing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, click.ClickException):
            return False
        self.why = str(error) or type(error).__name__
        if isinstance(error, (MarqueeError, OSError)):
            click.echo(f"error: {error}", err=True)
        else:
            traceback.print_exception(error)
        return True
