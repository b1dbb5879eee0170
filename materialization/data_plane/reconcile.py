"""Find and repair what incremental materialization misses: late rows, corrections, rows that should be gone.

The rows in Redis are compared with the newest offline row of every entity as of a view's watermark, the end of what
was materialized last. Offline rows that Redis lacks or knows otherwise are written, newest wins; rows of entities the
source has no row of any more, or older than the ttl, are deleted if they are still as they were read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from feast import FeatureStore, FeatureView

from feature_repo.errors import FeatureError, SettingError
from materialization.data_plane.batch.newest_rows import ViewColumns, find_newest, micros
from materialization.data_plane.batch.own_path import why_view_is_not_plain
from materialization.data_plane.batch.reconcile_compare import Bounds
from materialization.data_plane.batch.reconcile_pass import Findings, Pass
from materialization.data_plane.batch.view_rows import view_rows
from materialization.data_plane.offline.duck import DuckSettings, connect
from materialization.data_plane.online.scanning import OnlineRows
from materialization.data_plane.online_store import PackedRedisOnlineStore

Report: TypeAlias = Callable[[str, int, int], None]
"""`report(step, done, total)` as the work on a view advances."""
MEMORY_LIMIT = "1GB"
EMPTY = "its source has no row in the window, and on that evidence alone nothing is deleted"


@dataclass(frozen=True)
class ViewReport:
    """What was found in one view, and what was done about it."""

    view: str
    as_of: datetime | None
    """The watermark compared at; None for a view that was not compared."""
    findings: Findings = field(default_factory=Findings)
    not_compared: str | None = None
    """Why, if so."""


@dataclass(frozen=True)
class Scope:
    """What to compare, and whether to repair it."""

    views: Sequence[str] = ()
    """All that can be compared, if none is named."""
    sample: int | None = None
    """About how many entities (of the first join key) of each view; None for all. Which ones depends on the
    watermark and the entities alone."""
    as_of: datetime | None = None
    """In place of each view's watermark."""
    dry_run: bool = False
    """Change nothing."""


def reconcile(
    store: FeatureStore,
    scope: Scope,
    *,
    settings: DuckSettings | None = None,
    report: Report = lambda *_: None,
) -> list[ViewReport]:
    """Compare views one after the other; works for any Feast project whose online store is ours.

    Raises SettingError for another online store, FeatureError for an unknown view, OnlineStoreError and redis errors
    where Redis fails; what was repaired before stays repaired, and running again finds the rest.
    """
    online_store = store._get_provider().online_store
    if not isinstance(online_store, PackedRedisOnlineStore):
        raise SettingError(
            f"reconcile compares packed rows, and the online store is {type(online_store).__name__}; set "
            "online_store.type to materialization.data_plane.online_store.PackedRedisOnlineStore"
        )
    return [
        _reconcile_view(store, online_store, view, scope, settings=settings, report=report)
        for view in _chosen(store, scope.views)
    ]


def watermark(view: FeatureView) -> datetime | None:
    """The end of what was materialized of a view; None where nothing was."""
    ends = [end for _, end in view.materialization_intervals]
    return max((end.replace(tzinfo=end.tzinfo or UTC) for end in ends), default=None)


def _reconcile_view(
    store: FeatureStore,
    online_store: PackedRedisOnlineStore,
    view: FeatureView,
    scope: Scope,
    *,
    settings: DuckSettings | None,
    report: Report,
) -> ViewReport:
    reason = why_view_is_not_plain(view)
    as_of = scope.as_of or watermark(view)
    if reason is not None or as_of is None:
        return ViewReport(view.name, None, not_compared=reason or "it was never materialized")
    start = as_of - view.ttl if view.ttl else None
    rows = view_rows(store.config, online_store, view)
    with connect(settings or DuckSettings(memory_limit=MEMORY_LIMIT)) as connection:
        newest = find_newest(
            connection, ViewColumns.of(view), repo_path=store.config.repo_path, start=start, end=as_of
        )
        if not newest.count():
            return ViewReport(view.name, None, not_compared=EMPTY)
        comparing = Pass(
            newest,
            rows,
            OnlineRows.of(rows.writer.connections, rows.maker.keys),
            _bounds(as_of, start, store.config.online_store.keep_expired_seconds),
            is_pushed=view.stream_source is not None,
            dry_run=scope.dry_run,
            report=lambda step, done, total: report(f"{view.name}: {step}", done, total),
        )
        return ViewReport(view.name, as_of, comparing.run(scope.sample))


def _bounds(as_of: datetime, start: datetime | None, keep_seconds: int) -> Bounds:
    if start is None:
        return Bounds(micros(as_of), None, None)
    return Bounds(micros(as_of), micros(start), micros(start - timedelta(seconds=keep_seconds)))


def _chosen(store: FeatureStore, names: Sequence[str]) -> list[FeatureView]:
    views = [
        view
        for view in [
            *store.registry.list_feature_views(store.project),
            *store.registry.list_stream_feature_views(store.project),
        ]
        if view.online
    ]
    known = {view.name: view for view in views}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise FeatureError(
            f"no online feature view named {', '.join(unknown)}; there are {', '.join(known) or 'none'}"
        )
    return [known[name] for name in names] if names else views
