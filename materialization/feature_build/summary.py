"""What a build did, as a table for a person."""

from __future__ import annotations

from rich.table import Table

from materialization.feature_build.build import BuildSummary


def render(summary: BuildSummary) -> Table:
    """Snapshots, rows, bytes and seconds by view."""
    table = Table(
        title=f"snapshots from {summary.first:%Y-%m-%d %H:%M} to {summary.last:%Y-%m-%d %H:%M} UTC",
        title_justify="left",
    )
    table.add_column("view")
    for name in ("written", "unchanged", "removed", "rows", "MB", "seconds"):
        table.add_column(name, justify="right")
    for name, view in sorted(summary.views.items()):
        table.add_row(
            name,
            str(view.written),
            str(view.kept),
            str(view.removed),
            f"{view.rows:,}",
            f"{view.bytes / 1e6:.1f}",
            f"{view.seconds:.1f}",
        )
    return table
