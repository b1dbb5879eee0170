"""One client's calls, next to what their parts cost bare: all take turns."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.errors import OnlineStoreError
from materialization.bench.figures import Figure, Findings, Measured, at_least, at_most
from materialization.bench.interleaved import Contender, interleaved
from materialization.progress import Report
from ranking_service.bench.bare_redis import BareRead, BareRedis, Endpoint
from ranking_service.bench.calls import Caller
from ranking_service.bench.floor_server import patient_link
from ranking_service.bench.processes import ServeOptions, floor, serving
from ranking_service.bench.sizes import CACHE, LATENCY, LOG, STOCK, Plan
from ranking_service.bench.slates import EMPTY, Slate
from ranking_service.bench.stock import stock_server
from ranking_service.bench.stored import StoredRows
from ranking_service.bench.world import BenchWorld
from ranking_service.bundle import load
from ranking_service.proto import ranking_pb2

TRIES = 100
RANK, EMPTY_CALL, FETCH, PREDICT, FEAST = "Rank", "empty call", "bare fetch", "bare model", "stock Feast"
HOT, COLD, LOGGED = "Rank, hot candidates", "Rank, no cache", "Rank, with serving log"
STAGES = {
    "queue": "in line",
    "decode": "checking the request",
    "fetch": "feature rows, from memory and from Redis",
    "wait": "for other requests' work",
    "assemble": "defaults, transforms, matrix",
    "score": "the model",
    "order": "sorting and cutting",
    "total": "all stages",
}
LARGEST_ERROR = 1e-4
"""Between a score of the server and of the floor's model, which sees the same rows."""


@dataclass(frozen=True)
class Calls:
    """Calls of a server, and what its answers tell."""

    caller: Caller
    at: Any
    slates: Sequence[Slate]
    micros: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cached: list[float] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)

    def __call__(self, number: int) -> None:
        """Rank the slate of a round."""
        slate = self.slates[number % len(self.slates)]
        answer = self.caller.rank(slate.message(self.at))
        if number < 0:
            return
        self.levels.append(answer.level)
        for stage in STAGES:
            self.micros[stage].append(getattr(answer.micros, stage))
        self.cached.append(answer.cached_candidates / len(slate.item_ids))

    @property
    def cached_share(self) -> float:
        """Of candidates whose rows came from memory."""
        return float(np.mean(self.cached))

    @property
    def incomplete_share(self) -> float:
        """Of answers: those are degraded, and may have been quicker to make."""
        return float(np.count_nonzero(self.levels) / len(self.levels))


@contextmanager
def called(
    world: BenchWorld, folder: Path, slates: Sequence[Slate], options: ServeOptions
) -> Iterator[Calls]:
    """A server, and a client of it."""
    with serving(world, folder, options) as server, Caller(server.address) as caller:
        yield Calls(caller, world.at, slates)


def measure_latency(
    world: BenchWorld, plan: Plan, folder: Path, *, log: bool, stock: bool, report: Report
) -> Findings:
    """Next to the floors, and to stock Feast when `stock`. Raises OnlineStoreError where the floors differ."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(called(world, folder, world.draws, ServeOptions(log=log)))
        answer = complete_answer(ours.caller, world.draws[0].message(world.at))
        contenders = [Contender(RANK, ours), *_floors(stack, world, folder, answer)]
        if stock:
            behind = stack.enter_context(stock_server(world, folder, answer.SerializeToString()))
            caller = stack.enter_context(Caller(behind.address))
            message = world.draws[0].message(world.at)
            contenders.append(Contender(FEAST, lambda _: caller.rank(message), plan.stock_every))
        seconds = taken(contenders, plan, plan.rounds, report)
    return _latency(world, ours, seconds) + (_stock(world, seconds) if stock else Findings())


def complete_answer(caller: Caller, message: ranking_pb2.RankRequest) -> ranking_pb2.RankResponse:
    """The first at level 0. Raises OnlineStoreError for a server that gives none."""
    for _ in range(TRIES):
        answer = caller.rank(message)
        if not answer.level:
            return answer
    raise OnlineStoreError(
        f"{TRIES} answers, none of them complete ({answer.reason}); there is nothing to measure"
    )


def taken(
    contenders: Sequence[Contender[int]], plan: Plan, rounds: int, report: Report
) -> dict[str, list[float]]:
    """Seconds by contender, whose task is the number of the round."""
    random = np.random.default_rng(0)
    return interleaved(
        contenders, lambda number: number, rounds=rounds, warm_up=plan.warm_up, random=random, report=report
    )


def _floors(
    stack: contextlib.ExitStack, world: BenchWorld, folder: Path, answer: ranking_pb2.RankResponse
) -> list[Contender[int]]:
    payload = answer.SerializeToString()
    empty = stack.enter_context(floor(world, folder, EMPTY, slates=world.draws, answer=payload))
    caller = stack.enter_context(Caller(empty.address))
    messages = world.case(world.draws).messages()
    link, stored = patient_link(world.redis_url), StoredRows.of(world.contract)
    reads = [BareRead.planned(link, *stored.reads(slate)) for slate in world.draws]
    socket = stack.enter_context(contextlib.closing(BareRedis(Endpoint.of(world.redis_url)).connect()))
    predict, scores = bare_model(world, stored)
    check_scores(world.draws[0], answer, scores)
    return [
        Contender(EMPTY_CALL, lambda number: caller.rank(messages[number % len(messages)])),
        Contender(FETCH, lambda number: socket.fetch(reads[number % len(reads)])),
        Contender(PREDICT, lambda _: predict()),
    ]


def bare_model(world: BenchWorld, stored: StoredRows) -> tuple[Callable[[], Any], Any]:
    """The model on the first slate's rows, one thread; and its scores, float32 [items]."""
    booster = load(world.bundle).booster
    booster.set_param({"nthread": 1})
    matrix = stored.matrix(patient_link(world.redis_url), world.draws[0], world.at)
    return lambda: booster.inplace_predict(matrix), booster.inplace_predict(matrix)


