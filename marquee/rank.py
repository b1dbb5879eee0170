"""`marquee rank`: one request against a running server."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marquee.connection import connect, connection_options
from marquee.terminal import INSTANT

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking_service.client import Ranking

POPULAR_CANDIDATES = 500
PRIORITIES = ("interactive", "prefetch")


@click.command(short_help="Rank candidates for one user, against a running server.")
@click.option("--user", required=True, help="Whom to rank for.")
@click.option(
    "--candidates", help="Item ids, separated by commas; @FILE reads them from a file, one per line."
)
@connection_options
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
@click.option("--explain", is_flag=True, help="Show for each item which features made its score.")
@click.option("--model", default="", help="Which model ranks, by its name in the server's settings.")
@click.option(
    "--priority",
    default=PRIORITIES[0],
    show_default=True,
    type=click.Choice(PRIORITIES),
    help="A prefetch gives way to interactive requests when there is too much to do.",
)
def rank(
    user: str,
    candidates: str | None,
    surface: str,
    device: str,
    at: datetime | None,
    limit: int,
    explain: bool,
    model: str,
    priority: str,
    timeout: float,
    **connection: Any,
) -> None:
    """Rank candidates for one user, against a running server.

    Without --candidates, the 500 items shown most in the last week of the workspace's events.

    --explain shows for each item what each feature adds to its score: exact SHAP values of the trees, on the margin
    (log odds for logistic models), with the value the model saw.
    """
    from feature_repo.workspace import Workspace

    workspace = Workspace.from_environment()
    with connect(**connection) as client:
        ranking = client.rank(
            user_id=user,
            candidate_ids=_candidate_ids(candidates, workspace),
            surface=surface,
            device=device,
            at=at,
            limit=limit,
            explain=explain,
            model=model,
            priority=priority,
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
    from marquee.catalogue import items
    from marquee.ranking_table import show

    known = items(workspace, [item.item_id for item in ranking.items]) if workspace.events.exists() else {}
    show(ranking, user, known)
