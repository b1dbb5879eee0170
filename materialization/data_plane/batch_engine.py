"""Materialization at the speed of the data: DuckDB finds, numpy packs, Redis takes.

    batch_engine:
      type: materialization.data_plane.batch_engine.PackedBatchEngine
      memory_limit: 1GB        # optional, as everything below `type`

`feast materialize`, `materialize-incremental` and the Python API call it. Views it cannot read itself (with
transformations, aggregations, other stores ...) it hands to Feast's own local engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from feast import BatchFeatureView, Entity, FeatureView, OnDemandFeatureView, StreamFeatureView
from feast.infra.common.materialization_job import (
    MaterializationJob,
    MaterializationJobStatus,
    MaterializationTask,
)
from feast.infra.common.retrieval_task import HistoricalRetrievalTask
from feast.infra.compute_engines.base import ComputeEngine
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field, StrictBool, StrictStr, ValidationError

from feature_repo.errors import SettingError
from materialization.data_plane.batch.materialize_rows import load
from materialization.data_plane.batch.newest_rows import ViewColumns, find_newest
from materialization.data_plane.batch.own_path import refuse_other_engines, why_not_own
from materialization.data_plane.batch.view_rows import view_rows
from materialization.data_plane.offline.duck import DuckSettings, connect

log = logging.getLogger(__name__)


class PackedBatchEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings under `batch_engine`; all but `type` may be left out."""

    type: StrictStr = "materialization.data_plane.batch_engine.PackedBatchEngine"
    memory_limit: StrictStr = "1GB"
    """What DuckDB may use; beyond it, it spills to disk."""
    threads: int | None = Field(default=None, gt=0)
    """Of DuckDB; by default all cores while it looks for the newest rows, then one."""
    spill_directory: StrictStr | None = None
    """The system's temporary folder by default."""
    max_spill_size: StrictStr | None = None
    """90% of the free disk by default."""
    batch_rows: int = Field(default=16_384, gt=0)
    """Rows packed and written at once; Feast's `online_write_batch_size` lowers it."""
    progress: StrictBool = True
    """Whether to show Feast's progress bar."""
    backend: StrictStr | None = None
    """Of Feast's local engine, for the views handed to it: pandas or polars."""


@dataclass
class PackedMaterializationJob(MaterializationJob):  # type: ignore[misc]
    """What became of one view."""

    task: MaterializationTask
    failure: BaseException | None = None

    def status(self) -> MaterializationJobStatus:
        """SUCCEEDED or ERROR: the work is done when there is a job."""
        return MaterializationJobStatus.ERROR if self.failure else MaterializationJobStatus.SUCCEEDED

    def error(self) -> BaseException | None:
        """Feast raises it and moves no watermark."""
        return self.failure

    def should_be_retried(self) -> bool:
        """Running the same command again is safe, but nobody does so by itself."""
        return False

    def job_id(self) -> str:
        """As the local engine names its jobs."""
        return f"{self.task.feature_view.name}-{self.task.start_time}-{self.task.end_time}"

    def url(self) -> str | None:
        """There is nothing to look at."""
        return None


class PackedBatchEngine(ComputeEngine):  # type: ignore[misc]
    """A Feast compute engine; drop-in for the local one."""

    def __init__(self, **kwargs: Any) -> None:
        stores = {key: kwargs.pop(key) for key in ("repo_config", "offline_store", "online_store")}
        super().__init__(**stores)
        try:
            self.config = PackedBatchEngineConfig(**kwargs)
        except ValidationError as error:
            raise SettingError(f"batch_engine in feature_store.yaml: {error}") from error
        self.local = LocalComputeEngine(backend=self.config.backend, **stores)

    def update(
        self,
        project: str,
        views_to_delete: Sequence[BatchFeatureView | StreamFeatureView | FeatureView],
        views_to_keep: Sequence[BatchFeatureView | StreamFeatureView | FeatureView | OnDemandFeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
    ) -> None:
        """Nothing of the engine outlives a run."""

    def teardown_infra(
        self,
        project: str,
        fvs: Sequence[BatchFeatureView | StreamFeatureView | FeatureView],
        entities: Sequence[Entity],
    ) -> None:
        """Nothing of the engine outlives a run."""

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> MaterializationJob:
        reason = why_not_own(task, self.online_store, self.offline_store)
        try:
            if reason is not None:
                return self._by_local_engine(registry, task, reason, **kwargs)
            self._load(task)
        except Exception as error:  # noqa: BLE001 Feast asks for any error as part of the job
            return PackedMaterializationJob(task, error)
        return PackedMaterializationJob(task)

    def get_historical_features(
        self, registry: BaseRegistry, task: HistoricalRetrievalTask
    ) -> RetrievalJob | pa.Table:
        """By Feast's local engine: `FeatureStore.get_historical_features` does not come here."""
        return self.local.get_historical_features(registry, task)

    def _load(self, task: MaterializationTask) -> None:
        view = task.feature_view
        rows = view_rows(self.repo_config, self.online_store, view)
        with connect(self._duck_settings()) as connection:
            newest = find_newest(
                connection,
                ViewColumns.of(view),
                repo_path=self.repo_config.repo_path,
                start=task.start_time,
                end=task.end_time,
            )
            rows.writer.register(rows.maker.layout)
            with self._bar(task, newest.count()) as advance:
                loaded = load(
                    newest.batches(self._batch_rows()),
                    rows=rows,
                    advance=advance,
                )
        if loaded.keyless:
            log.warning(
                "%s of %s left out: a join key is null, so nobody could ask for them",
                "1 row" if loaded.keyless == 1 else f"{loaded.keyless} rows",
                view.name,
            )

    def _by_local_engine(
        self, registry: BaseRegistry, task: MaterializationTask, reason: str, **kwargs: Any
    ) -> MaterializationJob:
        view = task.feature_view
        refuse_other_engines(view)
        log.info("%s goes to Feast's local engine: %s", view.name, reason)
        (job,) = self.local.materialize(registry, task, **kwargs)
        failure = job.error()
        if failure is not None:
            failure.add_note(f"{view.name} was materialized by Feast's local engine, because {reason}")
        return job

    @contextmanager
    def _bar(self, task: MaterializationTask, total: int) -> Iterator[Callable[[int], object]]:
        """What to call with each number of rows that is done."""
        if task.tqdm_builder is None or not self.config.progress:
            yield lambda _: None
            return
        with task.tqdm_builder(total) as bar:
            yield bar.update

    def _batch_rows(self) -> int:
        wanted = self.repo_config.materialization_config.online_write_batch_size
        return min(self.config.batch_rows, wanted or self.config.batch_rows)

    def _duck_settings(self) -> DuckSettings:
        return DuckSettings(
            memory_limit=self.config.memory_limit,
            threads=self.config.threads,
            spill_directory=self.config.spill_directory,
            max_spill_size=self.config.max_spill_size,
        )
