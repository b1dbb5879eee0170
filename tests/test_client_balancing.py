"""Which server a call goes to: shared between all, the dead and the stalled left out, back when they are."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Client, Refusal, Script, connected, scripted

from ranking_service.client import (
    DeadlineError,
    RankingClient,
    RankRequest,
    RetryPolicy,
    UnavailableError,
)
from ranking_service.client.lanes import LONGEST_REST_SECONDS, SHORTEST_REST_SECONDS, SLOW_CALLS, Lane, Lanes

ANN: dict[str, Any] = {"user_id": "ann", "candidate_ids": ["a"], "timeout": 5}
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def answered_by(client: Client, calls: int) -> Counter[str]:
    return Counter(client.rank(**ANN).bundle_version for _ in range(calls))


@BOTH
def test_calls_are_shared_by_all_servers(kind: str) -> None:
    with (
        scripted(Script("a")) as one,
        scripted(Script("b")) as two,
        scripted(Script("c")) as three,
        connected(kind, f"{one},{two}, {three}") as client,
    ):
        assert answered_by(client, 30) == {"a": 10, "b": 10, "c": 10}


@BOTH
def test_a_server_without_room_gets_few_calls_while_another_has_some(kind: str) -> None:
    """It answers at once, which would else make it look idle."""
    full = Script("full", without_room=True)
    with (
        scripted(full) as one,
        scripted(Script("idle", seconds=0.002)) as two,
        connected(kind, f"{one},{two}") as client,
    ):
        began = time.monotonic()
        assert answered_by(client, 60)["full"] <= 1 + (time.monotonic() - began) / SHORTEST_REST_SECONDS
        assert client.rank_many([RankRequest(user_id="ann", candidate_ids=["a"])])[0].ranking is not None
    with scripted(full) as one, connected(kind, one) as client:
        assert answered_by(client, 5) == {"full": 5}, "it is all there is"
        assert client.rank(**ANN).without_room


@BOTH
def test_a_name_with_several_addresses_is_shared_by_them(kind: str) -> None:
    """gRPC's own round_robin, as for a DNS name that several machines have."""
    with (
        scripted(Script("a")) as one,
        scripted(Script("b")) as two,
        connected(kind, f"ipv4:{one},{two}") as client,
    ):
        answered_by(client, 10)  # both are connected now
        counted = answered_by(client, 20)
    assert counted == {"a": 10, "b": 10}


@BOTH
def test_a_dead_server_is_left_out_without_a_failed_call_and_comes_back(kind: str) -> None:
    port = free_port()
    with scripted(Script("steady")) as steady, connected(kind, f"{steady},127.0.0.1:{port}") as client:
        with scripted(Script("mortal"), port=port):
            assert answered_by(client, 10)["mortal"] == 5
        assert answered_by(client, 30) == {"steady": 30}
        assert client.calling.budget.tokens >= client.calling.policy.budget_burst - 3
        with scripted(Script("mortal"), port=port):
            until = time.monotonic() + 10
            while answered_by(client, 2)["mortal"] == 0:
                assert time.monotonic() < until
                time.sleep(0.05)
            assert answered_by(client, 10)["mortal"] >= 4


@BOTH
def test_one_of_two_servers_never_there_fails_no_call(kind: str) -> None:
    with scripted(Script("there")) as there, connected(kind, f"127.0.0.1:{free_port()},{there}") as client:
        assert answered_by(client, 50) == {"there": 50}


@BOTH
def test_a_server_that_stays_away_does_not_use_up_the_retries_of_a_client_with_few_calls(kind: str) -> None:
    """The clock runs so fast that each call finds the dead server's rest over, and tries it."""
    minutes = itertools.count(0.0, 60.0)
    with (
        scripted(Script("there")) as there,
        connected(
            kind,
            f"127.0.0.1:{free_port()},{there}",
            clock=lambda: next(minutes),
            retry=RetryPolicy(budget_burst=1),
        ) as client,
    ):
        for _ in range(20):
            assert client.rank(**{**ANN, "timeout": 3600}).bundle_version == "there"


def test_two_servers_that_refuse_everything_get_no_storm() -> None:
    scripts = [Script(refusals=[Refusal()] * 1000), Script(refusals=[Refusal()] * 1000)]
    with (
        scripted(scripts[0]) as one,
        scripted(scripts[1]) as two,
        RankingClient.connect(f"{one},{two}") as client,
    ):
        started = time.monotonic()
        for _ in range(100):
            with pytest.raises(UnavailableError):
                client.rank(**ANN)
        tries_of_rests = 2 * (10 + (time.monotonic() - started) / LONGEST_REST_SECONDS)
    policy = client.calling.policy
    most = 100 * (1 + policy.budget_share) + policy.budget_burst + tries_of_rests
    assert sum(len(script.calls) for script in scripts) <= most


