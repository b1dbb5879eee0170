"""Latency of `Rank` and its stages, next to what the same work costs bare, interleaved in one run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from feature_repo.errors import MissingInputError
from materialization.data_plane.online.link import RedisLink
from materialization.progress import Report, silent
from ranking_service.bench.world import BenchWorld, feature_references
from ranking_service.bundle import Bundle, load
from ranking_service.client import RankingClient
from ranking_service.online.packed_reader import PackedReader
from ranking_service.online.ranker import Ranker
from ranking_service.online.request import RankRequest
from ranking_service.proto import ranking_pb2

WARM_UP = 30
STOCK_EVERY = 20
"""Feast's own read is so much slower that it takes part in every twentieth round only."""
TIMEOUT = 30.0
STAGES = {
    "decode": "checking the request",
    "fetch": "one Redis round trip, decoded to columns",
    "assemble": "defaults, transforms, matrix",
    "score": "the model",
    "order": "sorting and cutting",
    "total": "all stages",
}
RANK, EMPTY, RAW, BARE, STOCK = (
    "Rank",
    "empty RPC",
    "raw redis-py",
    "bare inplace_predict",
    "Feast's own read",
)
LIBRARIES = ("feast", "redis", "hiredis", "xgboost", "grpcio", "numpy")


@dataclass(frozen=True)
class Timing:
    """One measured operation."""

    name: str
    what: str
    median_ms: float
    p99_ms: float
    times: int
    """How often it was measured."""


@dataclass(frozen=True)
class BenchResult:
    """One run."""

    timings: tuple[Timing, ...]
    setting: dict[str, Any]
    """Size of the request, and what it ran on."""

    def median(self, name: str) -> float:
        """Milliseconds."""
        return next(timing.median_ms for timing in self.timings if timing.name == name)

    @property
    def floor_ms(self) -> float:
        """Median of what the parts cost bare: the read, the model, the call."""
        return self.median(RAW) + self.median(BARE) + self.median(EMPTY)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "floor_ms": self.floor_ms}


@dataclass(frozen=True)
class Operation:
    """Something to time."""

    name: str
    what: str
    run: Callable[[], Any]
    every: int = 1
    """Takes part in every so-many-th round."""


def measure(
    world: BenchWorld, *, redis_url: str, rounds: int, log: bool = False, report: Report = silent
) -> BenchResult:
    """Start a server in a process of its own and call it, each call next to its floors.

    `log` has the server write its serving log as well.
    """
    bundle = load(world.bundle)
    with _server(world, redis_url, log=log) as address, RankingClient.connect(address) as client:
        operations = [
            _rank(world, client),
            _empty_call(client),
            *_bare_parts(world, bundle, redis_url),
            _stock_read(world, bundle),
        ]
        seconds = _interleaved(operations, rounds, report)
    timings = [_timing(operation.name, operation.what, seconds[operation.name]) for operation in operations]
    stages = [_timing(f"Rank: {stage}", what, seconds[f"Rank: {stage}"]) for stage, what in STAGES.items()]
    return BenchResult(
        (timings[0], *stages, *timings[1:]), _setting(world, bundle, redis_url, rounds, log=log)
    )


