"""What reconciliation found and did, for a person and for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.table import Table

from materialization.data_plane.batch.reconcile_compare import FOUND, Cause
from materialization.data_plane.reconcile import Scope, ViewReport


def is_settled(reports: Sequence[ViewReport], scope: Scope) -> bool:
    """Whether nothing is left to repair."""
    return not (scope.dry_run and any(report.findings.found for report in reports))


def render(reports: Sequence[ViewReport], scope: Scope) -> Table:
    """Rows by view and cause, with example keys of what was found; what is the same for all views in the title."""
    title = "found, nothing changed (dry run)" if scope.dry_run else "found and repaired"
    instants = {f"{report.as_of:%Y-%m-%d %H:%M} UTC" for report in reports if report.as_of is not None}
    if len(instants) == 1:
        title += f", as of {min(instants)}"
    table = Table(title=f"Redis beside the offline source: {title}", title_justify="left")
    table.add_column("view", no_wrap=True)
    if len(instants) > 1:
        table.add_column("as of (UTC)", no_wrap=True)
    for name in ("share", "offline", "online", "found"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("cause, for example")
    for report in reports:
        _add(table, report, with_instant=len(instants) > 1)
    return table


def to_json(reports: Sequence[ViewReport], scope: Scope) -> str:
    """The same as JSON: `views` by name, and whether anything is left to repair."""
    views = {report.view: _as_json(report) for report in reports}
    return json.dumps(
        {"dry_run": scope.dry_run, "settled": is_settled(reports, scope), "views": views}, indent=2
    )


def _add(table: Table, report: ViewReport, *, with_instant: bool) -> None:
    blank = [""] * (len(table.columns) - 2)
    if report.as_of is None:
        table.add_row(report.view, *blank, f"not compared: {report.not_compared}")
        return
    found = report.findings
    instant = [f"{report.as_of:%m-%d %H:%M}"] if with_instant else []
    measures = [report.view, *instant, f"{found.share:.1%}", f"{found.offline:,}", f"{found.online:,}"]
    lines = [
        (f"{found.causes[cause]:,}", f"{cause}: {', '.join(found.examples.get(cause, ())) or 'kept'}")
        for cause in (*FOUND, Cause.NEWER)
        if found.causes[cause]
    ]
    for count, text in lines or [("0", "nothing to repair")]:
        table.add_row(*measures, count, text)
        measures = [""] * len(measures)


def _as_json(report: ViewReport) -> dict[str, object]:
    if report.as_of is None:
        return {"not_compared": report.not_compared}
    found = report.findings
    return {
        "as_of": report.as_of.isoformat(),
        "share": found.share,
        "offline_rows": found.offline,
        "online_rows": found.online,
        "rows_without_key": found.keyless,
        "causes": {cause.value: count for cause, count in sorted(found.causes.items())},
        "examples": {cause.value: keys for cause, keys in sorted(found.examples.items())},
        "written": found.written,
        "deleted": found.deleted,
    }
