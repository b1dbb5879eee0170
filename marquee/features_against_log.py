"""`marquee features check --against-log`: what a changed feature would have done to the requests that were served."""

from __future__ import annotations

from datetime import datetime

from marquee.terminal import console

SAMPLE = 500


def run(start: datetime | None, end: datetime | None, *, sample: int) -> int:
    """Prints the verdict; returns the exit code of `marquee skew check`."""
    from feature_repo.workspace import Workspace
    from materialization.progress import bars
    from skew_checks.against_log import check_against_log
    from skew_checks.formats.terminal import render
    from skew_checks.result.parts import Window

    workspace = Workspace.from_environment()
    with bars(console) as report:
        found = check_against_log(workspace, Window(start, end, sample), report=report)
    if found.rebuilt:
        listed = ", ".join(f"{name} ({count} snapshots)" for name, count in found.rebuilt.items())
        console.print(f"built anew, aside: {listed}", markup=False)
    else:
        console.print("nothing was to be built anew: judged on the features as they are built")
    console.print(render(found.report))
    console.print(
        "served = what the running system gave; offline = what the declarations and SQL here would give. "
        "Nothing in the workspace was changed."
    )
    return found.report.exit_code