def _interleaved(operations: list[Operation], rounds: int, report: Report) -> dict[str, list[float]]:
    """Seconds by name; whatever slows the machine down for a while slows all of them."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for number in range(-WARM_UP, rounds):
        report("rounds", number + WARM_UP + 1, rounds + WARM_UP)
        for operation in operations:
            if number % operation.every:
                continue
            started = time.perf_counter()
            outcome = operation.run()
            elapsed = time.perf_counter() - started
            if number < 0:
                continue
            seconds[operation.name].append(elapsed)
            if isinstance(outcome, ranking_pb2.RankResponse):
                for stage in STAGES:
                    seconds[f"Rank: {stage}"].append(getattr(outcome.micros, stage) / 1e6)
    return seconds


def _rank(world: BenchWorld, client: RankingClient) -> Operation:
    context = ranking_pb2.Context(surface="home")
    context.request_time.FromDatetime(world.at)
    message = ranking_pb2.RankRequest(user_id=world.user_id, candidate_ids=world.item_ids, context=context)
    what = f"{len(world.item_ids)} candidates over gRPC, as the caller sees it"
    return Operation(RANK, what, lambda: client.call(message, timeout=TIMEOUT))


def _empty_call(client: RankingClient) -> Operation:
    stub = health_pb2_grpc.HealthStub(client.channel)
    message = health_pb2.HealthCheckRequest()
    return Operation(
        EMPTY, "a health check on the same channel", lambda: stub.Check(message, timeout=TIMEOUT)
    )


def _bare_parts(world: BenchWorld, bundle: Bundle, redis_url: str) -> list[Operation]:
    bundle.booster.set_param({"nthread": 1})
    link = RedisLink.connect(redis_url, timeout_seconds=TIMEOUT, connect_seconds=TIMEOUT)
    reader = PackedReader.compile(bundle.contract, link)
    request = RankRequest(
        request_id="",
        user_id=world.user_id,
        candidate_ids=tuple(world.item_ids),
        request_timestamp=world.at.timestamp(),
        surface="home",
    )
    matrix = Ranker(bundle, reader)(request).model_input
    raw = _raw_read(reader, world, redis_url)
    return [
        Operation(RAW, "MGET and HMGET of the same rows, not decoded", raw),
        Operation(
            BARE, "the same model and rows, one thread", lambda: bundle.booster.inplace_predict(matrix)
        ),
    ]


def _raw_read(reader: PackedReader, world: BenchWorld, redis_url: str) -> Callable[[], Any]:
    strings, hashes = reader.plain_reads(world.user_id, world.item_ids)
    client: Any = redis.Redis.from_url(redis_url)

    def read() -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        pipeline.mget(strings)
        for key, fields in hashes:
            pipeline.hmget(key, list(fields))
        replies: list[Any] = pipeline.execute()
        return replies

    return read


def _stock_read(world: BenchWorld, bundle: Bundle) -> Operation:
    references = feature_references(bundle.contract)
    entities = [{"user_id": world.user_id, "item_id": item_id} for item_id in world.item_ids]
    numbers = [
        field.name
        for view in bundle.contract.views
        for field in view.fields
        if not field.is_text and not field.is_list
    ]

    def read() -> np.ndarray[Any, np.dtype[np.float32]]:
        columns = world.store.get_online_features(features=references, entity_rows=entities).to_dict()
        return np.array([columns[name] for name in numbers], np.float32).T

    return Operation(STOCK, "get_online_features of the same, numbers to a matrix", read, STOCK_EVERY)


@contextmanager
def _server(world: BenchWorld, redis_url: str, *, log: bool) -> Iterator[str]:
    """Address of `marquee serve` in a process of its own."""
    logging = ["--log", str(world.bundle.parent.parent / "serving_log")] if log else ["--no-log"]
    command = [sys.executable, "-m", "marquee", "serve", "--bundle", str(world.bundle), "--redis", redis_url]
    with subprocess.Popen([*command, "--port", "0", *logging], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if not ready:
                raise MissingInputError("`marquee serve` did not start; its message is above")
            yield ready.split()[-1]
        finally:
            process.terminate()
            process.communicate(timeout=TIMEOUT)


def _timing(name: str, what: str, seconds: list[float]) -> Timing:
    median, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return Timing(name, what, float(median), float(p99), len(seconds))


def _setting(world: BenchWorld, bundle: Bundle, redis_url: str, rounds: int, *, log: bool) -> dict[str, Any]:
    info: Any = redis.Redis.from_url(redis_url).info("server")
    return {
        "rows": world.rows,
        "candidates": len(world.item_ids),
        "features": len(bundle.contract.features),
        "stored_values": sum(len(view.fields) for view in bundle.contract.views),
        "trees": bundle.booster.num_boosted_rounds(),
        "rounds": rounds,
        "serving_log": log,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "redis_server": info["redis_version"],
        **{name: version(name) for name in LIBRARIES},
    }
