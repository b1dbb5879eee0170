"""A Feast offline store on DuckDB: point-in-time joins by row id, by what was known then, in bounded memory.

In `feature_store.yaml`:

    offline_store:
      type: materialization.data_plane.offline_store.AsofDuckDBOfflineStore

A label sees the newest row whose event lies in [label - ttl, label] and that was created by then; a row without created
time was always known. Of rows alike in both times the last in the source counts. Times are compared as microseconds,
or as nanoseconds where either side has them; naive ones are UTC. A null key matches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _validate_lance_feature_views,
)
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from pydantic import StrictBool

from materialization.data_plane.offline.asof_join import AsofJoin
from materialization.data_plane.offline.asof_plan import request_keys
from materialization.data_plane.offline.asof_request import read_request
from materialization.data_plane.offline.asof_snapshot import snapshot_request
from materialization.data_plane.offline.duck import DuckSettings
from materialization.data_plane.offline.duck_files import is_parquet
from materialization.data_plane.offline.jobs import AsofJob, QueryJob, Staging
from materialization.data_plane.offline.pull import Pull, source_schema
from materialization.data_plane.offline.write import append_logs, append_rows


class AsofDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """The stock DuckDB store's options, and these."""

    type: Literal["materialization.data_plane.offline_store.AsofDuckDBOfflineStore"] = (
        "materialization.data_plane.offline_store.AsofDuckDBOfflineStore"
    )
    knowledge_time: StrictBool = True
    """Whether rows created after the label's time are unknown to it. `filter_by_created_timestamp=True` switches this
    on for one call; Feast passes nothing for False, so a call cannot switch it off."""
    memory_limit: str | None = None
    """Bound of one query, and of the table it returns, such as `4GB`; 60% of the memory by default."""
    threads: int | None = None
    """All cores by default."""
    spill_directory: str | None = None
    """Where a private spill folder is made; the system's temporary folder by default."""
    max_spill_size: str | None = None
    """Such as `100GB`; 90% of the free disk by default."""

    def duck_settings(self) -> DuckSettings:
        return DuckSettings(self.memory_limit, self.threads, self.spill_directory, self.max_spill_size)

    def staging(self) -> Staging:
        return Staging(self.staging_location, self.staging_location_endpoint_override)


class AsofDuckDBOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """Everything the stock DuckDB store does; historical features, pulls and writes are our own."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Without `entity_df`: every entity seen in [start_date, end_date], as of its end."""
        _validate_lance_feature_views(feature_views)
        store = config.offline_store
        settings = store.duck_settings()
        bounds: tuple[datetime, datetime] | None
        if entity_df is None:
            request, bounds = snapshot_request(
                feature_views, config, settings, start_date=start_date, end_date=end_date
            )
        else:
            request = read_request(entity_df, settings)
            bounds = request.bounds()
        request.require([column for view in feature_views for column in request_keys(view).values()])
        join = AsofJoin(
            views=tuple(feature_views),
            feature_refs=tuple(feature_refs),
            request=request,
            full=full_feature_names,
            knowledge=store.knowledge_time or filter_by_created_timestamp,
            settings=settings,
            repo_path=config.repo_path,
        )
        join.check_names()
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in request.table.column_names if name != request.time_column],
            min_event_timestamp=bounds[0] if bounds else None,
            max_event_timestamp=bounds[1] if bounds else None,
        )
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return AsofJob(join, on_demand, metadata, store.staging())

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        pull = Pull(
            source=data_source,
            repo_path=config.repo_path,
            keys=tuple(join_key_columns),
            features=tuple(feature_name_columns),
            event=timestamp_field,
            created=created_timestamp_column or None,
            start=start_date,
            end=end_date,
        )
        return _pulled(config, pull.latest_sql)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        pull = Pull(
            source=data_source,
            repo_path=config.repo_path,
            keys=tuple(join_key_columns),
            features=tuple(feature_name_columns),
            event=timestamp_field,
            created=created_timestamp_column or None,
            start=start_date,
            end=end_date,
        )
        return _pulled(config, pull.all_sql)

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """As the joins will read them: patterns, partitions and paths relative to the working directory too."""
        if not is_parquet(data_source):
            return super().get_table_column_names_and_types_from_data_source(config, data_source)  # type: ignore[no-any-return]
        schema = source_schema(data_source, config.repo_path, config.offline_store.duck_settings())
        return [(field.name, str(field.type)) for field in schema]

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append to the view's source: a file is replaced by a longer one at once, a folder gets one more file."""
        if not append_rows(config, feature_view, table):
            DuckDBOfflineStore.offline_write_batch(config, feature_view, table, None)
        if progress is not None:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,  # noqa: ARG004
        logging_config: LoggingConfig,
        registry: BaseRegistry,  # noqa: ARG004
    ) -> None:
        append_logs(data, logging_config.destination, config.repo_path)


def _pulled(config: RepoConfig, query: Callable[[Any], str]) -> QueryJob:
    store = config.offline_store
    return QueryJob(query, store.duck_settings(), config.repo_path, store.staging())
