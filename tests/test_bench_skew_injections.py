"""Every seeded defect really changes what it says, only that, and leaves nothing behind."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ranking_service.serving_log.places import closed_segments
from ranking_service.serving_log.tables import FILLED_PREFIX, MODEL_PREFIX
from skew_checks.bench import controls, lagging, log_defects, offline_defects, server_defects, wrong_values
from skew_checks.bench.catalogue import DEFECTS
from skew_checks.bench.defect import Defect, Where
from skew_checks.bench.night import Night, night
from skew_checks.bench.run import fresh
from skew_checks.bench.seeded_values import VALUES
from skew_checks.bench.view_names import ITEM_VIEWS
from skew_checks.bench.world import World

SHARE, REQUESTS = 0.2, 50
REDIS, PARTITIONS, ARRIVALS, SERVERS, AFTER = "redis", "partitions", "arrivals", "servers", "after"
ALSO = {
    "late-data": {REDIS, PARTITIONS},
    "correction": {REDIS, PARTITIONS},
    "ttl-too-loose": {REDIS, PARTITIONS, SERVERS, ARRIVALS},
    "unseen-to-other": {REDIS, PARTITIONS, SERVERS, ARRIVALS},
    "one-bad-replica": {ARRIVALS},
    "colliding-row-ids": {ARRIVALS},
}
"""Defects that need more than the one place where they take hold."""
USUAL = {
    Where.STORE: {REDIS},
    Where.OFFLINE: {PARTITIONS},
    Where.SERVER: {SERVERS, ARRIVALS},
    Where.CLIENT: {ARRIVALS},
    Where.LOG: {AFTER},
}


@pytest.fixture(scope="module")
def world(skew_bench_world: World) -> World:
    return skew_bench_world


@dataclass(frozen=True)
class Logged:
    """A night's log, by request and position."""

    requests: pa.Table
    candidates: pa.Table

    @classmethod
    def of(cls, tonight: Night) -> Logged:
        segments = closed_segments(tonight.workspace.serving_log)
        requests = pa.concat_tables([pq.read_table(one.requests, partitioning=None) for one in segments])
        candidates = pa.concat_tables([pq.read_table(one.candidates, partitioning=None) for one in segments])
        ids = dict(zip(requests["served_id"].to_pylist(), requests["request_id"].to_pylist(), strict=True))
        named = pa.array([ids[served] for served in candidates["served_id"].to_pylist()])
        candidates = candidates.append_column("request_id", named)
        return cls(
            requests.sort_by("request_id"),
            candidates.sort_by([("request_id", "ascending"), ("position", "ascending")]),
        )

    def differing(self, other: Logged) -> dict[str, int]:
        """Rows that differ, by column; ids of the log's own aside."""
        pairs = ((self.requests, other.requests), (self.candidates, other.candidates))
        found = {}
        for left, right in pairs:
            for name in set(left.column_names) - {"served_id", "cached_candidates"}:
                rows = zip(left[name].to_pylist(), right[name].to_pylist(), strict=True)
                count = sum(one != two for one, two in rows)
                if count:
                    found[name] = count
        return found


def served(world: World, folder: Path, defect: Any = None, share: float = SHARE, seed: int = 1) -> Logged:
    with night(world, folder / f"night-{seed}", requests=world.requests[:REQUESTS], seed=seed) as tonight:
        if defect is not None:
            defect(tonight, share)
        tonight.serve()
        return Logged.of(tonight)


