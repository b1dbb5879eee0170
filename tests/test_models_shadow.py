"""The shadow: a second bundle's scores beside the served ones, and never in their way."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest
from models_world import SETTINGS, add, asked, served, shadowed
from online_world import AT, CONTRACT, OnlineWorld

from feature_repo.errors import BundleError
from ranking_service import bundle
from ranking_service.contract import Contract
from ranking_service.models.shadow import Shadow, ShadowCounts, covers
from ranking_service.models.shadow_log import ShadowedRanking, ShadowLog
from ranking_service.online.ranker import MODEL_FREE
from ranking_service.serving_log.writer import is_sampled
from ranking_service.settings_sections import ShadowSettings


def without_fingerprint() -> Contract:
    """Views of another definition, so that they must be read again; the rows are the same."""
    return replace(CONTRACT, views=tuple(replace(view, fingerprint="newer") for view in CONTRACT.views))


@pytest.mark.parametrize("contract", [CONTRACT, without_fingerprint()], ids=["reused rows", "own rows"])
def test_both_scores_are_logged_and_are_those_of_the_two_bundles(
    online_world: OnlineWorld, tmp_path: Path, contract: Contract
) -> None:
    path = add(online_world, "v2", contract)
    requests = asked(online_world, ["ann", "bob", "nobody"])
    rankings = served(online_world, requests)
    counts, table = shadowed(online_world, path, rankings, tmp_path / "shadow")
    assert counts == ShadowCounts(offered=3, logged=3)
    assert table is not None
    assert len(table) == 3 * len(online_world.items)
    loaded = bundle.load(path).booster
    for ranking, request in zip(rankings, requests, strict=True):
        rows = table.filter(pc.equal(table["request_id"], request.request_id)).to_pydict()
        assert rows["item_id"] == list(online_world.items)
        assert rows["position"] == list(range(len(online_world.items)))
        assert rows["score"] == ranking.scores.tolist()
        context = {"surface": "search", "bandwidth": 1.5, "request_timestamp": AT}
        naive = online_world.naive_input(
            request.user_id,
            online_world.items,
            {**context, "session_position": float(request.session_position or 0)},
        )
        expected = loaded.inplace_predict(naive)
        assert rows["shadow_score"] == expected.tolist()
        for score, rank in (("score", "rank"), ("shadow_score", "shadow_rank")):
            order = sorted(range(len(expected)), key=lambda place: (-rows[score][place], place))
            assert [rows[rank][place] for place in order] == list(range(len(order)))
        assert set(rows["bundle_version"]) == {"v1"}
        assert set(rows["shadow_version"]) == {"v2"}
        assert (set(rows["surface"]), set(rows["device"])) == ({"search"}, {"tv"})
        assert min(rows["shadow_score_micros"]) > 0


def test_the_share_is_by_user_as_the_logs_is(online_world: OnlineWorld, tmp_path: Path) -> None:
    users = [f"user {number}" for number in range(60)]
    settings = replace(SETTINGS, shadow=ShadowSettings(share=0.3, queue_requests=100))
    rankings = served(online_world, asked(online_world, users))
    counts, table = shadowed(online_world, add(online_world, "v2"), rankings, tmp_path / "shadow", settings)
    expected = {user for user in users if is_sampled(user, 0.3)}
    assert table is not None
    assert set(table["user_id"].to_pylist()) == expected
    assert 5 < len(expected) < 40
    assert (counts.logged, counts.unsampled) == (len(expected), 60 - len(expected))


def test_answers_without_a_model_are_not_compared(online_world: OnlineWorld, tmp_path: Path) -> None:
    (ranking,) = served(online_world, asked(online_world, ["ann"]))
    model_free = replace(ranking, level=MODEL_FREE, model_input=None)
    counts, table = shadowed(online_world, add(online_world, "v2"), [model_free], tmp_path / "shadow")
    assert (counts, table) == (ShadowCounts(offered=1, model_free=1), None)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_slow_second_model_costs_shadow_rows_and_no_time(
    online_world: OnlineWorld, silent_server: str, tmp_path: Path
) -> None:
    """Its rows come from a server that never answers, so one second ranking takes longer than a thousand offers."""
    path = add(online_world, "v2", without_fingerprint())
    (ranking,) = served(online_world, asked(online_world, ["ann"]))
    shadow = Shadow.start(path, redis_url=silent_server, settings=SETTINGS, folder=tmp_path / "shadow")
    for _ in range(1000):
        shadow.offer(ranking, CONTRACT)
    assert shadow.counts.failed == 0, "the first one is not even done"
    queue = SETTINGS.shadow.queue_requests
    assert 1000 - queue - 1 <= shadow.counts.dropped <= 1000 - queue
    while not shadow.counts.failed:
        time.sleep(0.05)
    assert shadow.counts.logged == 0
    shadow.close(timeout_seconds=0)


def test_a_bundle_that_cannot_be_served_is_no_shadow(online_world: OnlineWorld, tmp_path: Path) -> None:
    (plan,) = CONTRACT.transforms
    other = replace(CONTRACT, transforms=(replace(plan, fingerprint="of other code"),))
    with pytest.raises(BundleError, match="other code"):
        Shadow.start(
            add(online_world, "v2", other), redis_url="", settings=SETTINGS, folder=tmp_path / "shadow"
        )
    damaged = add(online_world, "v3")
    (damaged / "model.ubj").write_bytes(b"")
    with pytest.raises(BundleError, match="damaged"):
        Shadow.start(damaged, redis_url="", settings=SETTINGS, folder=tmp_path / "shadow")


def test_a_log_that_cannot_be_written_is_counted_and_not_more(
    online_world: OnlineWorld, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    rankings = served(online_world, asked(online_world, ["ann", "bob"]))
    counts, _ = shadowed(online_world, add(online_world, "v2"), rankings, tmp_path / "file" / "shadow")
    assert counts == ShadowCounts(offered=2, unwritten=2)


def test_files_of_the_past_are_deleted(online_world: OnlineWorld, tmp_path: Path) -> None:
    rankings = served(online_world, asked(online_world, ["ann"]))
    folder = tmp_path / "shadow"
    log = ShadowLog(folder, 1.0, keep_days=2.0)

    def written(at: float) -> Path | None:
        log.take(ShadowedRanking(rankings[0], "v2", rankings[0].scores, {}, at))
        return log.write(at)

    first, second, third = (written(AT + days * 86_400) for days in (0, 1, 2.5))
    assert sorted(folder.iterdir()) == sorted(path for path in (second, third) if path)
    assert first not in folder.iterdir()
    assert log.write(AT) is None


def test_rows_are_reused_only_where_they_mean_the_same() -> None:
    user, item, pair = CONTRACT.views
    assert covers(CONTRACT, CONTRACT)
    assert covers(CONTRACT, replace(CONTRACT, views=(item,)))
    assert not covers(replace(CONTRACT, views=(item,)), CONTRACT)
    fewer = replace(item, fields=item.fields[:1])
    assert covers(CONTRACT, replace(CONTRACT, views=(user, fewer, pair)))
    assert not covers(replace(CONTRACT, views=(user, fewer, pair)), CONTRACT)
    for changed in (
        replace(item, ttl_seconds=1.0),
        replace(item, fingerprint="x"),
        replace(item, join_keys=("user_id", "item_id")),
        replace(item, fields=(replace(item.fields[0], value_type="INT64"), *item.fields[1:])),
    ):
        assert not covers(CONTRACT, replace(CONTRACT, views=(user, changed, pair)))
    assert not covers(CONTRACT, replace(CONTRACT, project="other"))
