"""From a request's entities to a serialized `feast.serving.GetOnlineFeaturesResponse`.

The answer is what Feast's own `get_online_features` gives: join keys first, then stored features, then those computed
on demand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from feature_repo.columns import Column
from feature_repo.errors import RequestError
from materialization.data_plane.online.batched_fetch import DeadlineLink, FetchedView
from materialization.data_plane.online.feature_vectors import ViewVectors, known_vector
from materialization.data_plane.rows.keys import text_entities
from materialization.data_plane.rows.value_wire import delimited
from ranking_service.feast_api.on_demand import request_column
from ranking_service.feast_api.query import Query
from ranking_service.proto.feast.serving import ServingService_pb2 as serving
from ranking_service.proto.feast.types.Value_pb2 import RepeatedValue

RESULTS = 0x12
"""Tag of the response's FeatureVectors: length-delimited field 2."""
CELLS_AT_ONCE = 10_000
"""Values written, about a millisecond; between such steps other requests get their turn."""


@dataclass(frozen=True)
class Asked:
    """A query with a request's entities, checked."""

    query: Query
    count: int
    """Entity rows."""
    join_keys: Mapping[str, RepeatedValue]
    request: Mapping[str, Column]
    """Request fields, [count]."""
    full_feature_names: bool
    with_versions: bool

    @classmethod
    def of(cls, message: serving.GetOnlineFeaturesRequest, query: Query, *, most: int) -> Asked:
        """Raises RequestError; as in Feast, columns that nothing needs are left alone.

        A request field may stand among the entities, where Feast's Python clients put it.
        """
        columns: dict[str, tuple[str, RepeatedValue]] = {
            name: (f'{part}["{name}"]', values)
            for part in ("entities", "request_context")
            for name, values in getattr(message, part).items()
        }
        count = _count(columns, most)
        _check_there(query, columns)
        return cls(
            query=query,
            count=count,
            join_keys={name: _ids(*columns[name]) for name in query.join_keys},
            request={name: request_column(*columns[name], one) for name, one in query.request_fields.items()},
            full_feature_names=message.full_feature_names,
            with_versions=message.include_feature_view_version_metadata,
        )

    async def answer(self, link: DeadlineLink, *, at: float, seconds: float) -> bytes:
        """The response; ttl counts to `at`, in Unix seconds. Raises OnlineStoreError after `seconds`."""
        fetched: Mapping[str, FetchedView] = {}
        if self.query.fetch.views:
            entities = {name: _once(text_ids(ids)) for name, ids in self.join_keys.items()}
            fetched = await self.query.fetch.fetch_within(link, entities, at=at, seconds=seconds)
        parts, cells = [self._head()], 0
        for vector in self._vectors(fetched):
            parts.append(delimited(RESULTS, vector))
            cells += self.count
            if cells >= CELLS_AT_ONCE:
                cells = 0
                await asyncio.sleep(0)
        return b"".join(parts)

    def _vectors(self, fetched: Mapping[str, FetchedView]) -> Iterator[bytes]:
        """FeatureVectors in the order of the names."""
        for ids in self.join_keys.values():
            yield known_vector(ids.SerializeToString(), self.count)
        views = {name: ViewVectors(view, self.count) for name, view in fetched.items()}
        for column in self.query.stored:
            yield views[column.read].wire(column.feature)
        for computed in self.query.on_demand:
            for values in computed.values(fetched, self.request, self.count):
                yield known_vector(values, self.count)

    def _head(self) -> bytes:
        names = self.query.names(full=self.full_feature_names)
        metadata = serving.GetOnlineFeaturesResponseMetadata(
            feature_names=serving.FeatureList(val=[*self.join_keys, *names])
        )
        if self.with_versions:
            for view in dict.fromkeys(read.keys.view for read in self.query.fetch.views):
                metadata.feature_view_metadata.add(name=view, version=0)
        return bytes(serving.GetOnlineFeaturesResponse(metadata=metadata).SerializeToString())


def text_ids(ids: RepeatedValue) -> list[bytes]:
    """As the keys in Redis have them."""
    return text_entities(value.string_val for value in ids.val)


def _count(columns: Mapping[str, tuple[str, RepeatedValue]], most: int) -> int:
    counts = {where: len(values.val) for where, values in columns.values()}
    if len({*counts.values()}) > 1:
        found = ", ".join(f"{where} {count}" for where, count in counts.items())
        raise RequestError("entities", f"must all have equally many values; found {found}")
    count = next(iter(counts.values()), 0)
    if not 1 <= count <= most:
        raise RequestError("entities", f"has {count} rows; send 1 to {most} (feast_api.entities)")
    return count


def _check_there(query: Query, columns: Mapping[str, object]) -> None:
    """Raises RequestError that names every join key and request field that is not there."""
    absent = [f"join key {name}" for name in query.join_keys if name not in columns]
    absent += [f"request field {name}" for name in query.request_fields if name not in columns]
    if absent:
        found = ", ".join(columns) or "nothing"
        raise RequestError("entities", f"these features also need {', '.join(absent)}; found {found}")


def _ids(where: str, values: RepeatedValue) -> RepeatedValue:
    for place, value in enumerate(values.val):
        kind = value.WhichOneof("val")
        if kind != "string_val":
            found = "nothing" if kind in (None, "null_val") else f"a {kind.removesuffix('_val')}"
            raise RequestError(where, f"value {place} is {found}; ids are STRING and never converted")
    return values


def _once(ids: list[bytes]) -> list[bytes]:
    """One that stands for all, so that the rows of one user's items are one read."""
    return ids[:1] if len({*ids}) == 1 else ids