def check_scores(slate: Slate, answer: ranking_pb2.RankResponse, scores: Any) -> None:
    """The floor's model sees what the server's saw. Raises OnlineStoreError where it does not."""
    ours = {item.item_id: item.score for item in answer.items}
    served = np.array([ours[item] for item in slate.item_ids])
    if not np.allclose(served, scores, atol=LARGEST_ERROR):
        worst = float(np.abs(served - scores).max())
        raise OnlineStoreError(
            f"the server's scores differ from the floor's by up to {worst:.3g}; a figure would say nothing"
        )


def millis(measure: str, name: str, what: str, seconds: Sequence[float]) -> Measured:
    """Of seconds."""
    values = [1e3 * value for value in seconds]
    return Measured.of(measure, name, what, unit="ms", values=values, tail=True)


def _latency(world: BenchWorld, ours: Calls, seconds: dict[str, list[float]]) -> Findings:
    what = {
        RANK: f"{world.candidates} candidates over gRPC, as the caller sees it",
        EMPTY_CALL: "the same request and as large an answer, nothing in between",
        FETCH: "the same keys over a bare socket, bytes not looked at",
        PREDICT: "inplace_predict on the same rows, one thread",
    }
    measured = {name: millis(LATENCY, name, text, seconds[name]) for name, text in what.items()}
    stages = [
        millis(LATENCY, f"Rank: {stage}", text, [micros / 1e6 for micros in ours.micros[stage]])
        for stage, text in STAGES.items()
    ]
    sum_of_floors = sum(measured[name].median for name in (EMPTY_CALL, FETCH, PREDICT))
    rank = measured[RANK]
    figures = (
        Figure(LATENCY, "sum of the three floors, ms", sum_of_floors),
        Figure(LATENCY, "median next to the floors", rank.median / sum_of_floors, at_most(1.5)),
        Figure(LATENCY, "p99 next to the floors", (rank.p99 or 0.0) / sum_of_floors, at_most(2.5)),
        Figure(LATENCY, "share of candidates in memory", ours.cached_share),
        Figure(LATENCY, "share of answers that were not complete", ours.incomplete_share),
    )
    floors = [measured[name] for name in (EMPTY_CALL, FETCH, PREDICT)]
    return Findings((rank, *stages, *floors), figures)


def _stock(world: BenchWorld, seconds: dict[str, list[float]]) -> Findings:
    what = f"get_online_features of {world.candidates} candidates, to a matrix, the model; same call"
    stock = millis(STOCK, FEAST, what, seconds[FEAST])
    ratio = stock.median / millis(STOCK, RANK, "", seconds[RANK]).median
    return Findings((stock,), (Figure(STOCK, "times faster at the median", ratio, at_least(60)),))


def measure_cache(world: BenchWorld, plan: Plan, folder: Path, *, report: Report) -> Findings:
    """The same candidates again and again, others each time, and a server that keeps nothing."""
    with (
        called(world, folder, world.draws, ServeOptions()) as warm,
        called(world, folder, world.draws, ServeOptions(cache=False)) as cold,
    ):
        hot = Calls(warm.caller, world.at, world.hot)
        contenders = {RANK: warm, HOT: hot, COLD: cold}
        turns = [Contender(name, calls) for name, calls in contenders.items()]
        seconds = taken(turns, plan, plan.side_rounds, report)
    what = {
        RANK: f"candidates drawn from {world.catalogue:,} items",
        HOT: "the same candidates for every user",
        COLD: "every row from Redis",
    }
    measured = [millis(CACHE, name, text, seconds[name]) for name, text in what.items()]
    shares = [
        Figure(CACHE, f"{name}: share of candidates in memory", calls.cached_share)
        for name, calls in contenders.items()
    ]
    gain = Figure(CACHE, "times faster with cache", measured[2].median / measured[0].median)
    return Findings(tuple(measured), (*shares, gain))


def measure_log(world: BenchWorld, plan: Plan, folder: Path, *, report: Report) -> Findings:
    """Two servers, one of which writes the serving log."""
    with (
        called(world, folder, world.draws, ServeOptions()) as plain,
        called(world, folder, world.draws, ServeOptions(log=True)) as logged,
    ):
        turns = [Contender(RANK, plain), Contender(LOGGED, logged)]
        seconds = taken(turns, plan, plan.side_rounds, report)
    measured = (
        millis(LOG, RANK, "without serving log", seconds[RANK]),
        millis(LOG, LOGGED, "every request is logged", seconds[LOGGED]),
    )
    cost = measured[1].median / measured[0].median
    return Findings(measured, (Figure(LOG, "median next to a server without", cost, at_most(1.03)),))
