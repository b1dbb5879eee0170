"""A Feast feature service read for a ranker: one call, one round trip, numpy columns.

ranker = ServiceFetch.compile(store, "ranker_v1")
views = ranker.fetch({"user_id": ["u1"], "item_id": candidate_ids}, at=time.time())
views["item_popularity"].rows.floats        float32 [candidates, FLOAT columns of the view]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feast import FeatureService, FeatureStore, FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.feature_view_projection import FeatureViewProjection
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from feature_repo.errors import SettingError
from materialization.data_plane.online.batched_fetch import BatchedFetch, FetchedView, ViewRead
from materialization.data_plane.online.connection import RedisConnections
from materialization.data_plane.online_store import PackedRedisOnlineStore
from materialization.data_plane.rows.entities import EntityError, encoded_columns, exact_values
from materialization.data_plane.rows.keys import ViewKeys, text_entities, whole_entities
from materialization.data_plane.rows.view_layout import key_types, keys_of, layout_of, ttl_seconds

NO_ENTITY = {DUMMY_ENTITY_ID: [b"s"]}
"""The key of views without entity."""


@dataclass(frozen=True)
class ServiceFetch:
    """A feature service's stored views; thread-safe. What is computed on demand is the caller's to compute."""

    plan: BatchedFetch
    connections: RedisConnections
    value_types: Mapping[str, str]
    """Of the entities, by the names that a request gives them."""

    @classmethod
    def compile(cls, store: FeatureStore, service: str | FeatureService) -> ServiceFetch:
        """Looks at the registry once. Raises SettingError where the project's online store is another."""
        online_store = store._get_provider().online_store
        if not isinstance(online_store, PackedRedisOnlineStore):
            raise SettingError(
                f"the online store is {type(online_store).__name__}; packed rows need `online_store: type: "
                f"{PackedRedisOnlineStore.__module__}.{PackedRedisOnlineStore.__name__}` in feature_store.yaml"
            )
        named = store.get_feature_service(service) if isinstance(service, str) else service
        views = {view.name: view for view in store.list_batch_feature_views()}
        views |= {view.name: view for view in store.list_stream_feature_views()}
        chosen = [(views[one.name], one) for one in named.feature_view_projections if one.name in views]
        return cls(
            BatchedFetch(tuple(_read(store, view, projection) for view, projection in chosen)),
            online_store.connections(store.config),
            {name: kind for view, one in chosen for name, kind in _named_types(view, one).items()},
        )

    def fetch(self, entities: Mapping[str, Sequence[Any]], *, at: float) -> dict[str, FetchedView]:
        """The rows of every view, by its name or alias, with presence and event times.

        `entities` holds ids by request column: n of them, or one that stands for all n. `at` is the instant, in Unix
        seconds, against which ttl counts. Raises EntityError, OnlineStoreError.
        """
        encoded = self._encoded(entities)
        link = self.connections.link()
        return self.connections.tried(lambda: self.plan.fetch(link, encoded, at=at))

    async def fetch_async(
        self, entities: Mapping[str, Sequence[Any]], *, at: float
    ) -> dict[str, FetchedView]:
        """As `fetch`; not for a cluster."""
        encoded = self._encoded(entities)
        link = self.connections.async_link()
        return await self.connections.tried_async(lambda: self.plan.fetch_async(link, encoded, at=at))

    def _encoded(self, entities: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[bytes]]:
        absent = sorted(set(self.value_types) - set(entities))
        if absent:
            raise EntityError(absent[0], "is missing from the request; give its ids")
        encoded: dict[str, Sequence[bytes]] = {**NO_ENTITY}
        for name, value_type in self.value_types.items():
            encoded[name] = _encoded_ids(name, value_type, entities[name])
        return encoded


def _encoded_ids(name: str, value_type: str, ids: Sequence[Any]) -> list[bytes]:
    exact = exact_values(name, ids, value_type)
    if value_type == "STRING":
        return text_entities(exact)
    if value_type in ("INT32", "INT64"):
        return whole_entities(exact, value_type)
    values = python_values_to_proto_values(exact, ValueType[value_type])
    return encoded_columns(ViewKeys("", "", (name,)), {name: values}, {name: value_type})[0]


def _read(store: FeatureStore, view: FeatureView, projection: FeatureViewProjection) -> ViewRead:
    chosen = view.with_projection(projection)
    keys = keys_of(store.config, chosen, [DUMMY_ENTITY_ID])
    columns = tuple(projection.join_key_map.get(key, key) for key in keys.join_keys)
    return ViewRead(projection.name_to_use(), keys, layout_of(chosen), columns, ttl_seconds(chosen))


def _named_types(view: FeatureView, projection: FeatureViewProjection) -> dict[str, str]:
    types = key_types(view)
    return {
        projection.join_key_map.get(name, name): kind
        for name, kind in types.items()
        if name != DUMMY_ENTITY_ID
    }
