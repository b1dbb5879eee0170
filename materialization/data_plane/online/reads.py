"""What a Feast request asks of its views: read in one round trip, answered column by column."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from feast.feature_view import DUMMY_ENTITY_ID
from feast.metrics import track_feature_statuses
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.repo_config import RepoConfig

from materialization.data_plane.online.batched_fetch import (
    WITHOUT_TIME,
    BatchedFetch,
    FetchedView,
    Presence,
    ViewRead,
)
from materialization.data_plane.online.connection import RedisConnections
from materialization.data_plane.online.feature_vectors import ViewVectors
from materialization.data_plane.rows.entities import columns_of_keys, encoded_columns
from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.view_layout import key_types, keys_of, layout_of, ttl_seconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OnlineRow = tuple[datetime | None, dict[str, Value] | None]
"""As Feast's `online_read` gives it: no event time where there is no row, no values where none may be used."""


@dataclass(frozen=True)
class Asked:
    """The features wanted of one view, for some entities."""

    view: Any
    features: Sequence[str]
    read: ViewRead
    entities: dict[str, list[bytes]]
    """By join key; one for all rows where they are all the same."""
    count: int
    """Rows of the answer."""

    @classmethod
    def of(
        cls, config: RepoConfig, view: Any, features: Sequence[str], columns: Mapping[str, Sequence[Value]]
    ) -> Asked:
        """`columns` are the entities by join key. Raises EntityError."""
        keys = keys_of(config, view, sorted(columns))
        encoded = encoded_columns(keys, columns, key_types(view))
        return cls(
            view=view,
            features=features,
            read=ViewRead(view.name, keys, layout_of(view), keys.join_keys, ttl_seconds(view)),
            entities={name: _once(column) for name, column in zip(keys.join_keys, encoded, strict=True)},
            count=len(encoded[0]),
        )

    def numbered(self, number: int) -> tuple[ViewRead, dict[str, list[bytes]]]:
        """As one view of several, whose names and join keys may be the same."""
        read, prefix = self.read, f"{number}:"
        columns = tuple(prefix + name for name in read.request_columns)
        return (
            ViewRead(str(number), read.keys, read.layout, columns, read.ttl_seconds),
            {prefix + name: column for name, column in self.entities.items()},
        )


@dataclass(frozen=True)
class OnlineReader:
    """Reads what was asked; thread-safe."""

    connections: RedisConnections
    _layouts: dict[tuple[bytes, bytes], tuple[Layout | None, float]] = field(default_factory=dict)
    """Of older definitions, remembered from read to read."""

    def read(self, asked: Sequence[Asked], *, at: float) -> list[ViewVectors]:
        """In the order asked; ttl counts to `at`, in Unix seconds. Raises OnlineStoreError."""
        fetch, entities = self._plan(asked)
        fetched = self.connections.tried(lambda: fetch.fetch(self.connections.link(), entities, at=at))
        return _vectors(asked, fetched)

    async def read_async(self, asked: Sequence[Asked], *, at: float) -> list[ViewVectors]:
        """As `read`; of a cluster, in a thread."""
        if self.connections.is_cluster:
            return await asyncio.to_thread(self.read, asked, at=at)
        fetch, entities = self._plan(asked)
        link = self.connections.async_link()
        return _vectors(
            asked, await self.connections.tried_async(lambda: fetch.fetch_async(link, entities, at=at))
        )

    def _plan(self, asked: Sequence[Asked]) -> tuple[BatchedFetch, dict[str, list[bytes]]]:
        numbered = [one.numbered(number) for number, one in enumerate(asked)]
        entities = {name: column for _, columns in numbered for name, column in columns.items()}
        return BatchedFetch(tuple(view for view, _ in numbered), self._layouts), entities


def asked_by_keys(
    config: RepoConfig, view: Any, entity_keys: Sequence[EntityKey], features: Sequence[str] | None
) -> Asked:
    """For entity keys as Feast's `online_read` gets them; without features, all of the view. Raises EntityError."""
    names = list(features or (column.name for column in layout_of(view).columns))
    return Asked.of(config, view, names, columns_of_keys(entity_keys))


def asked_by_request(
    config: RepoConfig,
    grouped_refs: Iterable[tuple[Any, list[str]]],
    join_key_values: Mapping[str, Sequence[Value]],
) -> list[Asked]:
    """For a request's columns, which have the names that projections give the join keys. Raises EntityError."""
    asked = []
    for view, features in grouped_refs:
        renamed = view.projection.join_key_map
        join_keys = view.join_keys or [DUMMY_ENTITY_ID]
        columns = {key: join_key_values[renamed.get(key, key)] for key in join_keys}
        asked.append(Asked.of(config, view, features, columns))
    return asked


@dataclass(frozen=True)
class Naming:
    """How Feast was asked to name what it answers."""

    full_feature_names: bool
    with_versions: bool


def fill(
    response: GetOnlineFeaturesResponse, answers: Iterable[tuple[Asked, ViewVectors]], naming: Naming
) -> None:
    """Add all views' columns to Feast's answer, named and counted as Feast's own stores do."""
    for asked, vectors in answers:
        projection = asked.view.projection
        table = projection.name_to_use()
        names = [f"{table}__{name}" if naming.full_feature_names else name for name in asked.features]
        response.metadata.feature_names.val.extend(names)
        if naming.with_versions:
            _add_version(response, asked.view)
        for name in asked.features:
            response.results.add().MergeFromString(vectors.wire(name))
        found = int((vectors.fetched.presence == Presence.FOUND).sum()) * vectors.repeats
        track_feature_statuses(asked.view.name, found * len(names), (asked.count - found) * len(names))


def _add_version(response: GetOnlineFeaturesResponse, view: Any) -> None:
    shown = view.projection.name_alias or view.projection.name
    if shown not in {known.name for known in response.metadata.feature_view_metadata}:
        version = getattr(view, "current_version_number", 0) or 0
        response.metadata.feature_view_metadata.add(name=shown, version=version)


def online_rows(asked: Asked, vectors: ViewVectors) -> list[OnlineRow]:
    """Row by row, as Feast's `online_read` gives them."""
    columns = [list(RepeatedValue.FromString(vectors.values(name)).val) for name in asked.features]
    presence, events = vectors.fetched.presence.tolist(), vectors.fetched.event_micros.tolist()
    rows: list[OnlineRow] = []
    for row, (how, event) in enumerate(zip(presence, events, strict=True)):
        when = None if how in WITHOUT_TIME else EPOCH + timedelta(microseconds=event)
        values = {name: column[row] for name, column in zip(asked.features, columns, strict=True)}
        rows.append((when, values if how == Presence.FOUND else None))
    return rows * vectors.repeats


def _vectors(asked: Sequence[Asked], fetched: Mapping[str, FetchedView]) -> list[ViewVectors]:
    return [ViewVectors(fetched[str(number)], one.count) for number, one in enumerate(asked)]


def _once(column: list[bytes]) -> list[bytes]:
    return column[:1] if len(set(column)) == 1 else column
