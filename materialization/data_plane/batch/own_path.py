"""Which views the batch engine materializes itself, and which it leaves to Feast's local engine."""

from __future__ import annotations

from feast import FeatureView
from feast.infra.common.materialization_job import MaterializationTask
from feast.infra.offline_stores.dask import DaskOfflineStore
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.infra.online_stores.online_store import OnlineStore

from feature_repo.errors import FeatureError
from materialization.data_plane.offline_store import AsofDuckDBOfflineStore
from materialization.data_plane.online_store import PackedRedisOnlineStore

FILE_STORES = (AsofDuckDBOfflineStore, DuckDBOfflineStore, DaskOfflineStore)
"""Offline stores whose sources DuckDB reads as they would."""
OTHER_ENGINES = ("sql", "spark_sql")
"""Transformations that are a query in another engine's language."""


def why_not_own(
    task: MaterializationTask, online_store: OnlineStore, offline_store: OfflineStore
) -> str | None:
    """Why a task goes to Feast's local engine; None where this one does it."""
    if not isinstance(online_store, PackedRedisOnlineStore):
        return f"the online store is {type(online_store).__name__}"
    if not isinstance(offline_store, FILE_STORES):
        return f"the offline store is {type(offline_store).__name__}"
    return "only_latest is off" if not task.only_latest else why_view_is_not_plain(task.feature_view)


def why_view_is_not_plain(view: FeatureView) -> str | None:
    """Why the newest row per entity of its batch source is not all there is to a view; None where it is."""
    if getattr(view, "source_views", None):
        return "it is computed from other feature views"
    if getattr(view, "feature_transformation", None):
        return "it has a transformation"
    if getattr(view, "aggregations", None):
        return "it has aggregations"
    if getattr(view, "enable_validation", False):
        return "it has enable_validation"
    if getattr(view, "filter", None):
        return "it has a filter"
    if view.offline:
        return "it writes back to the offline store"
    if not isinstance(view.batch_source, FileSource):
        return f"its source is a {type(view.batch_source).__name__}"
    return None


def refuse_other_engines(view: FeatureView) -> None:
    """Raises FeatureError for a transformation that neither this engine nor Feast's local one can run."""
    mode = getattr(getattr(view, "feature_transformation", None), "mode", None)
    mode = getattr(mode, "value", mode)
    if mode in OTHER_ENGINES:
        raise FeatureError(
            f"{view.name} has a transformation in mode {mode!r}, which runs inside Spark or a warehouse; set "
            "`batch_engine` to that engine (such as spark.engine), or write it in mode pandas or python"
        )
