"""`marquee rank`: one request against a running server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ranking_service.client import Contribution, RankedItem, Ranking


CATALOGUE_CANDIDATES = 500


@click.command(short_help="Rank candidates for one user, against a running server.")
@click.option("--user", required=True, help="Whom to rank for.")
@click.option(
    "--candidates", help="Item ids, separated by commas; @FILE reads them from a file, one per line."
)
@click.option("--address", default="127.0.0.1:50051", show_default=True, help="The server's host:port.")
@click.option("--surface", default="", help="Page, row or tab.")
@click.option("--device", default="", help="tv, phone, tablet, web ...")
@click.option(
    "--at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]), help="Rank as of this instant, UTC."
)
@click.option("--limit", default=10, show_default=True, help="How many items to show; 0 shows all.")
@click.option("--explain", is_flag=True, help="Show what made the scores.")
@click.option("--timeout", default=1.0, show_default=True, help="Seconds to wait for the answer.")
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

    Without --candidates, the newest items of the workspace's catalogue.
    """
    from ranking_service.client import RankingClient

    with RankingClient.connect(address) as client:
        ranking = client.rank(
            user_id=user,
            candidate_ids=_candidate_ids(candidates),
            surface=surface,
            device=device,
            at=at.replace(tzinfo=UTC) if at else None,
            limit=limit,
            explain=explain,
            timeout=timeout,
        )
    _show(ranking)


def _candidate_ids(given: str | None) -> list[str]:
    if given is None:
        return _newest_items()
    if given.startswith("@"):
        lines = Path(given[1:]).read_text(encoding="utf-8").splitlines()
        return [line.strip() for line in lines if line.strip()]
    return given.split(",")


def _newest_items() -> list[str]:
    from feature_repo.workspace import Workspace
    from materialization.events.store import EventStore

    store = EventStore(Workspace.from_environment().events)
    store.source()
    items = store.read("items", ["item_id", "created_timestamp"]).sort_by(
        [("created_timestamp", "descending")]
    )
    return list(dict.fromkeys(items["item_id"].to_pylist()))[:CATALOGUE_CANDIDATES]


def _show(ranking: Ranking) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("rank", "item", "score", title=f"request {ranking.request_id}")
    if any(item.explanation for item in ranking.items):
        table.add_column("because")
    for item in ranking.items:
        table.add_row(str(item.rank), item.item_id, f"{item.score:.4f}", *_reasons(item))
    console = Console()
    console.print(table)
    micros = ", ".join(f"{stage} {value / 1000:.2f}" for stage, value in ranking.micros.items() if value)
    console.print(f"bundle {ranking.bundle_version}, level {ranking.level}, ms: {micros}")
    if ranking.missing_by_view:
        missing = ", ".join(f"{view} {count}" for view, count in ranking.missing_by_view.items())
        console.print(f"candidates without a usable row: {missing}")


def _reasons(item: RankedItem) -> list[str]:
    if item.explanation is None:
        return []
    entries = item.explanation.top[:5]
    lines = [f"{entry.contribution:+.3f} {entry.feature} ({_value(entry)})" for entry in entries]
    return ["\n".join(lines)]


def _value(entry: Contribution) -> str:
    return entry.category or ("missing" if entry.value is None else f"{entry.value:g}")
