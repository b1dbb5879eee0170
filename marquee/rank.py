"""`marquee rank`: one request against a running server."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marquee.terminal import INSTANT, console

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking_service.client import Contribution, RankedItem, Ranking


POPULAR_CANDIDATES = 500
SHOWN_REASONS = 3


@click.command(short_help="Rank candidates for one user, against a running server.")
@click.option("--user", required=True, help="Whom to rank for.")
@click.option(
    "--candidates", help="Item ids, separated by commas; @FILE reads them from a file, one per line."
)
@click.option("--address", default="127.0.0.1:50051", show_default=True, help="The server's host:port.")
@click.option("--surface", default="", help="Page, row or tab.")
@click.option("--device", default="", help="tv, phone, tablet, web ...")
@click.option(
    "--at", type=INSTANT, help="Rank as of this instant, such as 2024-03-14T20:00 (UTC). [default: now]"
)
@click.option(
    "--limit",
    default=10,
    show_default=True,
    type=click.IntRange(0, 100_000),
    help="How many items to show; 0 shows all.",
)
@click.option("--explain", is_flag=True, help="Show what made the scores.")
@click.option(
    "--timeout",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.001, 3600),
    help="Seconds to wait for the answer.",
)
def rank(
    user: str,
    candidates: str | None,
    address: str,
    surface: str,
    device: str,
    at: datetime | None,
    limit: int,
    explain: bool,
    timeout: float,
) -> None:
    """Rank candidates for one user, against a running server.

    Without --candidates, the 500 items shown most in the last week of the workspace's events.
    """
    from feature_repo.workspace import Workspace
    from ranking_service.client import RankingClient

    workspace = Workspace.from_environment()
    with RankingClient.connect(address) as client:
        ranking = client.rank(
            user_id=user,
            candidate_ids=_candidate_ids(candidates, workspace),
            surface=surface,
            device=device,
            at=at,
            limit=limit,
            explain=explain,
            timeout=timeout,
        )
    _show(ranking, user, workspace)


def _candidate_ids(given: str | None, workspace: Workspace) -> list[str]:
    if given is None:
        from marquee.catalogue import popular_items

        return popular_items(workspace, POPULAR_CANDIDATES)
    if given.startswith("@"):
        return _lines(given[1:])
    return given.split(",")


def _lines(name: str) -> list[str]:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise click.BadParameter(
            f"{name!r} cannot be read ({error}); name a UTF-8 file with one item id per line",
            param_hint="--candidates",
        ) from error
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise click.BadParameter(f"{name!r} holds no item id; write one per line", param_hint="--candidates")
    return found


def _show(ranking: Ranking, user: str, workspace: Workspace) -> None:
    from rich.table import Table
    from rich.text import Text

    from marquee.catalogue import items

    known = items(workspace, [item.item_id for item in ranking.items]) if workspace.events.exists() else {}
    table = Table(
        "rank", "item", "score", title=Text(f"for user {user}"), title_justify="left", show_lines=True
    )
    if any(item.explanation for item in ranking.items):
        table.add_column("because (effect on the log odds)")
    for item in ranking.items:
        shown = known.get(item.item_id)
        name = f"{shown.title}\n{', '.join(shown.genres)}\n" if shown else ""
        table.add_row(
            str(item.rank + 1),
            Text.assemble(name, (item.item_id, "dim")),
            f"{item.score:.4f}",
            *map(Text, _reasons(item)),
        )
    console.print(table)
    micros = ", ".join(f"{stage} {value:,}" for stage, value in ranking.micros.items() if value)
    console.print(f"microseconds: {micros}")
    console.print(
        f"request {ranking.request_id}, bundle {ranking.bundle_version}, level {ranking.level}", markup=False
    )
    if ranking.missing_by_view:
        missing = ", ".join(f"{view} {count}" for view, count in ranking.missing_by_view.items())
        console.print(f"candidates without a usable row (defaults took their place): {missing}")


def _reasons(item: RankedItem) -> list[str]:
    if item.explanation is None:
        return []
    entries = item.explanation.top[:SHOWN_REASONS]
    return ["\n".join(f"{entry.contribution:+.2f}  {_in_short(entry)}: {_value(entry)}" for entry in entries)]


def _in_short(entry: Contribution) -> str:
    """The description up to its first qualification."""
    return entry.description.split(",")[0]


def _value(entry: Contribution) -> str:
    return entry.category or ("unknown" if entry.value is None else f"{entry.value:.4g}")
