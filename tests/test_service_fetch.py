"""A feature service read for a ranker: every view in one round trip, as numpy columns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import redis
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
from feast.types import Array, Float32, Int64, String, UnixTimestamp
from feast.value_type import ValueType

from feature_repo.errors import SettingError
from materialization.data_plane.online.batched_fetch import Presence
from materialization.data_plane.rows.entities import EntityError
from materialization.data_plane.service_fetch import ServiceFetch

PACKED = "materialization.data_plane.online_store.PackedRedisOnlineStore"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = NOW.timestamp()
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def view(name: str, entities: list[Entity], fields: list[Field], folder: Path) -> FeatureView:
    source = FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")
    pushed = PushSource(name=f"{name}_pushed", batch_source=source)
    keys = [Field(name=e.join_key, dtype=Int64 if e is USER else String) for e in entities]
    return FeatureView(
        name=name, entities=entities, schema=keys + fields, source=pushed, ttl=timedelta(days=1)
    )


def feature_store(folder: Path, redis_url: str, online: str) -> FeatureStore:
    address = redis_url.removeprefix("redis://").split("/")[0]
    return FeatureStore(
        config=RepoConfig(
            project="shelf",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": online, "connection_string": address},
            entity_key_serialization_version=3,
        )
    )


@pytest.fixture
def store(tmp_path: Path, redis_url: str) -> FeatureStore:
    """Two users, three items, one pair; item b's row is too old."""
    store = feature_store(tmp_path, redis_url, PACKED)
    user = view(
        "user_stats", [USER], [Field(name="u", dtype=Float32), Field(name="seen", dtype=Int64)], tmp_path
    )
    item = view(
        "item_stats",
        [ITEM],
        [
            Field(name="p", dtype=Float32),
            Field(name="q", dtype=Float32),
            Field(name="genres", dtype=Array(String)),
            Field(name="released", dtype=UnixTimestamp),
        ],
        tmp_path,
    )
    pair = view("pair_stats", [USER, ITEM], [Field(name="x", dtype=Float32)], tmp_path)
    service = FeatureService(
        name="ranker",
        features=[
            user,
            item,
            pair,
            item.with_name("last_watched").with_join_key_map({"item_id": "last_item_id"}),
        ],
    )
    store.apply([USER, ITEM, user, item, pair, service])
    store.push(
        "user_stats_pushed", pd.DataFrame({"user_id": [7], "u": [0.5], "seen": [3], "event_timestamp": NOW})
    )
    items = {
        "item_id": ["a", "b", "c"],
        "p": [1.0, 2.0, np.nan],
        "q": [10.0, 20.0, 30.0],
        "genres": [["drama", "war"], ["war"], []],
        "released": [NOW] * 3,
        "event_timestamp": [NOW, NOW - timedelta(days=2), NOW - timedelta(days=1)],
    }
    store.push("item_stats_pushed", pd.DataFrame(items))
    store.push(
        "pair_stats_pushed",
        pd.DataFrame({"user_id": [7], "item_id": ["c"], "x": [4.0], "event_timestamp": NOW}),
    )
    return store


REQUEST = {"user_id": [7], "item_id": ["c", "a", "b", "unknown", "a"], "last_item_id": ["a"]}


def check_answer(views: dict[str, object]) -> None:
    user, item, pair, last = (
        views[name] for name in ("user_stats", "item_stats", "pair_stats", "last_watched")
    )
    assert user.rows.floats.tolist() == [[0.5]]
    assert item.rows.floats.dtype == np.float32
    np.testing.assert_array_equal(
        item.rows.floats, [[np.nan, 30], [1, 10], [np.nan, np.nan], [np.nan, np.nan], [1, 10]]
    )
    found, missing, expired = Presence.FOUND, Presence.NOT_FOUND, Presence.EXPIRED
    assert item.presence.tolist() == [found, found, expired, missing, found]
    assert item.event_micros[[0, 1, 2]].tolist() == [round((AT - days * 86_400) * 1e6) for days in (1, 0, 2)]
    assert pair.presence.tolist() == [found, missing, missing, missing, missing]
    genres = item.rows.lists(item.rows.layout.columns[2])
    assert genres.offsets.tolist() == [0, 0, 2, 2, 2, 4]
    assert genres.values.tolist() == ["drama", "war"] * 2
    assert last.rows.floats.tolist() == [[1, 10]]


def test_every_view_of_the_service_comes_in_the_requests_order(store: FeatureStore) -> None:
    check_answer(ServiceFetch.compile(store, "ranker").fetch(REQUEST, at=AT))


def test_the_asynchronous_fetch_gives_the_same(store: FeatureStore) -> None:
    ranker = ServiceFetch.compile(store, "ranker")

    async def twice() -> None:
        for answer in await asyncio.gather(*(ranker.fetch_async(REQUEST, at=AT) for _ in range(2))):
            check_answer(answer)

    asyncio.run(twice())
    asyncio.run(twice())


def test_a_fetch_is_one_write_and_one_read(store: FeatureStore, redis_url: str) -> None:
    ranker = ServiceFetch.compile(store, "ranker")
    ranker.fetch(REQUEST, at=AT)
    client = redis.Redis.from_url(redis_url)
    client.ping()
    before = client.info("stats")["total_commands_processed"]
    ranker.fetch(REQUEST, at=AT)
    assert client.info("stats")["total_commands_processed"] - before == 1 + 2, "MGET, HMGET, and this INFO"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user_id": [7.0]}, "user_id"),
        ({"user_id": [True]}, "user_id"),
        ({"item_id": [3]}, "item_id"),
        ({"item_id": [None]}, "item_id"),
    ],
)
def test_an_entity_of_another_type_is_refused_by_name(
    store: FeatureStore, changed: dict[str, list[object]], said: str
) -> None:
    with pytest.raises(EntityError, match=said):
        ServiceFetch.compile(store, "ranker").fetch({**REQUEST, **changed}, at=AT)


def test_an_entity_that_is_not_there_is_named(store: FeatureStore) -> None:
    with pytest.raises(EntityError, match="last_item_id"):
        ServiceFetch.compile(store, "ranker").fetch({"user_id": [7], "item_id": ["a"]}, at=AT)


def test_columns_of_unequal_length_are_refused(store: FeatureStore) -> None:
    with pytest.raises(ValueError, match="pair_stats"):
        ServiceFetch.compile(store, "ranker").fetch({**REQUEST, "user_id": [7, 8]}, at=AT)


def test_another_online_store_is_refused_with_the_line_to_write(tmp_path: Path, redis_url: str) -> None:
    with pytest.raises(SettingError, match=PACKED):
        ServiceFetch.compile(feature_store(tmp_path, redis_url, "redis"), "ranker")
