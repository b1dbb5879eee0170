"""The service over a real channel: rankings, wrong requests, a store that is down, start and stop."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import redis
import xgboost
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from online_world import AT, CONTRACT, MODEL, NOW, OnlineWorld, make_booster, populate
from redis_servers import free_port, running

from feature_repo.errors import BundleError, OnlineStoreError, RequestError, SettingError
from materialization.private_redis import private_redis
from ranking_service import bundle
from ranking_service.client import DeadlineError, Ranking, RankingClient, RankRequest, UnavailableError
from ranking_service.contract import TransformPlan
from ranking_service.online.feature_reader import RedisPlace
from ranking_service.online.start_up import doubts
from ranking_service.proto import ranking_pb2
from ranking_service.server.server import SERVICE, RankingServer
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import AdmissionSettings, BudgetSettings, LevelSettings, RedisSettings

PATIENT = BudgetSettings(request_seconds=5.0, feature_seconds=0.25, scoring_seconds=1.0)
"""Tests share their processors."""
SETTINGS = ServiceSettings(candidate_limit=50, redis=RedisSettings(connect_seconds=1.0), budget=PATIENT)


@contextmanager
def serving(world: OnlineWorld, settings: ServiceSettings = SETTINGS) -> Iterator[RankingClient]:
    server = RankingServer.start(world.bundle, redis_url=world.redis_url, settings=settings)
    try:
        with RankingClient.connect(server.address) as client:
            yield client
    finally:
        server.stop()


@pytest.fixture
def client(online_world: OnlineWorld) -> Iterator[RankingClient]:
    with serving(online_world) as client:
        yield client


def test_the_ranking_equals_naive_scoring_of_the_rows_written(
    online_world: OnlineWorld, client: RankingClient
) -> None:
    request = {"surface": "search", "request_timestamp": AT, "session_position": 4.0, "bandwidth": 1.5}
    expected = online_world.naive_scores("ann", online_world.items, request)
    ranking = client.rank(
        user_id="ann",
        candidate_ids=online_world.items,
        surface="search",
        session_position=4,
        features={"bandwidth": 1.5},
        at=NOW,
    )
    scores = {item.item_id: item.score for item in ranking.items}
    np.testing.assert_allclose([scores[item] for item in online_world.items], expected, rtol=1e-6)
    order = sorted(range(len(expected)), key=lambda place: (-expected[place], place))
    assert [item.item_id for item in ranking.items] == [online_world.items[place] for place in order]
    assert [item.rank for item in ranking.items] == list(range(14))
    assert (ranking.bundle_version, ranking.level) == ("v1", 0)


def test_limit_cuts_the_same_ranking(online_world: OnlineWorld, client: RankingClient) -> None:
    whole = client.rank(user_id="ann", candidate_ids=online_world.items, at=NOW)
    best = client.rank(user_id="ann", candidate_ids=online_world.items, at=NOW, limit=3)
    more = client.rank(user_id="ann", candidate_ids=online_world.items, at=NOW, limit=99)
    assert best.items == whole.items[:3]
    assert more.items == whole.items


def test_equal_scores_keep_the_requests_order(client: RankingClient) -> None:
    strangers = ["z", "a", "m", "b"]
    ranking = client.rank(user_id="ann", candidate_ids=strangers, at=NOW)
    assert [item.item_id for item in ranking.items] == strangers


def test_unknown_user_items_and_history_are_answered_from_defaults(
    online_world: OnlineWorld, client: RankingClient
) -> None:
    ranking = client.rank(user_id="nobody", candidate_ids=["item 1", "unknown"], at=NOW)
    expected = online_world.naive_scores("nobody", ["item 1", "unknown"], {"request_timestamp": AT})
    scores = {item.item_id: item.score for item in ranking.items}
    np.testing.assert_allclose([scores["item 1"], scores["unknown"]], expected, rtol=1e-6)
    assert ranking.level == 0
    assert ranking.incomplete_candidates == 2
    assert ranking.missing_by_view == {"user_stats": 2, "item_stats": 1, "pair_stats": 2}


def test_expired_rows_count_as_missing(client: RankingClient) -> None:
    ranking = client.rank(user_id="ann", candidate_ids=["item 5", "item 6"], at=NOW)
    assert ranking.missing_by_view == {"item_stats": 1, "pair_stats": 1}


def test_a_request_id_is_kept_or_made(client: RankingClient) -> None:
    assert client.rank(user_id="ann", candidate_ids=["a"], request_id="mine").request_id == "mine"
    made = {client.rank(user_id="ann", candidate_ids=["a"]).request_id for _ in range(3)}
    assert len(made) == 3
    assert all(made)


def test_without_a_time_the_servers_clock_counts(client: RankingClient) -> None:
    fresh = client.rank(user_id="ann", candidate_ids=["item 1"], at=NOW)
    now = client.rank(user_id="ann", candidate_ids=["item 1"])
    expired = abs(time.time() - AT) > 7 * 86_400 and time.time() > AT
    assert "item_stats" not in fresh.missing_by_view
    assert ("item_stats" in now.missing_by_view) == expired


def test_contributions_and_base_add_up_to_the_margin(
    online_world: OnlineWorld, client: RankingClient
) -> None:
    ranking = client.rank(
        user_id="ann", candidate_ids=online_world.items, at=NOW, limit=4, explain=True, surface="search"
    )
    for item in ranking.items:
        why = item.explanation
        assert why is not None
        total = why.base + why.others + sum(entry.contribution for entry in why.top)
        assert total == pytest.approx(why.margin, abs=1e-4)
        assert 1 / (1 + math.exp(-why.margin)) == pytest.approx(item.score, abs=1e-5)
        sizes = [abs(entry.contribution) for entry in why.top]
        assert sizes == sorted(sizes, reverse=True)
        assert {entry.feature for entry in why.top} == set(MODEL)
        by_name = {entry.feature: entry for entry in why.top}
        assert by_name["user_activity"].value == 1.5
        assert by_name["user_activity"].description == "what user_activity means"
        assert (by_name["context_surface"].category, by_name["context_surface"].value) == ("search", 1)
    plain = client.rank(user_id="ann", candidate_ids=online_world.items, at=NOW, limit=4)
    assert all(item.explanation is None for item in plain.items)


def test_a_missing_value_is_shown_as_missing(client: RankingClient) -> None:
    ranking = client.rank(user_id="ann", candidate_ids=["item 4"], at=NOW, explain=True)
    assert ranking.items[0].explanation is not None
    values = {entry.feature: entry.value for entry in ranking.items[0].explanation.top}
    assert values["item_popularity"] is None


def test_explanations_list_as_many_features_as_set(online_world: OnlineWorld) -> None:
    with serving(online_world, replace(SETTINGS, explained_features=2)) as client:
        item = client.rank(user_id="ann", candidate_ids=["item 1"], explain=True).items[0]
    assert item.explanation is not None
    assert len(item.explanation.top) == 2


def test_stages_are_timed(client: RankingClient) -> None:
    micros = client.rank(user_id="ann", candidate_ids=["item 1", "item 2"]).micros
    assert micros["fetch"] > 0
    assert micros["total"] == sum(value for stage, value in micros.items() if stage != "total")


@pytest.mark.parametrize(("most", "stage"), [(1, "queue"), (8, "wait")], ids=["in line", "begun"])
def test_waiting_for_other_requests_is_timed(online_world: OnlineWorld, most: int, stage: str) -> None:
    admission = AdmissionSettings(least=1, most=most, target_seconds=5.0)
    requests = [RankRequest(user_id="ann", candidate_ids=online_world.items) for _ in range(8)]
    with serving(online_world, replace(SETTINGS, admission=admission)) as client:
        answers = client.rank_many(requests, timeout=5)
    micros = [answer.result().micros for answer in answers]
    assert max(one[stage] for one in micros) > min(one["assemble"] + one["score"] for one in micros)


def test_all_models_share_one_loop_which_has_no_room_when_the_brownout_has_no_time(
    online_world: OnlineWorld,
) -> None:
    server = RankingServer.start(online_world.bundle, redis_url=online_world.redis_url, settings=SETTINGS)
    try:
        shared, models = server.server.shared_loop, server.server.servicer.models
        with models.leased("") as before:
            assert before.loop is shared
        server.switch(online_world.bundle)
        with models.leased("") as after:
            assert after is not before
            assert after.loop is shared
        assert shared.has_room()
        server.server.servicer.brownout._saved_seconds = -1e6
        assert not shared.has_room()
    finally:
        server.stop()


def test_concurrent_requests_do_not_mix(online_world: OnlineWorld, client: RankingClient) -> None:
    users = ["ann", "bob", "nobody"]
    alone = {
        user: client.rank(user_id=user, candidate_ids=online_world.items, at=NOW).items for user in users
    }

    def again(number: int) -> bool:
        user = users[number % 3]
        answer = client.rank(
            user_id=user, candidate_ids=online_world.items, at=NOW, request_id=str(number), timeout=10
        )
        return answer.items == alone[user] and answer.request_id == str(number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(again, range(200)))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no user": ({"user_id": ""}, "user_id"),
    "no candidates": ({"candidate_ids": []}, "candidate_ids"),
    "too many candidates": ({"candidate_ids": [str(index) for index in range(51)]}, "candidate_ids"),
    "an empty id": ({"candidate_ids": ["a", ""]}, "candidate_ids[1]"),
    "a repeated id": ({"candidate_ids": ["a", "b", "a"]}, "candidate_ids[2]"),
    "a NaN": ({"features": {"bandwidth": math.nan}}, 'context.features["bandwidth"]'),
    "an infinity": ({"features": {"bandwidth": -math.inf}}, 'context.features["bandwidth"]'),
    "an unknown feature": ({"features": {"colour": "red"}}, 'context.features["colour"]'),
    "text for a number": ({"features": {"bandwidth": "fast"}}, 'context.features["bandwidth"]'),
    "a number for text": ({"features": {"theme": 1.0}}, 'context.features["theme"]'),
    "a named field in the map": ({"features": {"surface": "home"}}, 'context.features["surface"]'),
}


@pytest.mark.parametrize(("change", "field"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_names_its_field(client: RankingClient, change: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        client.rank(**{"user_id": "ann", "candidate_ids": ["a"], **change})
    assert caught.value.field == field
    assert client.rank(user_id="ann", candidate_ids=["a"]).items


@pytest.mark.parametrize(
    ("context", "field"),
    [
        (ranking_pb2.Context(request_time=Timestamp(seconds=1, nanos=10**9)), "context.request_time"),
        (ranking_pb2.Context(request_time=Timestamp(seconds=10**12)), "context.request_time"),
        (
            ranking_pb2.Context(features={"bandwidth": ranking_pb2.ContextValue()}),
            'context.features["bandwidth"]',
        ),
    ],
)
def test_what_only_the_wire_can_get_wrong_names_its_field_too(
    client: RankingClient, context: ranking_pb2.Context, field: str
) -> None:
    message = ranking_pb2.RankRequest(user_id="ann", candidate_ids=["a"], context=context)
    with pytest.raises(RequestError) as caught:
        client.call(message, timeout=5)
    assert caught.value.field == field


def test_a_naive_time_is_refused_by_the_client(client: RankingClient) -> None:
    with pytest.raises(RequestError, match="no time zone"):
        client.rank(user_id="ann", candidate_ids=["a"], at=datetime(2026, 3, 1))


def complete_again(client: RankingClient, items: tuple[str, ...]) -> Ranking:
    """The first answer of level 0."""
    deadline = time.monotonic() + 10
    while (answer := client.rank(user_id="ann", candidate_ids=items, at=NOW, timeout=5)).level:
        assert time.monotonic() < deadline, f"still degraded: {answer.reason}"
        time.sleep(0.05)
    return answer


def test_redis_going_down_gives_the_rows_last_known_and_mends_itself(
    online_world: OnlineWorld, tmp_path: Path
) -> None:
    port = free_port()
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(running("--save", "", folder=tmp_path, port=port))
        world = OnlineWorld(f"redis://127.0.0.1:{port}/0", online_world.models)
        populate(world)
        client = stack.enter_context(serving(world))
        before = client.rank(user_id="ann", candidate_ids=world.items, at=NOW)
        assert (before.level, before.reason, before.degraded_views) == (0, "", ())
        first.close()
        for _ in range(3):
            started = time.monotonic()
            after = client.rank(user_id="ann", candidate_ids=world.items, at=NOW, timeout=5)
            assert time.monotonic() - started < 1.2
            assert after.items == before.items
            assert after.level == 1
            assert f"Redis at 127.0.0.1:{port}" in after.reason
            views = {view.view: view.level for view in after.degraded_views}
            assert views | {"item_stats": 1} == dict.fromkeys(("user_stats", "item_stats", "pair_stats"), 1)
        assert views["item_stats"] == 1, "the loss of the channel that tells of changes has been noticed"
        stranger = client.rank(user_id="bob", candidate_ids=world.items, at=NOW)
        assert stranger.level == 2
        assert {view.view: view.level for view in stranger.degraded_views} == {
            "user_stats": 2,
            "item_stats": 1,
            "pair_stats": 2,
        }
        stack.enter_context(running("--save", "", folder=tmp_path, port=port))
        empty = complete_again(client, world.items)
        assert empty.missing_by_view == dict.fromkeys(("user_stats", "item_stats", "pair_stats"), 14)
        world.write("user_stats", {"user_id": "ann"}, {"user_activity": 1.5, "user_country": "DE"})
        written = client.rank(user_id="ann", candidate_ids=world.items, at=NOW)
        assert written.missing_by_view == {"item_stats": 14, "pair_stats": 14}


def test_where_only_complete_answers_are_allowed_redis_going_down_is_unavailable_within_a_second(
    online_world: OnlineWorld,
) -> None:
    settings = replace(SETTINGS, levels=LevelSettings(lowest=0))
    with private_redis() as server:
        world = OnlineWorld(server.url, online_world.models)
        with serving(world, settings) as client:
            assert client.rank(user_id="ann", candidate_ids=["item 1"]).items
            os.kill(server.pid, signal.SIGKILL)
            for _ in range(3):
                started = time.monotonic()
                with pytest.raises(UnavailableError, match="Redis at 127"):
                    client.rank(user_id="ann", candidate_ids=["item 1"], timeout=5)
                assert time.monotonic() - started < 1.2


def test_a_stalled_redis_costs_the_time_for_features_and_mends_itself(online_world: OnlineWorld) -> None:
    with private_redis() as server:
        world = OnlineWorld(server.url, online_world.models)
        populate(world)
        with serving(world) as client:
            before = client.rank(user_id="ann", candidate_ids=world.items, at=NOW, timeout=5)
            os.kill(server.pid, signal.SIGSTOP)
            try:
                started = time.monotonic()
                stalled = client.rank(user_id="ann", candidate_ids=world.items, at=NOW, timeout=5)
                assert time.monotonic() - started < 1
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert (stalled.level, stalled.items) == (1, before.items)
            assert "Redis at 127" in stalled.reason
            assert complete_again(client, world.items).items == before.items


def test_the_client_has_a_deadline() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        RankingClient.connect(f"127.0.0.1:{silent.getsockname()[1]}") as client,
    ):
        started = time.monotonic()
        with pytest.raises((DeadlineError, UnavailableError)):
            client.rank(user_id="ann", candidate_ids=["a"], timeout=0.3)
        assert time.monotonic() - started < 2


def test_no_server_is_unavailable() -> None:
    with (
        RankingClient.connect("127.0.0.1:1") as client,
        pytest.raises(UnavailableError, match="marquee serve"),
    ):
        client.rank(user_id="ann", candidate_ids=["a"])


def test_health_and_reflection_are_on(client: RankingClient) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    for name in ("", SERVICE):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = reflection.ServerReflectionInfo(iter([request]), timeout=5)
    names = {service.name for service in next(answers).list_services_response.service}
    assert "marquee.ranking.v1.RankingService" in names


def test_start_up_reports_every_problem_at_once(online_world: OnlineWorld) -> None:
    broken = replace(CONTRACT, transforms=(*CONTRACT.transforms, TransformPlan("vanished", (), "")))
    bundle.publish(online_world.models, version="v2", booster=make_booster(), contract=broken, manifest={})
    with pytest.raises(BundleError) as caught:
        RankingServer.start(online_world.models / "v2", redis_url="redis://127.0.0.1:1", settings=SETTINGS)
    assert "transforms vanished" in str(caught.value)
    assert "Redis at 127.0.0.1:1" in str(caught.value)


def test_a_bundle_trained_with_other_transform_code_is_refused(online_world: OnlineWorld) -> None:
    (plan,) = CONTRACT.transforms
    other = replace(CONTRACT, transforms=(replace(plan, fingerprint="of other code"),))
    bundle.publish(online_world.models, version="v2", booster=make_booster(), contract=other, manifest={})
    with pytest.raises(BundleError) as caught:
        RankingServer.start(online_world.models / "v2", redis_url=online_world.redis_url, settings=SETTINGS)
    assert "bundle v2 was trained with other code of the transforms request_context" in str(caught.value)
    assert "restore that code" in str(caught.value)
    assert "marquee model train" in str(caught.value)


def test_start_up_without_redis_is_an_error(online_world: OnlineWorld) -> None:
    with pytest.raises(OnlineStoreError, match=r"127\.0\.0\.1:1"):
        RankingServer.start(online_world.bundle, redis_url="redis://127.0.0.1:1", settings=SETTINGS)


def test_a_model_with_several_outputs_is_refused(online_world: OnlineWorld) -> None:
    rows = np.random.default_rng(0).normal(size=(90, len(MODEL)))
    data = xgboost.DMatrix(rows, label=np.arange(90) % 3, feature_names=list(MODEL))
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3}, data, 2)
    bundle.publish(online_world.models, version="v3", booster=booster, contract=CONTRACT, manifest={})
    with pytest.raises(BundleError, match="needs one"):
        RankingServer.start(online_world.models / "v3", redis_url=online_world.redis_url, settings=SETTINGS)


def test_a_taken_port_is_an_error(online_world: OnlineWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingError, match="cannot listen"):
        RankingServer.start(
            online_world.bundle,
            redis_url=online_world.redis_url,
            settings=SETTINGS,
            port=taken.getsockname()[1],
        )


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
def test_a_port_that_is_none_is_an_error(online_world: OnlineWorld, port: int) -> None:
    with pytest.raises(SettingError, match=f"port {port} is not between 0 and 65535"):
        RankingServer.start(
            online_world.bundle, redis_url=online_world.redis_url, settings=SETTINGS, port=port
        )


def test_a_redis_without_rows_of_the_project_is_told(online_world: OnlineWorld) -> None:
    client: Any = redis.Redis.from_url(online_world.redis_url)

    def told() -> list[str]:
        return list(doubts(CONTRACT, RedisPlace(online_world.redis_url, SETTINGS)))

    assert told() == []
    client.flushdb()
    client.mset({f"somebody else's {number}": "x" for number in range(5_000)})
    (sentence,) = told()
    assert "holds no rows of project rank" in sentence
    assert "marquee features materialize" in sentence
    online_world.write("user_stats", {"user_id": "ann"}, {"user_activity": 1.5})
    assert told() == []


@pytest.fixture
def command(online_world: OnlineWorld, tmp_path: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "marquee", "serve"),
        *("--bundle", str(online_world.bundle), "--redis", online_world.redis_url),
        *("--port", "0", "--log", str(tmp_path / "log")),
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_told_to_stop_and_leaves_a_whole_log(
    command: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            address = ready.split()[-1]
            with RankingClient.connect(address) as client:
                assert client.rank(user_id="ann", candidate_ids=["item 1", "item 2"], timeout=5).items
            rank = [sys.executable, "-m", "marquee", "rank", "--user", "ann", "--candidates", "item 1,item 2"]
            shown = subprocess.run(
                [*rank, "--address", address, "--explain"],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert "item 1" in shown.stdout
            process.send_signal(number)
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "logged 2 requests, dropped 0" in output
    log = tmp_path / "log"
    (requests,) = log.glob("date=*/*/requests.parquet")
    assert pq.read_metadata(requests).num_rows == 2
    assert not list((log / "open").glob("*/*"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "Exit codes"),
        (["serve", "--help"], 0, "SIGTERM"),
        (["nonsense"], 2, "No such command"),
        (["rank", "--user", "ann", "--candidates", "a", "--address", "127.0.0.1:1"], 1, "marquee serve"),
        (["serve"], 2, "MARQUEE_REDIS_URL"),
        (["serve", "--redis", "redis://127.0.0.1:1"], 1, "marquee model train"),
        (["serve", "--redis", "nonsense"], 1, "marquee model train"),
        (["serve", "--port", "99999"], 2, "0<=x<=65535"),
        (["serve", "--redis", "redis://127.0.0.1:1", "--bundle", "v9"], 1, "no bundle v9"),
    ],
)
def test_the_command_line_says_what_is_wrong_without_a_traceback(
    tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    environment = {**os.environ, "MARQUEE_HOME": str(tmp_path)}
    environment.pop("MARQUEE_REDIS_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "marquee", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_help_does_not_import_what_is_slow() -> None:
    program = (
        "import sys, marquee.__main__ as m; m.run(['--help']); "
        "sys.exit(len({'feast', 'xgboost', 'duckdb', 'grpc', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


def test_serving_does_not_import_feast() -> None:
    program = "import sys, ranking_service.server.server; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_request_times_travel_to_the_microsecond(client: RankingClient) -> None:
    """The instant one microsecond past an item's ttl is past it."""
    edge = AT - 60 + 7 * 86_400
    within = client.rank(user_id="ann", candidate_ids=["item 0"], at=datetime.fromtimestamp(edge, UTC))
    past = client.rank(user_id="ann", candidate_ids=["item 0"], at=edge + 1e-6)
    assert "item_stats" not in within.missing_by_view
    assert "item_stats" in past.missing_by_view
