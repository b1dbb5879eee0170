"""Where the columns of stored views lie in `Blocks`, and in the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Column, Ragged
from materialization.data_plane.online.batched_fetch import FetchedView, Presence
from materialization.data_plane.rows.layout import FIXED
from ranking_service.assemble import encode, fill
from ranking_service.column_runs import ColumnRuns, column_runs
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.blocks import Blocks
from ranking_service.online.fetched import EntityRows, Origin, ViewRows
from ranking_service.online.view_rows import check_types, layout_of

Places = Mapping[str, int]
"""Column numbers by feature name."""


@dataclass(frozen=True)
class BlockPlan:
    """Where the columns of a contract's views lie in the blocks."""

    contract: Contract
    views: tuple[ViewPlan, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """Of all columns."""
        return frozenset(field.name for view in self.views for field in view.fields)

    @cached_property
    def floats(self) -> Places:
        return self._placed(lambda field: field.value_type == "FLOAT")

    @cached_property
    def numbers(self) -> Places:
        return self._placed(lambda field: field.value_type in FIXED and field.value_type != "FLOAT")

    @cached_property
    def texts(self) -> Places:
        return self._placed(lambda field: field.is_text)

    @cached_property
    def lists(self) -> Places:
        return self._placed(lambda field: field.is_list)

    @cached_property
    def model_places(self) -> npt.NDArray[np.intp]:
        """int [k]: the model's columns that are stored columns of these views."""
        made = {field.name for plan in self.contract.transforms for field in plan.fields}
        made |= {field.name for field in self.contract.request_fields}
        own = {*self.floats, *self.numbers, *self.texts} - made
        return np.array(
            [at for at, feature in enumerate(self.contract.features) if feature.name in own], np.intp
        )

    @cached_property
    def ttl_seconds(self) -> npt.NDArray[np.float64]:
        """float64 [views]; infinite without limit."""
        return np.array([view.ttl_seconds or np.inf for view in self.views])

    @cached_property
    def blank(self) -> Blocks:
        """One row of nothing."""
        lists = tuple(
            Ragged(np.zeros(2, np.int64), np.empty(0, kind), np.zeros(1, np.int64))
            for kind in self.list_types
        )
        return Blocks(
            floats=np.full((1, len(self.floats)), np.nan, np.float32),
            numbers=np.full((1, len(self.numbers)), np.nan),
            texts=np.full((1, len(self.texts)), None, object),
            lists=lists,
            presence=np.full((1, len(self.views)), Origin.UNREAD, np.int8),
            events=np.full((1, len(self.views)), np.nan),
        )

    @cached_property
    def list_types(self) -> tuple[np.dtype[np.generic], ...]:
        """Of each list column's values."""
        kinds = {field.name: field.value_type for view in self.views for field in view.fields}
        return tuple(np.dtype(object if kinds[name] == "STRING_LIST" else np.float64) for name in self.lists)

    @cached_property
    def blank_prepared(self) -> npt.NDArray[np.float32]:
        """float32 [1, k]: the model's columns of a row of nothing."""
        return self.prepared(self.blank)

    def blocks(self, found: Mapping[str, FetchedView]) -> Blocks:
        """Of views that were read for the same entities."""
        rows = [found[view.name] for view in self.views]
        for view, one in zip(self.views, rows, strict=True):
            check_types(view, one)
        events = np.stack([one.event_micros / 1e6 for one in rows], axis=1)
        presence = np.stack([one.presence for one in rows], axis=1)
        damaged = presence == Presence.DAMAGED
        events[damaged | (presence == Presence.NOT_FOUND)] = np.nan
        presence[damaged] = Origin.UNREAD
        columns = [(one.rows, column) for one in rows for column in one.rows.layout.columns]
        numbers = [kept.numbers(column) for kept, column in columns if column.name in self.numbers]
        texts = [kept.texts(column) for kept, column in columns if column.name in self.texts]
        return Blocks(
            floats=np.concatenate([one.rows.floats for one in rows], axis=1),
            numbers=np.stack(numbers, axis=1) if numbers else np.empty((len(presence), 0)),
            texts=np.stack(texts, axis=1) if texts else np.empty((len(presence), 0), object),
            lists=tuple(self._lists(rows)),
            presence=presence,
            events=events,
        )

    def expired(self, blocks: Blocks, at: float) -> npt.NDArray[np.bool_]:
        """bool [n, views]: rows older than their view's ttl at that Unix second."""
        expired: npt.NDArray[np.bool_] = (blocks.events < at - self.ttl_seconds) & (
            blocks.presence == Origin.FOUND
        )
        return expired

    def without(self, blocks: Blocks, gone: npt.NDArray[np.bool_], origin: Origin) -> Blocks:
        """The same with rows of views, bool [n, views], as nothing, and where they come from."""
        lists = (
            _kept(one, ~gone[:, view]) if gone[:, view].any() else one
            for one, view in zip(blocks.lists, self.view_of(self.lists).tolist(), strict=True)
        )
        return Blocks(
            floats=np.where(gone[:, self.view_of(self.floats)], np.float32(np.nan), blocks.floats),
            numbers=np.where(gone[:, self.view_of(self.numbers)], np.nan, blocks.numbers),
            texts=np.where(gone[:, self.view_of(self.texts)], np.array(None), blocks.texts),
            lists=tuple(lists),
            presence=np.where(gone, np.int8(origin), blocks.presence),
            events=blocks.events,
        )

    def prepared(self, blocks: Blocks) -> npt.NDArray[np.float32]:
        """float32 [n, k]: the model's columns among these, as `fill` and `encode` make them."""
        result = np.empty((len(blocks), len(self.model_places)), np.float32)
        for ours, theirs in self._float_runs:
            chosen, filled = blocks.floats[:, theirs], result[:, ours]
            filled[:] = chosen
            np.copyto(filled, self._float_defaults[ours], where=np.isnan(chosen))
        columns, stored = BlockColumns(self, blocks), self.contract.raw_fields
        for place in self._other_places:
            feature = self.contract.features[self.model_places[place]]
            result[:, place] = encode(fill(columns[feature.name], stored[feature.name]), feature)
        return result

    def entity_rows(self, blocks: Blocks) -> EntityRows:
        """By name."""
        views = {
            view.name: ViewRows(blocks.presence[:, place], blocks.events[:, place])
            for place, view in enumerate(self.views)
        }
        return EntityRows(BlockColumns(self, blocks), views)

    def view_of(self, names: Iterable[str]) -> npt.NDArray[np.intp]:
        """int: the view that each of these columns belongs to."""
        owner = {field.name: place for place, view in enumerate(self.views) for field in view.fields}
        return np.array([owner[name] for name in names], np.intp)

    @cached_property
    def model_views(self) -> npt.NDArray[np.intp]:
        """int [k]: the view that each of `model_places` belongs to."""
        return self.view_of(self._model_names)

    @cached_property
    def matrix_places(self) -> ColumnRuns:
        """Columns of what `prepared` gives, and columns of the matrix."""
        return column_runs(range(len(self.model_places)), self.model_places.tolist())

    @cached_property
    def _model_names(self) -> list[str]:
        return [self.contract.features[place].name for place in self.model_places.tolist()]

    @cached_property
    def _float_runs(self) -> ColumnRuns:
        """Columns of what `prepared` gives, and columns of `Blocks.floats`."""
        ours = [place for place, name in enumerate(self._model_names) if name in self.floats]
        return column_runs(ours, [self.floats[self._model_names[place]] for place in ours])

    @cached_property
    def _float_defaults(self) -> npt.NDArray[np.float32]:
        """float32 [k]; of FLOAT features only."""
        stored = self.contract.raw_fields
        return np.array(
            [stored[name].default if name in self.floats else np.nan for name in self._model_names],
            np.float32,
        )

    @cached_property
    def _other_places(self) -> list[int]:
        return [place for place, name in enumerate(self._model_names) if name not in self.floats]

    def _lists(self, rows: Sequence[FetchedView]) -> Iterator[Ragged]:
        for one in rows:
            for column in one.rows.layout.columns:
                if column.name not in self.lists:
                    continue
                lists = one.rows.lists(column)
                values = (
                    lists.values if column.value_type == "STRING_LIST" else lists.values.astype(np.float64)
                )
                yield Ragged(lists.offsets, values, np.arange(len(one.presence)))

    def _placed(self, wanted: Callable[[Field], bool]) -> Places:
        """In the order of the views' layouts."""
        fields = {field.name: field for view in self.views for field in view.fields}
        names = [
            column.name
            for view in self.views
            for column in layout_of(view).columns
            if wanted(fields[column.name])
        ]
        return {name: place for place, name in enumerate(names)}


class BlockColumns(Mapping[str, Column]):
    """The columns of blocks by name, each made when it is first looked at."""

    def __init__(self, plan: BlockPlan, blocks: Blocks) -> None:
        self.plan = plan
        self.blocks = blocks
        self._made: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._made:
            self._made[name] = self._column(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self.plan.names

    def __iter__(self) -> Iterator[str]:
        return (field.name for view in self.plan.views for field in view.fields)

    def __len__(self) -> int:
        return sum(len(view.fields) for view in self.plan.views)

    def _column(self, name: str) -> Column:
        plan, blocks = self.plan, self.blocks
        if name in plan.floats:
            return blocks.floats[:, plan.floats[name]].astype(np.float64)
        if name in plan.numbers:
            return blocks.numbers[:, plan.numbers[name]]
        if name in plan.texts:
            return blocks.texts[:, plan.texts[name]]
        return blocks.lists[plan.lists[name]]


def _kept(lists: Ragged, kept: npt.NDArray[np.bool_]) -> Ragged:
    """The same with empty lists in the rows that are not `kept`."""
    offsets = np.concatenate((lists.offsets, lists.offsets[-1:]))
    return Ragged(offsets, lists.values, np.where(kept, lists.rows, len(lists.offsets) - 1))
