"""What the stock Redis store does wrong for ranking, and this one does not; the numbers are those of DESIGN.md.

Each test shows the stock store beside ours where that is cheap; a comment says what it does.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mmh3
import pytest
import redis
from feast import FeatureService, FeatureStore, FeatureView, Field
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64
from online_store_world import (
    NOW,
    PACKED,
    STOCK,
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
from redis_servers import free_port

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.rows.entities import EntityError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLAYS = ["activity:plays"]


def stores(redis_url: str, folder: Path, project: str = "rank") -> dict[str, FeatureStore]:
    """The stock store and ours on one server, with the same view by user."""
    made = {}
    for kind in (STOCK, PACKED):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        made[kind] = feature_store(folder / kind, urlsplit(redis_url).netloc, store=kind, project=project)
        made[kind].apply([user, user_view(folder)])
    at(made[PACKED], NOW)
    return made


def put(
    store: FeatureStore, plays: int, event: datetime, created: datetime | None = None, view: str = "activity"
) -> None:
    row = ({"user_id": 1}, {"plays": Value(int64_val=plays)}, event, created)
    write(store, store.get_feature_view(view), [row])


def ask(store: FeatureStore, user_id: Any = 1, features: Any = PLAYS) -> Any:
    return answer(store, features, [{"user_id": user_id}])["plays"][0]


def test_2_online_reads_apply_the_view_s_ttl_as_the_offline_join_does(redis_url: str, tmp_path: Path) -> None:
    """Stock: a row of any age is PRESENT with its values."""
    made, old = stores(redis_url, tmp_path), NOW - timedelta(days=30)
    for store in made.values():
        put(store, 5, old)
    assert ask(made[STOCK]) == (5, "PRESENT", old)
    assert ask(made[PACKED]) == (None, "OUTSIDE_MAX_AGE", old)


def test_3_a_missing_entity_is_not_found(redis_url: str, tmp_path: Path) -> None:
    """Stock: PRESENT, null, event time 0."""
    made = stores(redis_url, tmp_path)
    assert ask(made[STOCK], 404) == (None, "PRESENT", EPOCH)
    assert ask(made[PACKED], 404) == (None, "NOT_FOUND", EPOCH)


def test_5_a_correction_at_the_same_event_time_is_applied_and_an_older_one_is_not(
    redis_url: str, tmp_path: Path
) -> None:
    """Stock: whatever has the same event time is dropped, also when it was created later."""
    made, soon = stores(redis_url, tmp_path), NOW + timedelta(hours=1)
    for store in made.values():
        put(store, 5, NOW, NOW)
        put(store, 6, NOW, soon)
    assert ask(made[STOCK])[0] == 5
    assert ask(made[PACKED])[0] == 6
    put(made[PACKED], 7, NOW, NOW)
    assert ask(made[PACKED])[0] == 6, "known before the correction"
    put(made[PACKED], 8, NOW - timedelta(hours=1), soon)
    assert ask(made[PACKED])[0] == 6, "an older event"


def test_6_deleting_a_view_leaves_the_same_view_of_a_project_with_a_longer_name(
    redis_url: str, tmp_path: Path
) -> None:
    """Stock: the key pattern ends in the project's name, so `rank` deletes the rows of `prerank` too."""
    for kind, survives in ((STOCK, None), (PACKED, 5)):
        rank, prerank = (stores(redis_url, tmp_path / name, name)[kind] for name in ("rank", "prerank"))
        for store in (rank, prerank):
            put(store, 5, NOW)
        rank.apply([], objects_to_delete=[rank.get_feature_view("activity")], partial=False)
        assert ask(prerank)[0] == survives


def test_6_deletions_and_teardown_take_exactly_the_view_and_the_project(
    redis_url: str, tmp_path: Path
) -> None:
    """Names that are prefixes, suffixes, patterns or versions of each other."""
    names = ["v", "v_v2", "vv", "v*", "4:v"]
    projects = {}
    for project in ("rank", "prerank", "rank2"):
        store = feature_store(tmp_path, redis_url, project=project)
        views = [user_view(tmp_path, name, source=source(tmp_path, f"s{n}")) for n, name in enumerate(names)]
        for view in views:
            write(store, view, [({"user_id": n}, {"plays": Value(int64_val=n)}, NOW, None) for n in range(3)])
        projects[project] = store, views
    online, client = (lambda s: s._get_provider().online_store), redis.Redis.from_url(redis_url)
    store, views = projects["rank"]
    online(store).update(store.config, [views[0]], views[1:], [], [], False)
    assert client.dbsize() == (3 * len(names) - 1) * 4
    online(store).update(store.config, [views[3]], [], [], [], True)
    assert client.dbsize() == (3 * len(names) - 2) * 4
    online(store).teardown(store.config, views, [])
    assert client.dbsize() == 2 * len(names) * 4
    assert all(key[5:].startswith((b"7:prerank", b"5:rank2")) for key in client.scan_iter())


