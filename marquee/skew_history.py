"""`marquee skew history`: when did it start?"""

from __future__ import annotations

from pathlib import Path

import click

from marquee.terminal import console

FILE = "history.html"


@click.command()
@click.option(
    "--nights", default=30, show_default=True, type=click.IntRange(min=1), help="Most nights, the last ones."
)
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with the JSON reports [default: reports/ of the workspace]",
)
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Where to write the page [default: {FILE} beside them]",
)
def history(nights: int, reports: Path | None, page: Path | None) -> int:
    """Nights side by side: which defects came, stayed and went.

    Reads the JSON reports that `marquee skew check` left, of this version or an older one, and writes a page beside
    them. A file that cannot be read is named and left out.

    A defect is the same as the night before if view and cause are the same; "since" is the first night of the
    unbroken row that ends with the last one.

    Exit codes: 0 done, whatever the nights were; 1 there is no report to read.
    """
    from feature_repo.workspace import Workspace
    from skew_checks.formats.history import read_history
    from skew_checks.formats.history_table import render_history
    from skew_checks.formats.report_files import replace_file
    from skew_checks.page.history import history_page

    folder = reports or Workspace.from_environment().reports
    found = read_history(folder, nights=nights)
    console.print(render_history(found))
    if not found.nights:
        console.print(f"looked in {folder}; make a report with `marquee skew check`")
        return 1
    path = page or folder / FILE
    replace_file(path, history_page(found, linked=path.resolve().parent == folder.resolve()))
    console.print(f"\nwritten: {path}")
    return 0
