"""Small worlds of events whose features can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.workspace import Workspace
from materialization.declared import BatchView, batch_views
from materialization.events.schemas import DAY_COLUMN, TABLES
from materialization.events.store import EventStore
from materialization.feature_build.inputs import event_files
from materialization.feature_build.snapshot import Limits, connect, open_knowledge, write_snapshot

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
"""The first day of every world."""
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)

Row = dict[str, Any]
VIEWS: dict[str, BatchView] = {view.name: view for view in batch_views()}
OUTCOMES = ("click", "long_view", "completed", "like", "follow", "comment", "share", "hide", "profile_visit")


def exposure(user: str, item: str, at: datetime, *, known: datetime | None = None, **values: Any) -> Row:
    """An exposure without outcome, unless named; `known` is when its outcome became known (at once)."""
    row: Row = dict.fromkeys(OUTCOMES, False)
    row |= {"user_id": user, "item_id": item, "event_timestamp": at, "created_timestamp": known or at}
    row |= {"surface": "home", "session_id": f"{user} {at:%Y-%m-%d}", "play_ms": 0, "duration_ms": 60_000}
    return row | values


def watched(user: str, item: str, at: datetime, **values: Any) -> Row:
    """An exposure that was clicked and watched to the end."""
    seen = {"click": True, "long_view": True, "completed": True, "play_ms": 60_000}
    return exposure(user, item, at, **{**seen, **values})


def item(name: str, *, known: datetime = MONDAY - DAY, genres: Sequence[str] = (), **values: Any) -> Row:
    """A catalogue entry, known before the world begins."""
    return {"item_id": name, "created_timestamp": known, "genres": list(genres), **values}


def user(name: str, *, known: datetime = MONDAY - DAY, **values: Any) -> Row:
    """A profile, known before the world begins."""
    return {"user_id": name, "created_timestamp": known, **values}


def history(
    name: str,
    *,
    exposed: Sequence[str] = (),
    long_viewed: Sequence[str] = (),
    liked: Sequence[str] = (),
    known: datetime = MONDAY - HOUR,
) -> Row:
    """What is remembered of a user from before the world begins."""
    return {
        "user_id": name,
        "created_timestamp": known,
        "history_length": len(exposed),
        "exposed_item_ids": list(exposed),
        "long_viewed_item_ids": list(long_viewed),
        "liked_item_ids": list(liked),
    }


def write_world(
    home: Path,
    exposures: Iterable[Row],
    *,
    items: Iterable[Row] = (),
    users: Iterable[Row] = (),
    histories: Iterable[Row] = (),
    name: str = "world",
) -> Workspace:
    """A workspace with these events; ids of exposures and requests are given in order where they lack."""
    numbers = count()
    numbered = [{"exposure_id": f"e{next(numbers):06}", **row} for row in exposures]
    rows = {
        "exposures": [{"request_id": row["exposure_id"], **row} for row in numbered],
        "items": list(items),
        "users": list(users),
        "histories": list(histories),
    }
    workspace = Workspace(home)
    source = {"kind": "world", "label": "long_view", "arguments": {"name": name}}
    with EventStore(workspace.events).rewrite(source) as writer:
        for table, its_rows in rows.items():
            content = table_of(table, its_rows)
            writer.write(table, content, day=None if table in DAY_COLUMN else (MONDAY - DAY).date())
    return workspace


def table_of(table: str, rows: Sequence[Row]) -> pa.Table:
    """Rows as a canonical table; a column that a row lacks is null."""
    schema = TABLES[table]
    return pa.table(
        {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in schema},
        schema=schema,
    )


def checkerboard(home: Path, *, days: int = 10, users: int = 6, items: int = 6) -> Workspace:
    """Odd users like odd items: every noon each user is shown each item, and watches those of their parity.

    Items are `i1` ... with genre and author `odd` or `even`; users `u1` ... have a profile and no history.
    """
    shown = [
        (watched if u % 2 == i % 2 else exposure)(f"u{u}", f"i{i}", MONDAY + day * DAY + 12 * HOUR)
        for day in range(days)
        for u in range(1, users + 1)
        for i in range(1, items + 1)
    ]
    parity = ("even", "odd")
    return write_world(
        home,
        shown,
        items=[item(f"i{i}", genres=[parity[i % 2]], author_id=parity[i % 2]) for i in range(1, items + 1)],
        users=[user(f"u{u}", language=parity[u % 2]) for u in range(1, users + 1)],
    )


def snapshots(
    workspace: Workspace, as_of: datetime, views: Iterable[str] = (), *, limits: Limits | None = None
) -> dict[str, dict[Any, Row]]:
    """Each view's rows as of an instant, by entity key (a tuple for pairs), from the build's own step."""
    folder = workspace.home / "snapshots"
    found = {}
    with connect(limits or Limits()) as connection:
        open_knowledge(connection, event_files(workspace.events), as_of)
        for name in list(views) or list(VIEWS):
            path = folder / f"{name}.parquet"
            write_snapshot(connection, VIEWS[name], as_of=as_of, path=path, fingerprint="")
            found[name] = keyed(pq.read_table(path), VIEWS[name].join_keys)
    return found


def keyed(table: pa.Table, keys: Sequence[str]) -> dict[Any, Row]:
    """Rows by key, without the key and timestamp columns; fails where two rows share a key."""
    rows = {}
    for row in table.to_pylist():
        key = tuple(row.pop(name) for name in keys)
        del row["event_timestamp"], row["created_timestamp"]
        assert key not in rows, f"two rows of {key}"
        rows[key] = row
    return {key[0] if len(keys) == 1 else key: row for key, row in rows.items()}


def content(folder: Path) -> Mapping[str, bytes]:
    """Every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