def test_7_two_features_whose_hashes_collide_keep_their_own_values(redis_url: str, tmp_path: Path) -> None:
    """Stock: fields of the hash are 32-bit hashes of the feature's name; the second feature overwrites the first."""
    one, other = colliding_names()
    view = FeatureView(
        name="v", entities=[user], source=source(tmp_path, "s"),
        schema=[Field(name="user_id", dtype=Int64), Field(name=one, dtype=Int64), Field(name=other, dtype=Int64)],
    )  # fmt: skip
    for kind, expected in ((STOCK, [2, 2]), (PACKED, [1, 2])):
        (tmp_path / kind).mkdir()
        store = feature_store(tmp_path / kind, urlsplit(redis_url).netloc, store=kind)
        store.apply([user, view])
        values = {one: Value(int64_val=1), other: Value(int64_val=2)}
        write(store, store.get_feature_view("v"), [({"user_id": 1}, values, datetime.now(UTC), None)])
        found = answer(store, [f"v:{one}", f"v:{other}"], [{"user_id": 1}])
        assert [found[one][0][0], found[other][0][0]] == expected


def colliding_names() -> tuple[str, str]:
    """Two features of view `v` with one hash: among 2^17 names some are expected."""
    seen: dict[int, str] = {}
    for number in range(2_000_000):
        name = f"f{number}"
        known = seen.setdefault(mmh3.hash(f"v:{name}", signed=False), name)
        if known != name:
            return known, name
    raise AssertionError("no collision")


def test_8_a_refused_port_costs_one_attempt(tmp_path: Path) -> None:
    """Stock: no socket timeout, and retries with back-off: 3 to 11 seconds on a refused port, forever on a stalled
    server. tests/test_online_store_servers.py stalls one."""
    store = feature_store(tmp_path, f"127.0.0.1:{free_port()}")
    started = time.perf_counter()
    with pytest.raises(OnlineStoreError, match="cannot be reached"):
        store._get_provider().online_store.online_read(
            store.config, user_view(tmp_path), [entity_key(user_id=1)]
        )
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("wrong", [1.5, True])
def test_9_keys_are_checked_never_coerced(redis_url: str, tmp_path: Path, wrong: Any) -> None:
    """Stock: 1.5 and True both read user 1."""
    made = stores(redis_url, tmp_path)
    for store in made.values():
        put(store, 5, NOW)
    assert ask(made[STOCK], wrong)[0] == 5
    with pytest.raises(EntityError, match=f"user_id: is declared INT64, found {wrong}"):
        ask(made[PACKED], wrong)


def test_10_a_service_with_precomputed_vectors_mixes_entities_and_survives_an_unknown_one(
    redis_url: str, tmp_path: Path
) -> None:
    """Stock: all views must share one entity, and one entity without a vector fails the whole request."""
    store = feature_store(tmp_path, redis_url)
    service = FeatureService(
        name="ranker", features=[user_view(tmp_path)[["plays"]], pair_view(tmp_path)], precompute_online=True
    )
    store.apply([user, item, user_view(tmp_path), pair_view(tmp_path), service])
    at(store, NOW)
    put(store, 5, NOW)
    seen = [({"user_id": 1, "item_id": "a"}, {"times": Value(int64_val=2)}, NOW, None)]
    write(store, store.get_feature_view("seen"), seen)
    rows = [{"user_id": 1, "item_id": "a"}, {"user_id": 404, "item_id": "a"}]
    found = answer(store, service, rows)
    assert [v[:2] for v in found["plays"]] == [(5, "PRESENT"), (None, "NOT_FOUND")]
    assert [v[:2] for v in found["times"]] == [(2, "PRESENT"), (None, "NOT_FOUND")]


def test_10_vectors_that_were_written_are_read(redis_url: str, tmp_path: Path) -> None:
    """By entity; None where there is none."""
    store = feature_store(tmp_path, redis_url)
    online = store._get_provider().online_store
    online.write_precomputed_vector(store.config, "ranker", "rank", entity_key(user_id=1), b"\x00vector")
    keys = [entity_key(user_id=1), entity_key(user_id=2)]
    assert online.read_precomputed_vectors(store.config, "ranker", "rank", keys) == [b"\x00vector", None]
    assert online.read_precomputed_vectors(store.config, "other", "rank", keys) == [None, None]
