"""The rows one request needs, read past the server: for the floors, and for the same rows behind stock Feast."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Column, Columns, Ragged, take
from materialization.data_plane.online.batched_fetch import BatchedFetch, FetchedView, ViewRead
from materialization.data_plane.online.link import HashRead, RedisLink
from materialization.data_plane.rows.keys import ViewKeys, text_entities
from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.reading import Rows
from ranking_service.assemble import assemble
from ranking_service.bench.slates import SURFACE, Slate
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.request import RankRequest


@dataclass(frozen=True)
class StoredRows:
    """All rows of all views of one contract."""

    contract: Contract
    plan: BatchedFetch

    @classmethod
    def of(cls, contract: Contract) -> StoredRows:
        return cls(
            contract, BatchedFetch(tuple(_view_read(contract.project, view) for view in contract.views))
        )

    def reads(self, slate: Slate) -> tuple[list[bytes], list[HashRead]]:
        """Keys of the strings, and of the hashes' fields."""
        return self.plan.reads(_entities(slate))

    def fetch(self, link: RedisLink, slate: Slate, at: datetime) -> dict[str, FetchedView]:
        """By view; a view of the user's has one row, the others one for each item. Raises OnlineStoreError."""
        return self.plan.fetch(link, _entities(slate), at=at.timestamp())

    def matrix(self, link: RedisLink, slate: Slate, at: datetime) -> npt.NDArray[np.float32]:
        """What the model sees of a request: float32 [items, features]. Raises OnlineStoreError."""
        request = RankRequest(
            request_id="",
            user_id=slate.user_id,
            candidate_ids=slate.item_ids,
            request_timestamp=at.timestamp(),
            surface=SURFACE,
        )
        found = self.fetch(link, slate, at)
        columns: dict[str, Column] = {}
        for view in self.contract.views:
            rows = found[view.name].rows
            columns |= _at_length(view_columns(view, rows), len(slate.item_ids))
        return assemble({**columns, **request.columns(self.contract)}, self.contract)


def view_columns(view: ViewPlan, rows: Rows) -> dict[str, Column]:
    """In the order of the view's fields."""
    return {field.name: _column(field, rows) for field in view.fields}


def _view_read(project: str, view: ViewPlan) -> ViewRead:
    return ViewRead(
        name=view.name,
        keys=ViewKeys(project, view.name, view.join_keys),
        layout=layout(view),
        request_columns=view.join_keys,
        ttl_seconds=view.ttl_seconds,
    )


def layout(view: ViewPlan) -> Layout:
    """Of the view's rows."""
    return Layout.of((field.name, field.value_type) for field in view.fields)


def _entities(slate: Slate) -> dict[str, list[bytes]]:
    return {"user_id": text_entities([slate.user_id]), "item_id": text_entities(slate.item_ids)}


def _column(field: Field, rows: Rows) -> Column:
    column = rows.layout.columns[rows.layout.places[field.name]]
    if field.value_type == "FLOAT":
        return rows.floats[:, rows.layout.floats.index(column)].astype(np.float64)
    if field.is_list:
        lists = rows.lists(column)
        values = lists.values if field.value_type == "STRING_LIST" else lists.values.astype(np.float64)
        return Ragged(lists.offsets, values, np.arange(len(rows)))
    return rows.texts(column) if field.is_text else rows.numbers(column)


def _at_length(columns: Columns, count: int) -> dict[str, Column]:
    """A single row stands for all."""
    repeated = np.zeros(count, np.intp)
    return {
        name: column if len(column) == count else take(column, repeated) for name, column in columns.items()
    }