@pytest.fixture(scope="module")
def healthy(world: World, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    return served(world, tmp_path_factory.mktemp("healthy"))


@pytest.fixture(scope="module")
def untouched(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with fresh(world, tmp_path_factory.mktemp("untouched"), seed=3) as tonight:
        return state(tonight)


def state(tonight: Night) -> dict[str, Any]:
    files = sorted(tonight.world.workspace.features.glob("*/*/*.parquet"))
    return {
        REDIS: [tonight.rows.everything(step) for step in range(len(tonight.world.instants))],
        PARTITIONS: {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files},
        ARRIVALS: list(tonight.arrivals),
        SERVERS: list(tonight.servers),
        AFTER: list(tonight.after),
    }


def is_changed(before: Any, after: Any) -> bool:
    """Partitions by what they say: the same rows written again are no change."""
    if not isinstance(after, dict):
        return bool(before != after)
    tables = [
        tuple(pq.read_table(io.BytesIO(state[path][1])) for state in (before, after))
        for path in after
        if after[path][1] != before[path][1]
    ]
    return before.keys() != after.keys() or any(not one.equals(other) for one, other in tables)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_an_injection_takes_hold_where_it_says_and_is_undone(
    world: World, tmp_path: Path, untouched: dict[str, Any], defect: Defect
) -> None:
    with fresh(world, tmp_path, seed=3) as tonight:
        touched = defect.inject(tonight, SHARE)
        after = state(tonight)
        changed = {part for part in after if is_changed(untouched[part], after[part])}
        assert changed == ALSO.get(defect.name, USUAL[defect.where])
        assert 0 < touched.units <= touched.of
        if defect.where is Where.STORE:
            views = {view_in(key) for key in changed_keys(untouched[REDIS], after[REDIS])}
            assert views <= {f"{view}@1" for view in defect.views} | {*defect.views}
    if changed & {REDIS, PARTITIONS}:
        with fresh(world, tmp_path, seed=3) as tonight:
            assert state(tonight) == untouched


def changed_keys(before: list[dict[bytes, Any]], after: list[dict[bytes, Any]]) -> set[bytes]:
    pairs = list(zip(before, after, strict=True))
    return {key for one, two in pairs for key in {*one, *two} if one.get(key) != two.get(key)}


def view_in(key: bytes) -> str:
    """`mq:r|4:rank9:item_text|...` to `item_text`, with its version."""
    names = key.decode().split("|")[1]
    length, _, rest = names.partition(":")
    length, _, view = rest[int(length) :].partition(":")
    return view


SHAREABLE = [defect for defect in DEFECTS if defect.name not in ("ttl-too-loose", "half-materialization")]


@pytest.mark.parametrize("defect", SHAREABLE, ids=lambda defect: defect.name)
def test_an_injection_touches_the_share_of_rows_that_was_asked_for(
    world: World, tmp_path: Path, defect: Defect
) -> None:
    """As far as so much of it can change at all, and to within one user's requests."""
    with fresh(world, tmp_path, seed=4) as tonight:
        touched = defect.inject(tonight, 0.05)
    assert 0.02 <= touched.share <= 0.09


STORED = [defect for defect in VALUES if defect.where is Where.STORE and defect.features]


@pytest.mark.parametrize("defect", STORED, ids=lambda defect: defect.name)
def test_only_the_named_features_are_served_otherwise(
    world: World, tmp_path: Path, healthy: Logged, defect: Defect
) -> None:
    found = served(world, tmp_path, defect.inject).differing(healthy)
    made = {
        feature.name
        for feature in world.bundle.contract.features
        if feature.origin not in stored_views(world)
    }
    raw = {name for name in found if not name.startswith((MODEL_PREFIX, FILLED_PREFIX))}
    assert raw - {"score", "rank", "is_returned"} == {*defect.features}
    model = {name.removeprefix(MODEL_PREFIX) for name in found if name.startswith(MODEL_PREFIX)}
    assert model <= {*defect.features} | made


def stored_views(world: World) -> set[str]:
    return {view.name for view in world.bundle.contract.views}


def test_float16_is_float16(world: World, tmp_path: Path, healthy: Logged) -> None:
    name = "item_play_seconds_7d"
    bad = served(world, tmp_path, wrong_values.float16, share=1.0).candidates[name].to_numpy()
    right = healthy.candidates[name].to_numpy()
    np.testing.assert_array_equal(bad, right.astype(np.float16).astype(np.float32))


def test_an_integer_wraps_into_a_signed_byte(world: World, tmp_path: Path, healthy: Logged) -> None:
    bad = (
        served(world, tmp_path, wrong_values.integer_wrap, share=1.0).candidates["genre_exposures"].to_numpy()
    )
    right = healthy.candidates["genre_exposures"].to_numpy()
    there = ~np.isnan(right)
    np.testing.assert_array_equal(bad[there], right[there].astype(np.int64).astype(np.int8))


def test_turned_vectors_keep_their_length_and_longer_ones_do_not(
    world: World, tmp_path: Path, healthy: Logged
) -> None:
    right = lengths(healthy)
    turned = lengths(served(world, tmp_path, wrong_values.older_embedding, share=1.0))
    longer = lengths(served(world, tmp_path, wrong_values.unnormalized_embedding, share=1.0, seed=2))
    np.testing.assert_allclose(turned, right, rtol=1e-5)
    np.testing.assert_allclose(longer, 3.7 * right, rtol=1e-5)


def lengths(logged: Logged) -> Any:
    return np.array(
        [np.linalg.norm(row or [0.0]) for row in logged.requests[wrong_values.VECTOR].to_pylist()]
    )


def test_rotated_candidates_have_the_next_ones_item_rows(
    world: World, tmp_path: Path, healthy: Logged
) -> None:
    bad = served(world, tmp_path, server_defects.rotated_candidates, share=1.0)
    column = "item_exposures"
    for request in set(healthy.requests["request_id"].to_pylist()):
        same = pc.equal(healthy.candidates["request_id"], request)
        right = healthy.candidates.filter(same)[column].to_pylist()
        assert bad.candidates.filter(same)[column].to_pylist() == [*right[1:], right[0]]
    assert bad.candidates["item_id"].equals(healthy.candidates["item_id"])


def test_a_user_who_asks_again_and_again_is_always_crossed_with_another(world: World, tmp_path: Path) -> None:
    alone = [request for request in world.requests if request.user_id == world.requests[0].user_id]
    with night(world, tmp_path / "night", requests=[*alone, *alone, *alone], seed=1) as tonight:
        others = [world.requests[0].user_id, "somebody-else"]
        bundle = world.bundle
        tonight.served_by(
            server_defects.Server(
                bundle, bundle.contract, lambda reader: server_defects.Crossed(reader, others)
            ),
            range(len(tonight.arrivals)),
        )
        assert tonight.serve() == 3 * len(alone) >= 6


def test_crossed_users_are_logged_under_their_own_name(world: World, tmp_path: Path, healthy: Logged) -> None:
    bad = served(world, tmp_path, server_defects.crossed_users, share=1.0)
    assert bad.requests["user_id"].equals(healthy.requests["user_id"])
    found = bad.differing(healthy)
    assert found["user_last_seen_at"] > REQUESTS / 2
    assert not {field.name for name in ITEM_VIEWS for field in world.bundle.contract.view(name).fields} & {
        *found
    }


def test_another_model_scores_the_same_inputs_otherwise(
    world: World, tmp_path: Path, healthy: Logged
) -> None:
    found = served(world, tmp_path, server_defects.wrong_model, share=1.0).differing(healthy)
    assert {*found} <= {"score", "rank", "is_returned"}
    assert found["score"] == len(healthy.candidates)


def test_a_strict_plan_finds_rows_expired_in_the_share_of_requests(world: World, tmp_path: Path) -> None:
    bad = served(world, tmp_path, offline_defects.ttl_too_strict)
    presence = bad.candidates["presence__item_genre"].cast(pa.string()).to_pylist()
    by_request = dict(zip(bad.candidates["request_id"].to_pylist(), presence, strict=True))
    assert sum(said == "expired" for said in by_request.values()) == pytest.approx(SHARE * REQUESTS, abs=1)


def test_a_loose_plan_uses_rows_that_replay_counts_as_expired(world: World, tmp_path: Path) -> None:
    bad = served(world, tmp_path, offline_defects.ttl_too_loose, share=0.1).candidates
    ttl = world.bundle.contract.view("item_surfaces").ttl_seconds
    old = pc.less(bad["event_timestamp__item_surfaces"], pa.scalar(world.day))
    ages = bad.filter(old)
    assert len(ages) > 0
    assert ttl <= 86_400
    assert set(ages["presence__item_surfaces"].cast(pa.string()).to_pylist()) == {"found"}


def test_an_unseen_category_gets_the_first_ones_code(world: World, tmp_path: Path) -> None:
    bad = served(world, tmp_path, server_defects.unseen_to_other).candidates
    new = bad.filter(pc.equal(bad["item_type"], server_defects.NEW_TYPE))
    assert len(new) > 0
    assert set(new[f"{MODEL_PREFIX}item_type"].to_pylist()) == {0.0}


def test_log_rows_are_there_twice_and_all_others_once(world: World, tmp_path: Path) -> None:
    bad = served(world, tmp_path, log_defects.duplicated_log_rows)
    counts = pc.value_counts(bad.requests["request_id"]).field("counts").to_pylist()
    assert (counts.count(2), counts.count(1)) == (SHARE * REQUESTS, (1 - SHARE) * REQUESTS)


def test_two_requests_of_one_process_share_a_row_id(world: World, tmp_path: Path) -> None:
    bad = served(world, tmp_path, log_defects.colliding_row_ids)
    counts = pc.value_counts(bad.requests["served_id"]).field("counts").to_pylist()
    assert counts.count(2) == pytest.approx(SHARE * REQUESTS / 2, abs=2)
    assert len(set(bad.requests["request_id"].to_pylist())) == REQUESTS


def test_clocks_run_an_hour_ahead_of_the_server(world: World, tmp_path: Path) -> None:
    bad = served(world, tmp_path, log_defects.daylight_saving).requests
    received = bad["received_timestamp"].cast(pa.int64()).to_numpy() / 1e6
    ahead = np.round(bad["request_timestamp"].to_numpy() - received)
    assert sorted(ahead.tolist()) == [0.0] * 40 + [3600.0] * 10


def test_one_replica_reads_two_runs_behind(world: World, tmp_path: Path) -> None:
    with fresh(world, tmp_path, seed=5) as tonight:
        right = list(tonight.arrivals)
        server_defects.one_bad_replica(tonight, SHARE)
        bad = tonight.arrivals
    last = max(arrival.replica for arrival in bad)
    for one, other in zip(right, bad, strict=True):
        assert other.step == (max(0, one.step - 2) if other.replica == last else one.step)


def test_a_padded_key_is_the_same_number(world: World, tmp_path: Path) -> None:
    with fresh(world, tmp_path, seed=6) as tonight:
        right = [arrival.request.user_id for arrival in tonight.arrivals]
        lagging.key_padding(tonight, 1.0)
        bad = [arrival.request.user_id for arrival in tonight.arrivals]
    assert [int(name[1:]) for name in bad] == [int(name[1:]) for name in right]
    assert not {*bad} & {*right}


def test_the_reordered_model_scores_as_the_original(world: World, tmp_path: Path, healthy: Logged) -> None:
    found = served(world, tmp_path, lambda tonight, _share: controls.columns_reordered(tonight))
    assert {*found.differing(healthy)} <= {"bundle_version"}
    names = [name for name in found.candidates.column_names if name.startswith(MODEL_PREFIX)]
    usual = [name for name in healthy.candidates.column_names if name.startswith(MODEL_PREFIX)]
    assert names != usual
    assert sorted(names) == sorted(usual)


def test_the_last_bit_is_one_float_further(world: World, tmp_path: Path, healthy: Logged) -> None:
    found = served(world, tmp_path, lambda tonight, _share: controls.rounding_of_the_last_bit(tonight))
    right = healthy.candidates["item_click_rate_7d"].to_numpy()
    bad = found.candidates["item_click_rate_7d"].to_numpy()
    np.testing.assert_array_equal(bad, np.nextafter(right, np.float32(np.inf)))
