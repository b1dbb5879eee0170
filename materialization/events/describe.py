"""What is in the event store, on one screen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from materialization.events.schemas import TABLES
from materialization.events.store import EventStore, reading

LABELS = tuple(field.name for field in TABLES["exposures"] if pa.types.is_boolean(field.type))
SHOWN_RATES = ("click", "long_view", "completed", "like")


@dataclass(frozen=True)
class TableSummary:
    """One canonical table."""

    name: str
    rows: int
    days: int
    """Partitions."""
    size_bytes: int
    """On disk."""
    null_rates: dict[str, float]
    """By column, 0..1; empty for a table without rows."""


@dataclass(frozen=True)
class SurfaceSummary:
    """The exposures of one surface."""

    surface: str
    exposures: int
    rates: dict[str, float]
    """Share of exposures with the outcome, by label."""


@dataclass(frozen=True)
class Description:
    """Everything `marquee events describe` shows."""

    kind: str
    label: str
    first_event: datetime
    last_event: datetime
    users: int
    """Distinct users with an exposure."""
    items: int
    """Distinct items with an exposure."""
    requests: int
    rates: dict[str, float]
    """Share of exposures with the outcome, by label."""
    surfaces: tuple[SurfaceSummary, ...]
    """Most exposures first."""
    tables: tuple[TableSummary, ...]
    quarantined: dict[str, dict[str, int]]
    """Rows put aside, by table and reason."""
    history_users: int
    notes: tuple[str, ...]


def describe(store: EventStore) -> Description:
    """Read the store once. Raises MissingInputError while it is empty, EventDataError naming a damaged file."""
    source = store.source()
    first, last = store.span()
    with reading(store.root), duckdb.connect() as connection:
        users, items, requests, *rates = _rows(connection, _totals(store))[0]
        surfaces = _rows(connection, _by_surface(store))
        tables = tuple(_table(connection, store, name) for name in store.tables())
    return Description(
        kind=source["kind"],
        label=source["label"],
        first_event=first,
        last_event=last,
        users=users,
        items=items,
        requests=requests,
        rates=dict(zip(LABELS, rates, strict=True)),
        surfaces=tuple(
            SurfaceSummary(name, count, dict(zip(LABELS, shares, strict=True)))
            for name, count, *shares in surfaces
        ),
        tables=tables,
        quarantined=source["quarantined"],
        history_users=source["history"]["users"] if source["history"] else 0,
        notes=tuple(source["notes"]),
    )


def _rows(connection: duckdb.DuckDBPyConnection, query: tuple[str, str]) -> list[tuple[Any, ...]]:
    sql, pattern = query
    return connection.execute(sql, [pattern]).fetchall()


def _rates() -> str:
    return ", ".join(f'avg("{label}"::int)' for label in LABELS)


def _totals(store: EventStore) -> tuple[str, str]:
    distinct = ", ".join(f"count(distinct {key})" for key in ("user_id", "item_id", "request_id"))
    return f"select {distinct}, {_rates()} from read_parquet(?)", store.glob("exposures")


def _by_surface(store: EventStore) -> tuple[str, str]:
    return (
        f"select surface, count(*), {_rates()} from read_parquet(?) group by surface order by 2 desc, 1",
        store.glob("exposures"),
    )


def _table(connection: duckdb.DuckDBPyConnection, store: EventStore, name: str) -> TableSummary:
    counts = ", ".join(f'count("{column}")' for column in TABLES[name].names)
    sql = f"select count(*), {counts} from read_parquet(?, hive_partitioning=false)"
    rows, *present = _rows(connection, (sql, store.glob(name)))[0]
    files = store.files(name)
    return TableSummary(
        name=name,
        rows=rows,
        days=len({file.parent for file in files}) if rows else 0,
        size_bytes=sum(file.stat().st_size for file in files),
        null_rates={
            column: 1.0 - count / rows
            for column, count in zip(TABLES[name].names, present, strict=True)
            if rows
        },
    )


def render(description: Description) -> RenderableType:
    """The description for a terminal."""
    span = f"{description.first_event:%Y-%m-%d %H:%M} to {description.last_event:%Y-%m-%d %H:%M} UTC"
    head = Text(f"{description.kind}: {span}, label {description.label}", style="bold")
    counts = Text(
        f"{description.users:,} users, {description.items:,} items, {description.requests:,} requests with "
        f"exposures; {description.history_users:,} users with a history"
    )
    parts: list[RenderableType] = [head, counts, _table_of_tables(description), _table_of_rates(description)]
    if description.quarantined:
        parts.append(_table_of_quarantine(description))
    parts.extend(Text(f"- {note}", style="dim") for note in description.notes)
    return Group(*parts)


def _table_of_tables(description: Description) -> Table:
    grid = Table("table", "rows", "days", "MB", "null columns (share)")
    for column in grid.columns[1:4]:
        column.justify = "right"
    for table in description.tables:
        partly = {name: rate for name, rate in table.null_rates.items() if rate > 0}
        nulls = ", ".join(f"{name} {rate:.1%}" for name, rate in partly.items() if rate < 1)
        empty = ", ".join(name for name, rate in partly.items() if rate == 1)
        text = "; ".join(part for part in (nulls, f"all null: {empty}" if empty else "") if part)
        grid.add_row(table.name, f"{table.rows:,}", f"{table.days}", f"{table.size_bytes / 1e6:.1f}", text)
    return grid


def _table_of_rates(description: Description) -> Table:
    grid = Table("surface", "exposures", *SHOWN_RATES)
    for column in grid.columns[1:]:
        column.justify = "right"
    for surface in description.surfaces:
        grid.add_row(surface.surface, f"{surface.exposures:,}", *_percent(surface.rates))
    total = sum(surface.exposures for surface in description.surfaces)
    grid.add_row("all", f"{total:,}", *_percent(description.rates), style="bold")
    return grid


def _percent(rates: dict[str, float]) -> list[str]:
    return [f"{rates[label]:.1%}" for label in SHOWN_RATES]


def _table_of_quarantine(description: Description) -> Table:
    grid = Table("put aside", "rows", "reason")
    grid.columns[1].justify = "right"
    for table, reasons in description.quarantined.items():
        for reason, count in reasons.items():
            grid.add_row(table, f"{count:,}", reason)
    return grid
