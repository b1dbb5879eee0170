"""A ranking as a person reads it: the items, why each scored as it did, and what the answer lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from marquee.terminal import console

if TYPE_CHECKING:
    from marquee.catalogue import Item
    from ranking_service.client import Contribution, DegradedView, Explanation, RankedItem, Ranking

MODEL_FREE = 3
LEVELS = {
    0: "complete",
    1: "rows as last known took the place of some that could not be read",
    2: "declared defaults took the place of rows that could not be read",
    MODEL_FREE: "the model did not score; the order is the one the server's settings declare",
}


def show(ranking: Ranking, user: str, known: dict[str, Item]) -> None:
    """`known` are titles and genres by item id."""
    _items(ranking, user, known)
    for item in ranking.items:
        if item.explanation is not None:
            _why(item, item.explanation, known.get(item.item_id))
    micros = ", ".join(f"{stage} {value:,}" for stage, value in ranking.micros.items() if value)
    console.print(f"microseconds: {micros}")
    model = f", model {ranking.model}" if ranking.model else ""
    console.print(
        f"request {ranking.request_id}{model}, bundle {ranking.bundle_version}, level {ranking.level}: "
        f"{LEVELS.get(ranking.level, 'unknown to this client')}",
        markup=False,
    )
    for sentence in _lacking(ranking):
        console.print(sentence, markup=False)


def _items(ranking: Ranking, user: str, known: dict[str, Item]) -> None:
    table = Table(
        "rank", "item", "score", title=Text(f"for user {user}"), title_justify="left", show_lines=True
    )
    for item in ranking.items:
        shown = known.get(item.item_id)
        name = f"{shown.title}\n{', '.join(shown.genres)}\n" if shown else ""
        score = "none" if ranking.level == MODEL_FREE else f"{item.score:.4f}"
        table.add_row(str(item.rank + 1), Text.assemble(name, (item.item_id, "dim")), score)
    console.print(table)


def _why(item: RankedItem, why: Explanation, shown: Item | None) -> None:
    """Base, contributions and others; they add up to the margin."""
    name = f"{shown.title} ({item.item_id})" if shown else item.item_id
    title = Text(f"why {item.rank + 1}. {name} scored {item.score:.4f}")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("adds", justify="right", footer=f"{why.margin:+.4f}", no_wrap=True)
    table.add_column("value", justify="right", overflow="fold")
    table.add_column("feature", footer="the margin: the score before the link function, all of the above")
    table.add_row(f"{why.base:+.4f}", "", "the base: what the model expects of any candidate")
    for entry in why.top:
        table.add_row(
            f"{entry.contribution:+.4f}", Text(_value(entry)), Text(entry.description or entry.feature)
        )
    table.add_row(f"{why.others:+.4f}", "", "all other features")
    console.print(table)


def _value(entry: Contribution) -> str:
    return entry.category or ("missing" if entry.value is None else f"{entry.value:.4g}")


def _lacking(ranking: Ranking) -> list[str]:
    """A sentence for each thing that a reader must know before trusting the order."""
    found = []
    if ranking.level:
        found.append(f"this answer is degraded: {ranking.reason or 'the server gave no reason'}")
    found += [f"  {view.view}: {_in_its_place(view)}" for view in ranking.degraded_views]
    if ranking.explanation_skipped and ranking.level < MODEL_FREE:
        found.append(
            "not explained: the time did not suffice; raise --timeout, or ask for fewer items by --limit"
        )
    if ranking.missing_by_view:
        missing = ", ".join(f"{view} {count}" for view, count in ranking.missing_by_view.items())
        found.append(f"candidates without a usable row (defaults took their place): {missing}")
    return found


def _in_its_place(view: DegradedView) -> str:
    if view.level != 1 and not view.last_known_candidates:
        return "declared defaults for rows that could not be read"
    return (
        f"last-known rows for {view.last_known_candidates:,} candidates, not confirmed for up to "
        f"{view.oldest_seconds:,.1f} s; declared defaults for the others"
    )
