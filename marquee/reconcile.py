"""`marquee features reconcile`: find and repair what incremental materialization misses."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from marquee.features import VIEW
from marquee.terminal import INSTANT, console


@click.command()
@click.option("--view", "views", type=VIEW, multiple=True, help="Only this view (repeatable).")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help="Compare about this many entities of each view, chosen by hash; cheap enough for every hour.",
)
@click.option("--full", is_flag=True, help="Compare every entity (the default).")
@click.option(
    "--to", "as_of", type=INSTANT, help="Compare as of this instant [default: each view's watermark]"
)
@click.option("--dry-run", is_flag=True, help="Report only; change nothing.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Report as JSON, too."
)
def reconcile(
    views: tuple[str, ...],
    sample: int | None,
    full: bool,
    as_of: datetime | None,
    dry_run: bool,
    json_file: Path | None,
) -> int:
    """Compare the rows in Redis with the newest offline row of every entity, and repair what differs.

    Finds late rows, corrections, rows never loaded, damaged rows, and rows that should be gone. Rows newer online
    than offline are never touched. Exit code 0 if nothing was found or all of it was repaired, 1 if a dry run
    found something.
    """
    if full and sample is not None:
        raise click.UsageError("--full compares every entity; leave out --sample")

    from feature_repo.workspace import Workspace
    from materialization.data_plane.reconcile import Scope
    from materialization.progress import bars
    from materialization.reconcile_summary import is_settled, render, to_json
    from materialization.reconciliation import reconcile_views

    scope = Scope(views=views, sample=sample, as_of=as_of, dry_run=dry_run)
    with bars(console) as report:
        reports = reconcile_views(Workspace.from_environment(), scope, report=report)
    if json_file is not None:
        json_file.write_text(to_json(reports, scope))
    console.print(render(reports, scope))
    return int(not is_settled(reports, scope))
