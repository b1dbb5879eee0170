"""Reads the packed rows of one contract: the user, the items, and the user with each item, in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.columns import Column, Ragged
from feature_repo.errors import BundleError, OnlineStoreError
from materialization.data_plane.online.batched_fetch import BatchedFetch, FetchedView, Presence, ViewRead
from materialization.data_plane.online.link import HashRead, RedisLink
from materialization.data_plane.rows.keys import ViewKeys, text_entities
from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.reading import Rows
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.fetched import EntityRows, Fetched, ViewRows

USER, ITEM = "user_id", "item_id"
KINDS = (frozenset({USER}), frozenset({ITEM}), frozenset({USER, ITEM}))
"""Join keys of the views a request can read: the user's, the items', the pairs'."""


@dataclass(frozen=True)
class PackedReader:
    """Thread-safe."""

    link: RedisLink
    project: str
    plan: BatchedFetch
    views: tuple[ViewPlan, ...]

    @classmethod
    def compile(cls, contract: Contract, link: RedisLink) -> PackedReader:
        """Raises BundleError naming every view with join keys that a ranking request does not have."""
        check_join_keys(contract)
        reads = tuple(
            ViewRead(
                name=view.name,
                keys=ViewKeys(contract.project, view.name, view.join_keys),
                layout=Layout.of((field.name, field.value_type) for field in view.fields),
                request_columns=view.join_keys,
                ttl_seconds=view.ttl_seconds,
            )
            for view in contract.views
        )
        return cls(link, contract.project, BatchedFetch(reads), contract.views)

    def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float) -> Fetched:
        """`at` is the request's time in Unix seconds, against which ttl counts. Raises OnlineStoreError."""
        entities = {USER: text_entities([user_id]), ITEM: text_entities(item_ids)}
        found = self.plan.fetch(self.link, entities, at=at)
        groups = [_entity_rows(self._keyed_by(kind), found) for kind in KINDS]
        return Fetched(len(item_ids), *groups)

    def has_rows(self) -> bool | None:
        """Whether Redis holds a row of the project; None when a short look did not tell. Raises OnlineStoreError."""
        looks = [self.link.holds_key_like(read.keys.all_rows) for read in self.plan.views]
        return True if True in looks else None if None in looks else False

    def older_views(self) -> list[str]:
        """Views whose rows in Redis were all written under other definitions. Raises OnlineStoreError."""
        written = {read.name: self.link.fields(read.keys.schemas) for read in self.plan.views}
        return [
            read.name
            for read in self.plan.views
            if written[read.name] and read.layout.fingerprint.hex().encode() not in written[read.name]
        ]

    def plain_reads(self, user_id: str, item_ids: Sequence[str]) -> tuple[list[bytes], list[HashRead]]:
        """Keys of the strings and of the hashes' fields that `fetch` reads: a benchmark's floor."""
        return self.plan.reads({USER: text_entities([user_id]), ITEM: text_entities(item_ids)})

    def _keyed_by(self, kind: frozenset[str]) -> list[ViewPlan]:
        return [view for view in self.views if set(view.join_keys) == kind]


def check_join_keys(contract: Contract) -> None:
    """Raises BundleError naming every view with join keys that a ranking request does not have."""
    strangers = [view.name for view in contract.views if set(view.join_keys) not in KINDS]
    if strangers:
        raise BundleError(
            f"a request knows user_id and item_id only, but views {', '.join(strangers)} have other join "
            "keys; key them by user_id, item_id or both"
        )


def _entity_rows(views: Sequence[ViewPlan], found: dict[str, FetchedView]) -> EntityRows:
    columns: dict[str, Column] = {}
    rows: dict[str, ViewRows] = {}
    for view in views:
        fetched = found[view.name]
        times = fetched.event_micros / 1e6
        times[fetched.presence == Presence.NOT_FOUND] = np.nan
        rows[view.name] = ViewRows(fetched.presence, times)
        columns |= _columns(view, fetched.rows)
    return EntityRows(columns, rows)


def _columns(view: ViewPlan, rows: Rows) -> dict[str, Column]:
    """In the order of the view's fields; FLOAT columns are views of one block."""
    for box in rows.boxes():
        field = view.fields[box.column]
        raise OnlineStoreError(
            f"feature {view.name}:{field.name} is {field.value_type} in the contract, but Redis holds a value of "
            "another type; materialize the view again"
        )
    floats = iter(rows.floats.astype(np.float64).T)
    return {
        field.name: next(floats) if field.value_type == "FLOAT" else _column(field, rows)
        for field in view.fields
    }


def _column(field: Field, rows: Rows) -> Column:
    column = rows.layout.columns[rows.layout.places[field.name]]
    if field.is_list:
        lists = rows.lists(column)
        values = lists.values if field.value_type == "STRING_LIST" else lists.values.astype(np.float64)
        return Ragged(lists.offsets, values, np.arange(len(rows)))
    return rows.texts(column) if field.is_text else rows.numbers(column)
