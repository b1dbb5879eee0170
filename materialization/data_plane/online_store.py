"""Feast's online store on packed rows: one Redis value per entity and view, all views in one round trip.

    online_store:
      type: materialization.data_plane.online_store.PackedRedisOnlineStore
      connection_string: localhost:6379

docs/packed-rows.md describes the bytes, the keys and every setting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from feast import Entity, FeatureService, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field, StrictBool, StrictInt, StrictStr

from materialization.data_plane.online.connection import ConnectionSettings, RedisConnections
from materialization.data_plane.online.deletion import delete_views
from materialization.data_plane.online.reads import (
    Naming,
    OnlineReader,
    OnlineRow,
    asked_by_keys,
    asked_by_request,
    fill,
    online_rows,
)
from materialization.data_plane.online.requests import checked_request, without_vectors
from materialization.data_plane.online.write_batch import Batch, DataRow
from materialization.data_plane.online.writing import RowWriter
from materialization.data_plane.rows.view_layout import keys_of, names_gone, ttl_seconds

log = logging.getLogger(__name__)
Progress = Callable[[int], Any] | None


class PackedRedisOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings under `online_store`; all but `type` may be left out."""

    type: StrictStr = "materialization.data_plane.online_store.PackedRedisOnlineStore"
    redis_type: Literal["redis", "redis_cluster", "redis_sentinel"] = "redis"
    connection_string: StrictStr = "localhost:6379"
    """`host:port,host2:port,db=0,ssl=true,username=..,password=..`, a URL (redis, rediss, unix), or a socket's path."""
    sentinel_master: StrictStr = "mymaster"
    connect_timeout_ms: int = Field(default=100, gt=0)
    command_timeout_ms: int = Field(default=100, gt=0)
    """How long a read waits for Redis, and for a free connection."""
    write_timeout_ms: int = Field(default=5_000, gt=0)
    """How long a write waits for the server to take a batch."""
    max_connections: int = Field(default=32, gt=0)
    """Of each pool; who finds none free waits."""
    retries: int = Field(default=0, ge=0)
    """How often a failed read or write is tried again, at once."""
    keep_expired_seconds: int = Field(default=86_400, ge=0)
    """How long a row past its ttl stays, so that it is reported OUTSIDE_MAX_AGE, not NOT_FOUND."""
    key_ttl_seconds: StrictInt | None = Field(default=None, gt=0)
    """Keys expire so long after a write, whatever the views' ttl."""
    full_scan_for_deletion: StrictBool = True
    """Whether `feast apply` deletes the rows of views that are gone."""
    skip_dedup: StrictBool = False
    """Of the stock store; without effect: comparing times costs no round trip here."""
    client: Literal["redis", "glide"] = "redis"
    """Of the stock store; without effect."""

    def connection_settings(self) -> ConnectionSettings:
        """In seconds."""
        return ConnectionSettings(
            self.connection_string,
            redis_type=self.redis_type,
            sentinel_master=self.sentinel_master,
            connect_seconds=self.connect_timeout_ms / 1000,
            command_seconds=self.command_timeout_ms / 1000,
            write_seconds=self.write_timeout_ms / 1000,
            max_connections=self.max_connections,
            retries=self.retries,
        )


