"""The load generator: python -m ranking_service.bench.load_process LOAD, a `Load` as JSON; prints a `LoadResult`.

Requests are serialized beforehand, answers are decoded as a client would.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc

from ranking_service.bench.calls import OWN_CONNECTION, TIMEOUT_SECONDS
from ranking_service.bench.load import CONNECTIONS, Load, LoadResult, due_times
from ranking_service.bench.slates import Case
from ranking_service.client.lanes import Lane, Lanes
from ranking_service.proto import ranking_pb2

METHOD = "/marquee.ranking.v1.RankingService/Rank"
Call = Callable[..., Any]


@dataclass
class Tally:
    """What came of the requests that were due, or in a closed loop answered, between two instants."""

    begin: float
    end: float
    latency_ms: list[float] = field(default_factory=list)
    lateness_ms: list[float] = field(default_factory=list)
    levels: Counter[int] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    candidates: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, outcome: Any, *, since: float, now: float) -> None:
        """A finished call's outcome; every connection has a thread that tells of it."""
        code = outcome.code()
        with self._lock:
            if code is not grpc.StatusCode.OK:
                self.failed[code.name] += 1
                return
            response: ranking_pb2.RankResponse = outcome.result()
            self.latency_ms.append(1e3 * (now - since))
            self.levels[response.level] += 1
            self.cached += response.cached_candidates
            self.candidates += len(response.items)


def main(load: Load) -> LoadResult:
    messages = [message.SerializeToString() for message in Case.read(Path(load.case)).messages()]
    calls = [_connected(load) for _ in range(load.clients or CONNECTIONS)]
    run = _open_loop if load.rate else _closed_loop
    used = time.process_time()
    tally = run(load, calls, messages)
    return LoadResult(
        seconds=load.seconds,
        latency_ms=tally.latency_ms,
        lateness_ms=tally.lateness_ms,
        complete=tally.levels[0],
        degraded=tally.levels.total() - tally.levels[0],
        failed=dict(tally.failed),
        cached_share=tally.cached / max(tally.candidates, 1),
        client_cpu_seconds=(time.process_time() - used) * load.seconds / (load.seconds + load.warm_seconds),
    )


def _connected(load: Load) -> Call:
    """A call on a connection of its own, which is open."""
    channel = grpc.insecure_channel(load.address, options=OWN_CONNECTION)
    grpc.channel_ready_future(channel).result(timeout=load.connect_seconds)
    call: Call = channel.unary_unary(
        METHOD, request_serializer=None, response_deserializer=ranking_pb2.RankResponse.FromString
    ).future
    return call


def _closed_loop(load: Load, calls: list[Call], messages: list[bytes]) -> Tally:
    """Each client's next request leaves when its last one is answered; counted by when the answer came."""
    begin = time.monotonic() + load.warm_seconds
    tally = Tally(begin, begin + load.seconds)
    left = threading.Semaphore(0)

    def ask(client: int, number: int) -> None:
        sent = time.monotonic()
        if sent >= tally.end:
            left.release()
            return

        def answered(outcome: Any) -> None:
            now = time.monotonic()
            if tally.begin <= now < tally.end:
                tally.add(outcome, since=sent, now=now)
            ask(client, number + len(calls))

        message = messages[number % len(messages)]
        calls[client](message, timeout=TIMEOUT_SECONDS).add_done_callback(answered)

    for client in range(len(calls)):
        ask(client, client)
    for _ in calls:
        left.acquire()
    return tally


def _open_loop(load: Load, calls: list[Call], messages: list[bytes]) -> Tally:
    """Every request leaves when it is due, and its time counts from then; on the connection our client would take."""
    due = due_times(load.rate, load.warm_seconds + load.seconds, load.arrivals, load.seed)
    start = time.monotonic() + 0.1
    tally = Tally(start + load.warm_seconds, start + load.warm_seconds + load.seconds)
    lanes = Lanes.to((load.address,), len(calls))
    left = threading.Semaphore(0)
    for number, offset in enumerate(due.tolist()):
        at = start + offset
        wait = at - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if at >= tally.begin:
            tally.lateness_ms.append(1e3 * max(time.monotonic() - at, 0.0))
        lane = lanes.take(time.monotonic())
        call = calls[lane.place](messages[number % len(messages)], timeout=TIMEOUT_SECONDS)
        call.add_done_callback(_recorder(tally, lanes, lane, at, left))
    for _ in due:
        left.acquire()
    return tally


def _recorder(
    tally: Tally, lanes: Lanes, lane: Lane, at: float, left: threading.Semaphore
) -> Callable[[Any], None]:
    def answered(outcome: Any) -> None:
        now = time.monotonic()
        lanes.left(lane)
        if outcome.code() is grpc.StatusCode.OK:
            lanes.reaches(lane, outcome.result().worker)
        if at >= tally.begin:
            tally.add(outcome, since=at, now=now)
        left.release()

    return answered


if __name__ == "__main__":
    print(json.dumps(asdict(main(Load(**json.loads(sys.argv[1]))))))
