"""One historical request from end to end: plan the views, match each side once, gather the columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
from feast.feature_view import FeatureView

from feature_repo.errors import FeatureError, SettingError
from materialization.data_plane.offline.asof_gather import Gathered, Joined, Spill, gather, source_order
from materialization.data_plane.offline.asof_match import match, window
from materialization.data_plane.offline.asof_plan import PlannedView, Planner, Side, batch_source, requested
from materialization.data_plane.offline.asof_request import Request
from materialization.data_plane.offline.duck import (
    DuckSettings,
    connect,
    memory_limit_bytes,
    spill_folder_of,
)
from materialization.data_plane.offline.duck_files import FileStamps

HELD_SHARE = 4
"""One side's rows are held in memory up to this fraction of the limit."""


@dataclass(frozen=True)
class AsofJoin:
    """Which features as of when; running it opens a DuckDB of its own."""

    views: tuple[FeatureView, ...]
    feature_refs: tuple[str, ...]
    request: Request
    full: bool
    knowledge: bool
    settings: DuckSettings
    repo_path: object

    def check_names(self) -> None:
        """Raises FeatureError where two columns of the result would share a name."""
        names = [*self.request.table.column_names, *self.feature_names()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FeatureError(
                f"the result would have two columns named {', '.join(twice)}: a feature is named like a column of the "
                "entity frame or another feature; rename the column, or ask for full_feature_names"
            )

    def feature_names(self) -> list[str]:
        return [
            shown for view in self.views for _, shown in requested(view, self.feature_refs, full=self.full)
        ]

    @contextmanager
    def run(self) -> Iterator[Joined]:
        """The joined rows, readable while the block lasts."""
        with connect(self.settings) as connection:
            stamps = FileStamps.of([batch_source(view) for view in self.views], self.repo_path)
            planner = Planner(connection, self.repo_path, self.knowledge)
            planned = planner.plan(self.views, self.feature_refs, full=self.full)
            spill = Spill(spill_folder_of(connection), memory_limit_bytes(self.settings) // HELD_SHARE)
            found = {side: self._side(connection, views, spill) for side, views in _by_side(planned).items()}
            stamps.check()
            order = {side: source_order(views) for side, views in _by_side(planned).items()}
            features = [
                (shown, found[view.side], f"c{order[view.side].index(column)}")
                for view in planned
                for column, shown in view.features
            ]
            yield Joined(self.request.table, tuple(features), self.settings.threads or os.cpu_count() or 1)

    def _side(
        self, connection: duckdb.DuckDBPyConnection, views: Sequence[PlannedView], spill: Spill
    ) -> Gathered:
        positions = match(connection, self.request, views[0])
        seen = window(self.request, views[0].side)
        return gather(connection, views, positions, window=seen, spill=spill)


def require_room(joined: Joined, settings: DuckSettings) -> None:
    """Raises SettingError where the whole table would not fit into the memory limit."""
    limit = memory_limit_bytes(settings)
    if joined.bytes_expected > limit:
        raise SettingError(
            f"the joined table of {joined.request.num_rows:,} rows needs about {joined.bytes_expected / 1e9:.1f} GB, "
            f"memory_limit allows {limit / 1e9:.1f} GB; raise memory_limit, or read it piece by piece with the job's "
            "to_arrow_batches() or persist(), which hold one piece at a time"
        )


def _by_side(planned: Sequence[PlannedView]) -> dict[Side, list[PlannedView]]:
    sides: dict[Side, list[PlannedView]] = {}
    for view in planned:
        sides.setdefault(view.side, []).append(view)
    return sides
