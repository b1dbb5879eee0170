"""What the workspace's events know of items and users, for showing rankings to a person."""

from __future__ import annotations

from dataclasses import dataclass

from feature_repo.workspace import Workspace


@dataclass(frozen=True)
class Item:
    """How an item is shown."""

    title: str
    genres: tuple[str, ...]


def items(workspace: Workspace, ids: list[str]) -> dict[str, Item]:
    """Title and genres of the items the catalogue knows; an item without title shows its author."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from materialization.events.store import EventStore

    table = EventStore(workspace.events).read("items", ["item_id", "title", "author_id", "genres"])
    known = table.filter(pc.is_in(table.column("item_id"), pa.array(ids, pa.string()))).to_pylist()
    return {
        row["item_id"]: Item(
            row["title"] or f"by author {row['author_id'] or 'unknown'}", tuple(row["genres"] or ())
        )
        for row in known
    }


def popular_items(workspace: Workspace, count: int) -> list[str]:
    """The `count` items shown most in the last 7 days of events, most shown first, ties by id."""
    return _ranked_ids(workspace, "item_id", count)


def active_users(workspace: Workspace, count: int) -> list[str]:
    """The `count` users shown most in the last 7 days of events, most shown first, ties by id."""
    return _ranked_ids(workspace, "user_id", count)


def popular_surfaces(workspace: Workspace, count: int) -> list[str]:
    """The `count` surfaces with the most exposures in the last 7 days of events, ties by name."""
    return _ranked_ids(workspace, "surface", count)


def _ranked_ids(workspace: Workspace, column: str, count: int) -> list[str]:
    import duckdb

    from materialization.events.store import EventStore

    store = EventStore(workspace.events)
    _, last = store.span()
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"""SELECT {column} FROM read_parquet('{store.glob("exposures")}', hive_partitioning = false)
            WHERE event_timestamp > $last - INTERVAL 7 DAY
            GROUP BY {column} ORDER BY count(*) DESC, {column} LIMIT $count""",
            {"last": last, "count": count},
        ).fetchall()
    return [row[0] for row in rows]
