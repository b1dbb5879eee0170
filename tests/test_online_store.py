"""What Feast's own API does on packed rows: values, statuses, pushes, versions, aliases, deletions."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis
from feast import FeatureService, FeatureStore, FeatureView, Field, PushSource
from feast.data_source import PushMode
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.types import Array, Bytes, Float64, Int64, Map, String, UnixTimestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from online_store_world import (
    NOW,
    answer,
    at,
    entity_key,
    feature_store,
    item,
    pair_view,
    source,
    user,
    user_view,
    write,
)
from packed_rows_values import as_format_1

from feature_repo.errors import FeatureError
from materialization.data_plane.rows.entities import EntityError
from materialization.data_plane.rows.layout import FORMAT_VERSION, WITHOUT_CHECKSUM, Layout
from materialization.data_plane.rows.view_layout import layout_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FEATURES = ["activity:plays", "activity:score", "activity:genre"]


@pytest.fixture
def store(redis_url: str, tmp_path: Path) -> FeatureStore:
    """`activity` (by user, one day) and `seen` (by user and item), at NOW."""
    made = feature_store(tmp_path, redis_url)
    made.apply([user, item, user_view(tmp_path), pair_view(tmp_path)])
    at(made, NOW)
    return made


def plays(number: int) -> dict[str, Value]:
    return {"plays": Value(int64_val=number)}


def put(
    store: FeatureStore, user_id: int, values: dict[str, Value], event: datetime = NOW, created: Any = None
) -> None:
    write(store, store.get_feature_view("activity"), [({"user_id": user_id}, values, event, created)])


def ask(store: FeatureStore, *user_ids: int, features: Any = None) -> dict[str, Any]:
    return answer(store, features or FEATURES, [{"user_id": user_id} for user_id in user_ids])


def test_present_null_missing_and_expired_each_say_so_with_their_true_event_time(store: FeatureStore) -> None:
    late = NOW - timedelta(days=1, microseconds=1)
    put(store, 1, {**plays(5), "genre": Value()})
    put(store, 2, plays(6), event=late)
    found = ask(store, 1, 2, 3)
    assert found["plays"] == [
        (5, "PRESENT", NOW),
        (None, "OUTSIDE_MAX_AGE", late),
        (None, "NOT_FOUND", EPOCH),
    ]
    assert found["genre"] == [(None, "NULL_VALUE", NOW), *found["plays"][1:]]


def test_ttl_counts_to_the_instant_of_the_request_and_includes_its_end(store: FeatureStore) -> None:
    put(store, 1, plays(5))
    at(store, NOW + timedelta(days=1))
    assert ask(store, 1)["plays"] == [(5, "PRESENT", NOW)]
    at(store, NOW + timedelta(days=1, microseconds=1))
    assert ask(store, 1)["plays"] == [(None, "OUTSIDE_MAX_AGE", NOW)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), min_size=1, max_size=12))
def test_order_and_duplicates_of_the_request_are_kept(
    store: FeatureStore, asked: list[tuple[int, str]]
) -> None:
    write(
        store, store.get_feature_view("activity"), [({"user_id": u}, plays(u), NOW, None) for u in range(4)]
    )
    pairs = [
        ({"user_id": u, "item_id": i}, {"times": Value(int64_val=u * 10)}, NOW, None)
        for u in range(3)
        for i in "ab"
    ]
    write(store, store.get_feature_view("seen"), pairs)
    rows = [{"user_id": u, "item_id": i} for u, i in asked]
    found = answer(store, ["activity:plays", "seen:times"], rows)
    assert [value for value, *_ in found["plays"]] == [u if u < 4 else None for u, _ in asked]
    assert [value for value, *_ in found["times"]] == [
        u * 10 if u < 3 and i != "c" else None for u, i in asked
    ]


def test_a_row_altered_in_redis_is_not_found_however_it_is_asked_for(
    store: FeatureStore, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole, harmed = {"user_id": 1, "item_id": "a"}, {"user_id": 2, "item_id": "a"}
    for entity in (whole, harmed):
        put(store, entity["user_id"], {**plays(5), "genre": Value(string_val="drama")})
        write(store, store.get_feature_view("seen"), [(entity, {"times": Value(int64_val=9)}, NOW, None)])
    client = redis.Redis.from_url(redis_url)
    (activity,) = client.keys("*activity*user_id|l2")
    (seen,) = client.keys("*seen*l2")
    client.setrange(activity, 24, b"\x07")
    client.hset(seen, "sa", client.hget(seen, "sa").replace(b"\x09", b"\x08"))
    found = answer(store, [*FEATURES, "seen:times"], [whole, harmed])
    nothing = (None, "NOT_FOUND", EPOCH)
    assert found["plays"] == [(5, "PRESENT", NOW), nothing]
    assert found["genre"] == [("drama", "PRESENT", NOW), nothing]
    assert found["times"] == [(9, "PRESENT", NOW), nothing]
    online, view = store._get_provider().online_store, store.get_feature_view("activity")
    assert online.online_read(store.config, view, [entity_key(user_id=2)], ["plays"]) == [(None, None)]
    told = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert [text.split(":")[0] for text in told] == ["view activity", "view seen"], "and not at every read"
    assert all("(1 in one read)" in text for text in told)


def test_rows_of_the_format_before_are_read_until_they_are_written_again(
    store: FeatureStore, redis_url: str
) -> None:
    """Their layout lies in Redis, where the release before had put it."""
    put(store, 1, {**plays(5), "genre": Value(string_val="drama")})
    client = redis.Redis.from_url(redis_url)
    layout = layout_of(store.get_feature_view("activity"))
    (key,), (schemas,) = client.keys("mq:r|*activity*"), client.keys("mq:s|*activity*")
    client.set(key, as_format_1(layout, client.get(key)))
    before = Layout(layout.columns, WITHOUT_CHECKSUM)
    client.delete(schemas)
    client.hset(schemas, before.fingerprint.hex(), json.dumps(before.to_json()))
    expected = {"plays": [(5, "PRESENT", NOW)], "genre": [("drama", "PRESENT", NOW)]}
    assert {name: ask(store, 1)[name] for name in expected} == expected
    put(store, 1, plays(6), event=NOW - timedelta(hours=1))
    assert ask(store, 1)["plays"] == [(5, "PRESENT", NOW)], (
        "an older row arrives too late, whatever its format"
    )
    put(store, 1, plays(7))
    assert ask(store, 1)["plays"] == [(7, "PRESENT", NOW)]
    assert client.get(key)[0] == FORMAT_VERSION


def test_online_read_gives_nothing_for_a_missing_row_and_only_the_time_of_an_expired_one(
    store: FeatureStore,
) -> None:
    put(store, 1, plays(5))
    put(store, 2, plays(6), event=NOW - timedelta(days=2))
    online, view = store._get_provider().online_store, store.get_feature_view("activity")
    keys = [entity_key(user_id=number) for number in (3, 2, 1)]
    wanted = ["plays", "score", "nonesuch"]
    missing, expired, found = online.online_read(store.config, view, keys, wanted)
    assert (missing, expired) == ((None, None), (NOW - timedelta(days=2), None))
    assert found == (NOW, {"plays": Value(int64_val=5), "score": Value(), "nonesuch": Value()})
    assert wanted == ["plays", "score", "nonesuch"]
    assert online.online_read(store.config, view, []) == []
    assert asyncio.run(online.online_read_async(store.config, view, keys)) == online.online_read(
        store.config, view, keys
    )


def test_values_of_other_types_than_declared_come_back_as_they_were(store: FeatureStore) -> None:
    odd = {"plays": Value(string_val="many"), "score": Value(double_val=1.1), "genre": Value(int64_val=2**60)}
    put(store, 1, odd)
    put(store, 2, {**plays(2), "score": Value(float_val=0.5)})
    found = ask(store, 1, 2, 1)
    assert [v for v, *_ in found["score"]] == [1.1, 0.5, 1.1]
    assert [(v, s) for v, s, _ in found["genre"]] == [
        (2**60, "PRESENT"),
        (None, "NULL_VALUE"),
        (2**60, "PRESENT"),
    ]
    assert found["plays"][0] == ("many", "PRESENT", NOW)


def test_a_table_with_one_key_many_times_leaves_the_newest_and_of_equals_the_last(
    store: FeatureStore,
) -> None:
    view = store.get_feature_view("activity")
    hours = [0, -2, 0, -1]
    rows = [({"user_id": 1}, plays(n), NOW + timedelta(hours=h), None) for n, h in enumerate(hours)]
    write(store, view, rows)
    write(store, view, [])
    assert ask(store, 1)["plays"] == [(2, "PRESENT", NOW)]


def test_naive_times_are_utc_and_microseconds_are_kept(store: FeatureStore) -> None:
    put(store, 1, plays(1), event=NOW.replace(tzinfo=None, microsecond=123_456))
    assert ask(store, 1)["plays"][0][2] == NOW.replace(microsecond=123_456)


def test_a_row_without_key_time_or_with_an_unknown_feature_is_refused(store: FeatureStore) -> None:
    view = store.get_feature_view("activity")
    online = store._get_provider().online_store
    no_value = EntityKey(join_keys=["user_id"], entity_values=[Value()])
    with pytest.raises(EntityError, match="user_id: is missing"):
        online.online_write_batch(store.config, view, [(no_value, plays(1), NOW, None)], None)
    with pytest.raises(EntityError, match="view activity is keyed by user_id, found item_id"):
        write(store, view, [({"item_id": "a"}, plays(1), NOW, None)])
    with pytest.raises(FeatureError, match="no feature named typo"):
        put(store, 1, {"typo": Value(int64_val=1)})
    with pytest.raises(FeatureError, match=r"activity.*no event time"):
        put(store, 1, plays(1), event=pd.NaT)


@pytest.mark.parametrize(
    "ids",
    [[1, 2], np.array([1, 2]).tolist(), list(np.array([1, 2], np.int32)), [Value(int64_val=1), Value(int64_val=2)],
     RepeatedValue(val=[Value(int64_val=1), Value(int64_val=2)])],
    ids=["int", "list", "numpy", "protos", "repeated"],
)  # fmt: skip
def test_every_way_to_give_a_whole_number_finds_the_row(store: FeatureStore, ids: Any) -> None:
    put(store, 2, plays(7))
    found = store.get_online_features(features=FEATURES, entity_rows={"user_id": ids}).to_dict()
    assert found["plays"] == [None, 7]
    assert found["user_id"] == [1, 2]


@pytest.mark.parametrize(
    "wrong", [1.0, 1.5, True, "1", b"1", None, float("nan"), 2**63, Value(string_val="1"), Value()]
)
def test_an_entity_of_another_type_is_named_with_what_is_expected(store: FeatureStore, wrong: Any) -> None:
    with pytest.raises(EntityError, match=r"^user_id: .*INT64") as raised:
        store.get_online_features(features=FEATURES, entity_rows=[{"user_id": 1}, {"user_id": wrong}])
    assert isinstance(raised.value, (KeyError, ValueError))
    with pytest.raises(EntityError, match="user_id"):
        asyncio.run(store.get_online_features_async(features=FEATURES, entity_rows=[{"user_id": wrong}]))


def test_an_entity_left_out_is_named(store: FeatureStore) -> None:
    with pytest.raises(EntityError, match="item_id: is missing from the request, and is declared STRING"):
        store.get_online_features(features=["seen:times"], entity_rows=[{"user_id": 1}])
    with pytest.raises(EntityError, match="row 1 has item_id"):
        store.get_online_features(features=["seen:times"], entity_rows=[{"user_id": 1}, {"item_id": "a"}])


@pytest.mark.parametrize("to", list(PushMode))
def test_pushes_arrive_where_they_are_sent(redis_url: str, tmp_path: Path, to: PushMode) -> None:
    batch = source(tmp_path, "pushed")
    frame = pd.DataFrame(
        {
            "user_id": [1],
            "plays": [3],
            "score": [0.5],
            "genre": ["g"],
            "event_timestamp": [NOW],
            "created": [NOW],
        }
    )
    frame.assign(plays=0, event_timestamp=NOW - timedelta(days=3)).to_parquet(tmp_path / "pushed.parquet")
    store = feature_store(tmp_path, redis_url)
    store.apply([user, user_view(tmp_path, source=PushSource(name="push", batch_source=batch))])
    at(store, NOW)
    store.push("push", frame, to=to)
    asyncio.run(store.push_async("push", frame, to=PushMode.ONLINE)) if to is PushMode.ONLINE else None
    assert ask(store, 1)["plays"][0][0] == (None if to is PushMode.OFFLINE else 3)
    assert len(pd.read_parquet(tmp_path / "pushed.parquet")) == (1 if to is PushMode.ONLINE else 2)


def test_write_to_online_store_and_an_empty_frame(store: FeatureStore) -> None:
    frame = pd.DataFrame(
        {
            "user_id": [1],
            "plays": [3],
            "score": [0.5],
            "genre": [None],
            "event_timestamp": [NOW],
            "created": [NOW],
        }
    )
    store.write_to_online_store("activity", frame)
    store.write_to_online_store("activity", frame.head(0))
    assert [ask(store, 1)[name][0][:2] for name in ("plays", "score", "genre")] == [
        (3, "PRESENT"), (0.5, "PRESENT"), (None, "NULL_VALUE")]  # fmt: skip


def test_an_alias_and_renamed_join_keys_read_the_view_s_own_rows(store: FeatureStore) -> None:
    put(store, 1, plays(10))
    put(store, 2, plays(20))
    view = store.get_feature_view("activity")
    me = view.with_name("me")
    friend = view.with_name("friend").with_join_key_map({"user_id": "friend_id"})
    service = FeatureService(name="both", features=[me[["plays"]], friend[["plays"]]])
    store.apply([service])
    rows = [{"user_id": 1, "friend_id": 2}, {"user_id": 2, "friend_id": 9}]
    found = store.get_online_features(features=service, entity_rows=rows, full_feature_names=True).to_dict()
    assert found["me__plays"] == [10, 20]
    assert found["friend__plays"] == [20, None]
    with pytest.raises(EntityError, match="friend_id"):
        store.get_online_features(features=service, entity_rows=[{"user_id": 1}], full_feature_names=True)


def test_a_view_without_entity_has_one_row(store: FeatureStore, tmp_path: Path) -> None:
    view = FeatureView(
        name="whole", entities=[], schema=[Field(name="total", dtype=Int64)], source=source(tmp_path, "w")
    )
    store.apply([view])
    data = [
        (
            EntityKey(join_keys=["__dummy_id"], entity_values=[Value(string_val="")]),
            {"total": Value(int64_val=4)},
            NOW,
            None,
        )
    ]
    store._get_provider().online_write_batch(store.config, store.get_feature_view("whole"), data, None)
    put(store, 1, plays(5))
    found = answer(store, ["whole:total", "activity:plays"], [{"user_id": 1}, {"user_id": 2}])
    assert [v for v, *_ in found["total"]] == [4, 4]
    assert [v for v, *_ in found["plays"]] == [5, None]


def test_versions_lie_side_by_side(redis_url: str, tmp_path: Path) -> None:
    store = feature_store(tmp_path, redis_url, registry={"enable_online_feature_view_versioning": True})
    store.apply([user, user_view(tmp_path)])
    at(store, NOW)
    put(store, 1, plays(1))
    changed = user_view(tmp_path)
    changed.features = [*changed.features, Field(name="new", dtype=String)]
    store.apply([user, changed])
    put(store, 1, plays(2))
    assert store.get_feature_view("activity").current_version_number == 1
    assert ask(store, 1)["plays"][0][0] == 2
    versions = ["activity@v0:plays", "activity@v1:plays"]
    found = store.get_online_features(
        features=versions, entity_rows=[{"user_id": 1}], full_feature_names=True
    ).to_dict()
    assert (found["activity@v0__plays"], found["activity@v1__plays"]) == ([1], [2])
    client = redis.Redis.from_url(redis_url)
    assert {key for key in client.scan_iter() if key.startswith(b"mq:s|")} == {
        b"mq:s|4:rank8:activity|",
        b"mq:s|4:rank8:activity@1|",
    }
    store.teardown()
    assert client.keys() == []


def test_rows_of_an_older_definition_are_read_by_the_columns_both_have(
    store: FeatureStore, tmp_path: Path
) -> None:
    put(store, 1, {**plays(5), "score": Value(float_val=0.25)})
    view = FeatureView(
        name="activity", entities=[user], ttl=timedelta(days=1), source=source(tmp_path, "activity_source"),
        schema=[Field(name="user_id", dtype=Int64), Field(name="likes", dtype=Array(Int64)),
                Field(name="plays", dtype=Int64), Field(name="score", dtype=Float64)],
    )  # fmt: skip
    store.apply([view])
    write(
        store,
        view,
        [({"user_id": 2}, {**plays(6), "likes": Value(int64_list_val={"val": [1, 2]})}, NOW, None)],
    )
    found = ask(store, 1, 2, features=["activity:plays", "activity:likes", "activity:score"])
    assert [v for v, *_ in found["plays"]] == [5, 6]
    assert [v[:2] for v in found["likes"]] == [(None, "NULL_VALUE"), ([1, 2], "PRESENT")]
    assert found["score"][0][1] == "NULL_VALUE", "another type is another column"


def test_on_demand_views_that_are_written_and_those_that_are_not(store: FeatureStore) -> None:
    view = store.get_feature_view("activity")

    @on_demand_feature_view(
        sources=[view], schema=[Field(name="twice", dtype=Int64)], mode="python", singleton=True
    )
    def doubled(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"twice": (inputs["plays"] or 0) * 2}

    @on_demand_feature_view(
        sources=[view], entities=[user], schema=[Field(name="user_id", dtype=Int64), Field(name="thrice", dtype=Int64)],
        mode="pandas", write_to_online_store=True,
    )  # fmt: skip
    def tripled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"thrice": inputs["plays"] * 3})

    store.apply([doubled, tripled])
    put(store, 1, plays(5))
    frame = pd.DataFrame(
        {
            "user_id": [1],
            "plays": [5],
            "score": [0.5],
            "genre": ["g"],
            "event_timestamp": [NOW],
            "created": [NOW],
        }
    )
    store.write_to_online_store("tripled", frame)
    found = store.get_online_features(
        features=["activity:plays", "doubled:twice", "tripled:thrice"], entity_rows=[{"user_id": 1}]
    ).to_dict()
    assert (found["plays"], found["twice"], found["thrice"]) == ([5], [10], [15])


def test_lists_maps_and_bytes_through_feast_s_own_conversion(store: FeatureStore, tmp_path: Path) -> None:
    types = {"tags": Array(String), "stamps": Array(UnixTimestamp), "raw": Bytes, "about": Map}
    schema = [
        Field(name="user_id", dtype=Int64),
        *(Field(name=name, dtype=dtype) for name, dtype in types.items()),
    ]
    store.apply([FeatureView(name="wide", entities=[user], schema=schema, source=source(tmp_path, "wide"))])
    frame = pd.DataFrame(
        {"user_id": [1, 2], "tags": [["a", ""], []], "stamps": [[NOW], None], "raw": [b"x", None],
         "about": [{"k": 1.5}, {"k": 2.5}], "event_timestamp": [NOW, NOW], "created": [NOW, NOW]}
    )  # fmt: skip
    store.write_to_online_store("wide", frame)
    found = answer(store, [f"wide:{name}" for name in types], [{"user_id": 1}, {"user_id": 2}])
    assert [v for v, *_ in found["tags"]] == [["a", ""], []]
    assert [v for v, *_ in found["stamps"]] == [[NOW], None]
    assert [v[:2] for v in found["raw"]] == [(b"x", "PRESENT"), (None, "NULL_VALUE")]
    assert [v for v, *_ in found["about"]] == [{"k": 1.5}, {"k": 2.5}]


def test_one_store_serves_event_loop_after_event_loop(store: FeatureStore) -> None:
    put(store, 1, plays(5))
    for _ in range(3):
        asked = store.get_online_features_async(features=FEATURES, entity_rows=[{"user_id": 1}])
        assert asyncio.run(asked).to_dict()["plays"] == [5]
    online = store._get_provider().online_store
    asyncio.run(online.close())
    assert ask(store, 1)["plays"][0][0] == 5


def test_version_metadata_and_counts_are_those_of_feast(store: FeatureStore) -> None:
    put(store, 1, plays(5))
    response = store.get_online_features(
        features=FEATURES, entity_rows=[{"user_id": 1}], include_feature_view_version_metadata=True
    )
    assert [(view.name, view.version) for view in response.proto.metadata.feature_view_metadata] == [
        ("activity", 0)
    ]