class PackedRedisOnlineStore(OnlineStore):  # type: ignore[misc]
    """A Feast online store; drop-in for the stock Redis store, with its own format."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        """Unix seconds; read once per request and once per write."""
        self._reader: OnlineReader | None = None

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=True, write=True)

    def connections(self, config: RepoConfig) -> RedisConnections:
        """Of the configured Redis; the same ones at every call with the same settings."""
        return self._reading(config).connections

    def writer(self, config: RepoConfig, table: Any, join_keys: Sequence[str] | None = None) -> RowWriter:
        """Writes rows of one view; `join_keys` are for a view that declares none."""
        settings, ttl = config.online_store, ttl_seconds(table)
        stay = settings.key_ttl_seconds or (ttl + settings.keep_expired_seconds if ttl else 0)
        keys = keys_of(config, table, join_keys)
        return RowWriter(self.connections(config), keys, round(stay * 1000), self.clock)

    def online_write_batch(
        self, config: RepoConfig, table: Any, data: list[DataRow], progress: Progress
    ) -> None:
        """Of each entity the newest row stays. Raises EntityError, FeatureError, OnlineStoreError."""
        if data:
            batch = Batch.of(config, table, data)
            writer = self.writer(config, table, batch.join_keys)
            writer.register(batch.layout)
            writer.write(batch.keys, batch.fields, batch.rows)
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: RepoConfig, table: Any, data: list[DataRow], progress: Progress
    ) -> None:
        """As `online_write_batch`."""
        if data:
            batch = Batch.of(config, table, data)
            writer = self.writer(config, table, batch.join_keys)
            await writer.register_async(batch.layout)
            await writer.write_async(batch.keys, batch.fields, batch.rows)
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: Any,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[OnlineRow]:
        """(None, None) where there is no row, (event time, None) where it is older than the view's ttl."""
        if not entity_keys:
            return []
        asked = asked_by_keys(config, table, entity_keys, requested_features)
        return online_rows(asked, *self._reading(config).read([asked], at=self.clock()))

    async def online_read_async(
        self,
        config: RepoConfig,
        table: Any,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[OnlineRow]:
        """As `online_read`."""
        if not entity_keys:
            return []
        asked = asked_by_keys(config, table, entity_keys, requested_features)
        return online_rows(asked, *await self._reading(config).read_async([asked], at=self.clock()))

    def get_online_features(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """As Feast's, with entities that are checked before Feast converts them.

        Where precomputed vectors are missing, the views are read instead. Raises EntityError, OnlineStoreError.
        """
        rows = checked_request(registry, project, features, entity_rows, full_feature_names)
        rest = (rows, registry, project, full_feature_names, include_feature_view_version_metadata)
        try:
            return super().get_online_features(config, features, *rest)
        except RuntimeError:
            if not getattr(features, "precompute_online", False):
                raise
            return super().get_online_features(config, without_vectors(features), *rest)

    async def get_online_features_async(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """As `get_online_features`."""
        rows = checked_request(registry, project, features, entity_rows, full_feature_names)
        rest = (rows, registry, project, full_feature_names, include_feature_view_version_metadata)
        try:
            return await super().get_online_features_async(config, features, *rest)
        except RuntimeError:
            if not getattr(features, "precompute_online", False):
                raise
            return await super().get_online_features_async(config, without_vectors(features), *rest)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """Delete the rows of views that are gone, of this project alone."""
        if config.online_store.full_scan_for_deletion:
            self._delete(config, tables_to_delete, kept=tables_to_keep)

    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[Any],
        entities: Sequence[Entity],  # noqa: ARG002
    ) -> None:
        """Delete the rows of these views, of this project alone, and close all connections."""
        self._delete(config, tables, kept=())
        self.connections(config).close()

    async def close(self) -> None:
        """Close the running event loop's connections, and those of synchronous calls."""
        if self._reader:
            await self._reader.connections.close_async()
            self._reader.connections.close()

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[Any, list[str]]],
        join_key_values: Mapping[str, Sequence[Value]],
        entity_name_to_join_key_map: Mapping[str, str],  # noqa: ARG002
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """All views in one round trip."""
        asked = asked_by_request(config, grouped_refs, join_key_values)
        found = self._reading(config).read(asked, at=self.clock()) if asked else []
        names = Naming(full_feature_names, include_feature_view_version_metadata)
        fill(online_features_response, zip(asked, found, strict=True), names)

    async def _read_features_per_fv_async(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[Any, list[str]]],
        join_key_values: Mapping[str, Sequence[Value]],
        entity_name_to_join_key_map: Mapping[str, str],  # noqa: ARG002
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """All views in one round trip."""
        asked = asked_by_request(config, grouped_refs, join_key_values)
        found = await self._reading(config).read_async(asked, at=self.clock()) if asked else []
        names = Naming(full_feature_names, include_feature_view_version_metadata)
        fill(online_features_response, zip(asked, found, strict=True), names)

    def _is_versioned_read_supported(self) -> bool:
        return True

    def _reading(self, config: RepoConfig) -> OnlineReader:
        settings = config.online_store.connection_settings()
        if self._reader is None or self._reader.connections.settings != settings:
            self._reader = OnlineReader(RedisConnections(settings))
        return self._reader

    def _delete(self, config: RepoConfig, views: Sequence[Any], *, kept: Sequence[Any]) -> None:
        names = names_gone(config, views, kept)
        deleted = delete_views(self.connections(config), config.project, names)
        log.debug("deleted %d keys like %s", deleted, sorted(names))