def test_without_any_server_the_error_names_one() -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        RankingClient.connect(address, connections=2) as client,
        pytest.raises(UnavailableError, match=address),
    ):
        client.rank(**ANN)


def test_a_stalled_server_gets_few_calls() -> None:
    """It takes calls and answers none: the unanswered ones keep further ones away."""
    with (
        scripted(Script("stalled", seconds=1.0)) as stalled,
        scripted(Script("quick")) as quick,
        RankingClient.connect(f"{stalled},{quick}") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        done = list(pool.map(lambda _: client.rank(**ANN).bundle_version, range(300)))
    assert Counter(done)["stalled"] <= 16


@BOTH
def test_a_server_that_keeps_missing_deadlines_is_left_out(kind: str) -> None:
    missed = 0
    with (
        scripted(Script("stalled", seconds=0.5)) as stalled,
        scripted(Script("quick")) as quick,
        connected(kind, f"{stalled},{quick}") as client,
    ):
        answered_by(client, 2)
        for _ in range(30):
            try:
                client.rank(**{**ANN, "timeout": 0.1})
            except DeadlineError:
                missed += 1
    assert SLOW_CALLS <= missed <= SLOW_CALLS + 4


def test_several_connections_to_one_address_are_several_to_the_server() -> None:
    """A proxy counts them; each may land on another worker process behind one port."""
    with scripted(Script()) as address, dealing_proxy([address]) as (proxy, opened):
        with RankingClient.connect(proxy) as client:
            answered_by(client, 10)
        assert len(opened) == 1
        with RankingClient.connect(proxy, connections=3) as client:
            answered_by(client, 12)
        assert len(opened) == 1 + 3


@BOTH
def test_processes_behind_one_address_get_equally_many_calls_however_connections_are_dealt(kind: str) -> None:
    """Five connections reach the first process and one the second, as the kernel may deal them."""
    with (
        scripted(Script("first", worker=0, seconds=0.01)) as first,
        scripted(Script("second", worker=1, seconds=0.01)) as second,
        dealing_proxy([first, first, second, first, first, first]) as (proxy, opened),
        connected(kind, proxy, connections=6) as client,
    ):
        answered_by(client, 6)
        assert len(opened) == 6
        assert {lane.worker for lane in client.calling.lanes.lanes} == {0, 1}
        assert answered_by(client, 20) == {"first": 10, "second": 10}


def test_calls_at_the_same_time_are_shared_by_the_processes_too() -> None:
    with (
        scripted(Script("first", worker=0, seconds=0.01)) as first,
        scripted(Script("second", worker=1, seconds=0.01)) as second,
        dealing_proxy([first, first, second, first, first, first]) as (proxy, _),
        RankingClient.connect(proxy, connections=6) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        answered_by(client, 6)
        told = Counter(pool.map(lambda _: client.rank(**ANN).bundle_version, range(200)))
        assert told["second"] >= 55, "about half, where connections alone would give it a sixth"


@BOTH
def test_a_process_without_room_rests_whatever_the_connection(kind: str) -> None:
    with (
        scripted(Script("full", worker=0, without_room=True)) as full,
        scripted(Script("idle", worker=1, seconds=0.002)) as idle,
        dealing_proxy([full, full, full, idle]) as (proxy, _),
        connected(kind, proxy, connections=4) as client,
    ):
        answered_by(client, 8)  # it has been told of all of them
        began = time.monotonic()
        assert answered_by(client, 60)["full"] <= 1 + (time.monotonic() - began) / SHORTEST_REST_SECONDS


@given(st.data())
def test_a_call_goes_to_the_process_with_the_fewest_unanswered_ones(data: st.DataObject) -> None:
    lanes = Lanes.to(("a:1", "b:1"), 4)
    for lane in lanes.lanes:
        if (worker := data.draw(st.none() | st.integers(0, 2))) is not None:
            lanes.reaches(lane, worker)
        lane.in_flight = data.draw(st.integers(0, 5))
        lane.rest_until = data.draw(st.sampled_from([0.0, 9.0]))
    avoid = data.draw(st.none() | st.sampled_from(lanes.lanes))
    awake = [lane for lane in lanes.lanes if lane.rest_until == 0.0]
    if avoid is not None:
        others = [lane for lane in awake if lane.process != avoid.process]
        awake = others or [lane for lane in awake if lane is not avoid] or awake

    def unanswered(lane: Lane) -> int:
        if lane.worker is None:
            return lane.in_flight
        alike = [one for one in lanes.lanes if (one.address, one.worker) == (lane.address, lane.worker)]
        return sum(one.in_flight for one in alike)

    fewest = min(map(unanswered, awake), default=None)
    before = {lane.place: unanswered(lane) for lane in lanes.lanes}
    taken = lanes.take(1.0, avoid)
    if awake:
        assert taken in awake
        assert before[taken.place] == fewest


def test_a_connection_that_broke_may_reach_another_process() -> None:
    lanes = Lanes.to(("a:1",), 2)
    for lane in lanes.lanes:
        lanes.reaches(lane, 1)
    first, second = lanes.lanes
    assert first.process == second.process
    lanes.failed(lanes.take(0.0), 0.0)
    assert first.process != second.process


@contextmanager
def dealing_proxy(targets: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Its own address, and an entry for each connection it was asked for; they are dealt out to targets in turn."""
    opened: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    near, _ = listening.accept()
                except OSError:
                    return
                host, port = targets[len(opened) % len(targets)].split(":")
                opened.append(1)
                far = socket.create_connection((host, int(port)))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", opened
        listening.shutdown(socket.SHUT_RDWR)


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while content := source.recv(65_536):
            target.sendall(content)
    except OSError:
        pass
    finally:
        target.close()


SERVE = """
import sys
from scripted_server import Script, scripted
with scripted(Script(sys.argv[2]), port=int(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_server_killed_under_load_costs_no_answer() -> None:
    port = free_port()
    program = [sys.executable, "-c", SERVE, str(port), "mortal"]
    with (
        scripted(Script("steady")) as steady,
        subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent
        ) as mortal,
    ):
        try:
            assert mortal.stdout is not None
            assert mortal.stdout.readline() == b"ready\n"
            with RankingClient.connect(f"127.0.0.1:{port},{steady}") as client, ThreadPoolExecutor(4) as pool:
                answers = [pool.submit(client.rank, **ANN) for _ in range(400)]
                while sum(answer.done() for answer in answers) < 100:
                    time.sleep(0.001)
                mortal.send_signal(signal.SIGKILL)
                versions = Counter(answer.result().bundle_version for answer in answers)
        finally:
            mortal.kill()
    assert versions["mortal"] > 0
    assert versions.total() == 400


@given(st.data())
def test_a_lane_rests_after_failures_and_only_one_call_tries_it(data: st.DataObject) -> None:
    lanes = Lanes.to(("a:1", "b:1"), 1)
    bad, good = lanes.lanes
    now = 0.0
    for failures in range(data.draw(st.integers(1, 20))):
        now = bad.rest_until
        good.in_flight = 100  # so that the bad one is preferred
        assert lanes.take(now) is bad
        if failures:
            assert lanes.take(now) is good
        lanes.failed(bad, now)
        assert now < bad.rest_until <= now + LONGEST_REST_SECONDS
    rest = data.draw(st.floats(0, 0.99)) * (bad.rest_until - now)
    assert lanes.take(now + rest) is good
    assert lanes.take(bad.rest_until) is bad
    lanes.answered(bad)
    assert bad.rest_until == 0


def test_when_all_rest_the_one_to_be_tried_next_is_taken() -> None:
    lanes = Lanes.to(("a:1", "b:1"), 1)
    first, second = lanes.take(0.0), lanes.take(0.0)
    lanes.failed(second, 0.0)
    lanes.failed(first, 0.05)
    assert lanes.take(0.06) is second


def test_a_retry_goes_to_another_server() -> None:
    lanes = Lanes.to(("a:1", "b:1"), 2)
    for _ in range(20):
        failed = lanes.take(0.0)
        lanes.left(failed)
        assert lanes.take(0.0, avoid=failed) is not failed


def test_the_choice_is_settled_once_for_each_call() -> None:
    with scripted(Script()) as address:
        client = RankingClient.connect(address, connections=2, retry=RetryPolicy(attempts=1))
        with client, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.rank(**ANN), range(200)))
        assert [lane.in_flight for lane in client.calling.lanes.lanes] == [0, 0]
