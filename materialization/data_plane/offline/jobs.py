"""Retrieval jobs: what Feast hands to callers, run when asked for."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import duckdb
import ibis  # type: ignore[import-untyped]
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from materialization.data_plane.offline.arrow_lists import plain_lists
from materialization.data_plane.offline.asof_gather import BATCH_ROWS
from materialization.data_plane.offline.asof_join import AsofJoin, require_room
from materialization.data_plane.offline.duck import DuckSettings, connect
from materialization.data_plane.offline.write import persist_batches, stage_batches


@dataclass(frozen=True)
class Staging:
    """Where results may be exported to, as the stock store's options say."""

    location: str | None
    endpoint: str | None


class ArrowJob(RetrievalJob):  # type: ignore[misc]
    """A job that yields Arrow tables in the order of its rows."""

    def __init__(self, settings: DuckSettings, repo_path: object, staging: Staging) -> None:
        self._settings = settings
        self._repo_path = repo_path
        self._staging = staging

    @abstractmethod
    def to_arrow_batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """The result piece by piece, on-demand features included, never held as a whole."""

    @property
    def full_feature_names(self) -> bool:
        return False

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return None

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,  # noqa: ARG002
    ) -> None:
        """Raises SavedDatasetLocationAlreadyExists unless `allow_overwrite`; then it replaces what was there."""
        persist_batches(
            self.to_arrow_batches(),
            storage.to_data_source(),
            repo_path=self._repo_path,
            allow_overwrite=bool(allow_overwrite),
        )

    def supports_remote_storage_export(self) -> bool:
        return self._staging.location is not None

    def to_remote_storage(self) -> list[str]:
        """Parquet files under `staging_location`, one per piece of the result."""
        if self._staging.location is None:
            raise ValueError("to_remote_storage needs staging_location in the offline store's settings")
        folder = f"{self._staging.location.rstrip('/')}/{uuid.uuid4()}"
        return stage_batches(self.to_arrow_batches(), folder, self._staging.endpoint)


class AsofJob(ArrowJob):
    """Historical features of a request."""

    def __init__(
        self,
        join: AsofJoin,
        on_demand_views: list[OnDemandFeatureView],
        metadata: RetrievalMetadata,
        staging: Staging,
    ) -> None:
        super().__init__(join.settings, join.repo_path, staging)
        self._join = join
        self._on_demand = [view for view in on_demand_views if view.mode != "substrait"]
        self._substrait = [view for view in on_demand_views if view.mode == "substrait"]
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        return self._join.full

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        return self._metadata

    def to_arrow_batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """Pieces have one schema, that of the first."""
        schema = None
        with self._join.run() as joined:
            for piece in joined.batches(rows):
                whole = _Piece(self, self._with_substrait(piece)).to_arrow()
                schema = schema or whole.schema
                yield whole.cast(schema)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        with self._join.run() as joined:
            require_room(joined, self._settings)
            return self._with_substrait(joined.table())

    def _with_substrait(self, table: pa.Table) -> pa.Table:
        for view in self._substrait:
            table = view.transform_ibis(ibis.memtable(table), self._join.full).to_pyarrow()
        return table


class _Piece(RetrievalJob):  # type: ignore[misc]
    """One piece of a job, for Feast's own code that adds on-demand features."""

    def __init__(self, job: AsofJob, table: pa.Table) -> None:
        self._job = job
        self._table = table

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        return self._table

    @property
    def full_feature_names(self) -> bool:
        return self._job.full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._job.on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata:
        return self._job.metadata


class QueryJob(ArrowJob):
    """Rows of a source, by a query that is written once a connection is there."""

    def __init__(
        self,
        query: Callable[[duckdb.DuckDBPyConnection], str],
        settings: DuckSettings,
        repo_path: object,
        staging: Staging,
    ) -> None:
        super().__init__(settings, repo_path, staging)
        self._query = query

    def to_arrow_batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        with self._open() as connection:
            reader = connection.sql(self._query(connection)).to_arrow_reader(rows)
            schema = plain_lists(reader.schema)
            yield schema.empty_table()
            for batch in reader:
                yield pa.Table.from_batches([batch]).cast(schema)

    def to_sql(self) -> str:
        """For DuckDB with the time zone set to UTC."""
        with self._open() as connection:
            return self._query(connection)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        """One chunk per column: Feast's conversion to protos reads the first record batch only."""
        with self._open() as connection:
            table: Any = connection.sql(self._query(connection)).to_arrow_table()
        return table.cast(plain_lists(table.schema)).combine_chunks()

    def _open(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return connect(self._settings)
