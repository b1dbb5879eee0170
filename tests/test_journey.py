"""The whole story, by the verbs people type: events, features, a model, Redis, a server, rankings, the skew check.

Told twice: on a small simulated service, where the best possible ranking is known, and on the real KuaiRand log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.workspace import Workspace
from marquee.catalogue import active_users, popular_items, popular_surfaces
from materialization.feast_store import newest_snapshot, open_store
from materialization.private_redis import private_redis
from ranking_service.bundle import load
from ranking_service.client import CallError, Ranking, RankingClient
from ranking_service.models.registry import Registry
from ranking_service.training_join import assemble_table, training_join
from skew_checks.replay.served import read_log
from skew_checks.result.parts import Window

KUAIRAND = (
    Path(os.environ.get("MARQUEE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    / "kuairand-pure-2w"
)
CANDIDATES = 500


@dataclass(frozen=True)
class Told:
    """What the journey left behind."""

    workspace: Workspace
    rankings: list[Ranking]
    at: datetime
    skew: int
    """Exit code of the skew check."""

    @property
    def evaluation(self) -> dict[str, Any]:
        (path,) = self.workspace.reports.glob("evaluation-*.json")
        return dict(json.loads(path.read_text()))

    def figure(self, ranker: str, metric: str) -> float:
        return float(self.evaluation["report"][ranker][metric]["value"])


def tell(home: Path, *events: str) -> Told:
    """From `marquee events ...` to the skew check, on a Redis of its own."""
    workspace = Workspace(home)
    with private_redis() as redis:
        environment = {
            **os.environ,
            "MARQUEE_HOME": str(home),
            "MARQUEE_REDIS_URL": redis.url,
            "TZ": "Asia/Shanghai",
        }
        for verb in (
            ("events", *events),
            ("features", "build"),
            ("features", "apply"),
            ("features", "check"),
            ("model", "train"),
            ("model", "evaluate", "--resamples", "20"),
            ("features", "materialize"),
        ):
            assert marquee(environment, *verb) == 0, verb
        at = newest_snapshot(workspace) + timedelta(hours=1)
        with server(environment) as address, RankingClient.connect(address) as client:
            rankings = list(rank_for_many(client, workspace, at))
        return Told(workspace, rankings, at, marquee(environment, "skew", "check", "--min-requests", "1"))


def rank_for_many(client: RankingClient, workspace: Workspace, at: datetime) -> Iterator[Ranking]:
    """The most active users and a stranger, on different surfaces, devices and places in the visit."""
    users = [*active_users(workspace, 12), "nobody-has-met-this-user"]
    candidates = [*popular_items(workspace, CANDIDATES - 1), "nobody-has-met-this-item"]
    surfaces = [*popular_surfaces(workspace, 3), "a surface nobody knows"]
    for number, user in enumerate(users):
        yield client.rank(
            user_id=user,
            candidate_ids=candidates,
            surface=surfaces[number % len(surfaces)],
            device=("tv", "", "phone")[number % 3],
            session_position=None if number % 2 else number,
            at=at + timedelta(minutes=97 * number),
            explain=True,
            limit=10,
            timeout=20,
        )


def marquee(environment: dict[str, str], *arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "marquee", *arguments], env=environment, check=False
    ).returncode


@contextmanager
def server(environment: dict[str, str]) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "marquee", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.communicate(timeout=30)


def assert_served_equals_training_join(told: Told) -> None:
    """The matrix the model saw while serving is, bit for bit, what the training join gives for the same requests."""
    bundle = load(Registry.open(told.workspace.models).latest())
    segments = read_log(told.workspace.serving_log, Window()).segments
    requests = pa.concat_tables([segment.requests() for segment in segments])
    candidates = pa.concat_tables([segment.candidates() for segment in segments])
    context = [field.name for field in bundle.contract.request_fields]
    rows = candidates.select(["served_id", "item_id"]).join(
        requests.select(["served_id", "user_id", *context]), "served_id"
    )
    rows = rows.sort_by([("served_id", "ascending"), ("item_id", "ascending")])
    served = candidates.sort_by([("served_id", "ascending"), ("item_id", "ascending")])
    replayed = assemble_table(
        training_join(open_store(told.workspace), bundle.contract, rows), bundle.contract
    )
    assert len(replayed) == len(told.rankings) * CANDIDATES
    for index, name in enumerate(bundle.contract.feature_names):
        column = served.column(f"model__{name}").cast(pa.float32()).to_numpy(zero_copy_only=False)
        np.testing.assert_array_equal(column, replayed[:, index], err_msg=name)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Told:
    size = ("--users", "500", "--items", "700", "--days", "8", "--seed", "3")
    return tell(tmp_path_factory.mktemp("simulated"), "simulate", *size)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Told:
    if not KUAIRAND.is_dir():
        pytest.skip(
            f"the KuaiRand data set is not beside this clone ({KUAIRAND.name}); set MARQUEE_TEST_DATA to its parent"
        )
    return tell(tmp_path_factory.mktemp("real"), "import", "kuairand", str(KUAIRAND))


def test_the_trained_ranker_beats_every_baseline_and_not_the_truth(simulated: Told) -> None:
    model = simulated.figure("model", "ndcg@10")
    assert model > simulated.figure("item rate", "ndcg@10")
    assert model > 1.2 * simulated.figure("item popularity", "ndcg@10")
    assert model < simulated.figure("best possible", "ndcg@10")


def test_the_served_matrix_equals_the_training_join_on_simulated_events(simulated: Told) -> None:
    assert_served_equals_training_join(simulated)


def test_the_skew_check_finds_nothing_on_simulated_events(simulated: Told) -> None:
    assert simulated.skew == 0


def test_rankings_are_complete_ordered_and_explained(simulated: Told) -> None:
    for ranking in simulated.rankings:
        scores = [item.score for item in ranking.items]
        assert len(scores) == 10
        assert scores == sorted(scores, reverse=True)
        assert ranking.level == 0
        explanation = ranking.items[0].explanation
        assert explanation is not None
        contributions = sum(entry.contribution for entry in explanation.top)
        assert explanation.margin == pytest.approx(
            explanation.base + contributions + explanation.others, abs=1e-3
        )


def test_users_are_ranked_differently_and_a_stranger_is_answered(simulated: Told) -> None:
    orders = {tuple(item.item_id for item in ranking.items) for ranking in simulated.rankings}
    assert len(orders) > len(simulated.rankings) / 2
    stranger = simulated.rankings[-1]
    assert stranger.missing_by_view["user_totals"] == CANDIDATES


def test_the_demos_server_ends_with_the_demo(simulated: Told) -> None:
    """Also when the demo is told to stop half-way."""
    script = (
        "import signal, time; from marquee import demo; signal.signal(signal.SIGTERM, demo._stop)\n"
        "with demo._server() as address: print(address, flush=True); time.sleep(60)"
    )
    with private_redis() as redis:
        environment = {
            **os.environ,
            "MARQUEE_HOME": str(simulated.workspace.home),
            "MARQUEE_REDIS_URL": redis.url,
        }
        with subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            address = next(line for line in process.stdout if line.startswith("127.0.0.1:")).strip()
            process.terminate()
            process.communicate(timeout=30)
        assert process.returncode == 128 + signal.SIGTERM
        with RankingClient.connect(address) as client, pytest.raises(CallError):
            client.rank(user_id="u", candidate_ids=["i"], timeout=2)


@pytest.mark.real_data
@pytest.mark.timeout(1500)
def test_the_ranker_reaches_the_bar_on_the_real_log(real: Told) -> None:
    assert real.evaluation["features"] >= 150
    assert real.evaluation["start"].startswith("2022-05-06")
    assert 0.750 <= real.figure("model", "auc") < 0.77, "above 0.77, look for a leak"
    assert real.figure("model", "gauc_user_day") >= 0.640
    assert real.figure("model", "ndcg@10") >= 0.738


@pytest.mark.real_data
def test_the_served_matrix_equals_the_training_join_on_the_real_log(real: Told) -> None:
    assert_served_equals_training_join(real)


@pytest.mark.real_data
def test_the_skew_check_finds_nothing_on_the_real_log(real: Told) -> None:
    assert real.skew == 0
