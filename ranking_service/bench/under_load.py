"""Many clients: how many requests the machine answers, next to what the floors allow, and how fast below that."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from materialization.bench.figures import Figure, Findings, Measured, at_least, at_most
from materialization.progress import Report
from ranking_service.bench.calls import Caller
from ranking_service.bench.load import CONSTANT, POISSON, Load, LoadResult, case_path, due_times, run_load
from ranking_service.bench.one_client import complete_answer
from ranking_service.bench.processes import Running, ServeOptions, floor, has_workers, serving
from ranking_service.bench.processor import cpu_seconds
from ranking_service.bench.queueing import ideal_latencies
from ranking_service.bench.sizes import OPEN_LOOP, SATURATION, Plan
from ranking_service.bench.slates import PARTS
from ranking_service.bench.world import BenchWorld

OURS, FLOOR = "Rank", "bare parts"
SUM_UP = "requests/s"
OPEN_LOOPS = ((OURS, CONSTANT), (OURS, POISSON), (FLOOR, POISSON))
OVER_UNLOADED = "p99 next to the unloaded median"


@dataclass(frozen=True)
class Turn:
    """One stretch of load on one server."""

    result: LoadResult
    server_cpu_seconds: float
    """Including the warm-up's share."""


@dataclass(frozen=True)
class UnderLoad:
    """Our server and its floor, with equally many processes, and what was measured of them so far."""

    servers: dict[str, Running]
    case: str
    plan: Plan
    report: Report
    turns: dict[tuple[str, int], list[Turn]] = field(default_factory=lambda: defaultdict(list))
    """By server and number of clients."""

    def closed(self, name: str, clients: int) -> LoadResult:
        """One more stretch of closed loops."""
        turn = self._turn(name, Load(self.address(name), self.case, self.plan.load_seconds, clients=clients))
        self.turns[name, clients].append(turn)
        return turn.result

    def open(self, name: str, rate: float, arrivals: str) -> LoadResult:
        """Requests at a rate, whatever becomes of them."""
        load = Load(self.address(name), self.case, self.plan.open_seconds, rate=rate, arrivals=arrivals)
        return self._turn(name, load).result

    def address(self, name: str) -> str:
        return self.servers[name].address

    def saturate(self) -> None:
        """Every number of clients on both servers, in turns."""
        random = np.random.default_rng(0)
        turns = [
            (name, clients)
            for _ in range(self.plan.turns)
            for clients in random.permutation(self.plan.clients).tolist()
            for name in random.permutation(list(self.servers)).tolist()
        ]
        for done, (name, clients) in enumerate(turns):
            self.report("closed loops", done, len(turns))
            self.closed(name, clients)
        self.report("closed loops", len(turns), len(turns))

    def best(self, name: str) -> int:
        """The number of clients with the highest median rate."""
        return max(self.plan.clients, key=lambda clients: float(np.median(self.rates(name, clients))))

    def rates(self, name: str, clients: int) -> list[float]:
        """Complete answers per second, of each turn."""
        return [turn.result.rate for turn in self.turns[name, clients]]

    def capacity(self, name: str) -> float:
        """Complete answers per second, at the best number of clients."""
        return float(np.median(self.rates(name, self.best(name))))

    def _turn(self, name: str, load: Load) -> Turn:
        before = cpu_seconds(self.servers[name].process_ids)
        result = run_load(load)
        used = cpu_seconds(self.servers[name].process_ids) - before
        return Turn(result, used * load.seconds / (load.seconds + load.warm_seconds))


@contextmanager
def under_load(
    world: BenchWorld, plan: Plan, folder: Path, *, log: bool, report: Report
) -> Iterator[UnderLoad]:
    """Both servers ready, with as many processes as the plan says."""
    case = world.case(world.draws).write(case_path(folder, "load"))
    workers = plan.workers if has_workers() else 1
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(serving(world, folder, ServeOptions(workers=workers, log=log)))
        with Caller(ours.address) as caller:
            answer = complete_answer(caller, world.draws[0].message(world.at)).SerializeToString()
        bare = stack.enter_context(
            floor(world, folder, PARTS, slates=world.draws, answer=answer, workers=workers)
        )
        yield UnderLoad({OURS: ours, FLOOR: bare}, str(case), plan, report)


def measure_load(
    world: BenchWorld, plan: Plan, folder: Path, only: Collection[str], *, log: bool, report: Report
) -> Findings:
    """Saturation, and open-loop load at a share of it; the second needs the first."""
    with under_load(world, plan, folder, log=log, report=report) as servers:
        servers.saturate()
        findings = _saturation(servers) if SATURATION in only else Findings()
        return findings + _open_loop(servers) if OPEN_LOOP in only else findings


def _saturation(servers: UnderLoad) -> Findings:
    measured, figures = [], []
    cores = os.cpu_count() or 1
    for name, what in ((OURS, "complete answers"), (FLOOR, "bare fetch and bare model behind the same call")):
        for clients in servers.plan.clients:
            rates = servers.rates(name, clients)
            measured.append(
                Measured.of(SATURATION, f"{name}, {clients} clients", what, unit=SUM_UP, values=rates)
            )
        figures += _costs(servers, name)
    capacity, floors = servers.capacity(OURS), servers.capacity(FLOOR)
    figures += [
        Figure(SATURATION, "requests/s", capacity),
        Figure(SATURATION, "requests/s per core", capacity / cores),
        Figure(SATURATION, "requests/s that the floors allow", floors),
        Figure(SATURATION, "share of what the floors allow", capacity / floors, at_least(0.7)),
    ]
    return Findings(tuple(measured), tuple(figures), _notes(servers))


def _costs(servers: UnderLoad, name: str) -> list[Figure]:
    """Processor time of an answer at the best number of clients; Redis' is what is missing to the whole."""
    turns = servers.turns[name, servers.best(name)]
    answers = max(sum(turn.result.complete for turn in turns), 1)
    of_server = 1e3 * sum(turn.server_cpu_seconds for turn in turns) / answers
    of_client = 1e3 * sum(turn.result.client_cpu_seconds for turn in turns) / answers
    return [
        Figure(SATURATION, f"{name}: processor ms of the server per answer", of_server),
        Figure(SATURATION, f"{name}: processor ms of the load generator per answer", of_client),
    ]


def _notes(servers: UnderLoad) -> tuple[str, ...]:
    notes = []
    if not has_workers() and servers.plan.workers > 1:
        notes.append("`marquee serve` has no --workers: server and floor ran in one process each")
    for (name, clients), turns in servers.turns.items():
        lost = sum(sum(turn.result.failed.values()) + turn.result.degraded for turn in turns)
        if lost:
            notes.append(
                f"{name}, {clients} clients: {lost} answers failed or were degraded; they do not count"
            )
    return tuple(notes)


def _open_loop(servers: UnderLoad) -> Findings:
    share = servers.plan.open_share
    unloaded = {name: servers.closed(name, 1).percentile(50) for name in servers.servers}
    measured, ratios = [], {}
    figures = [Figure(OPEN_LOOP, "unloaded median, ms", unloaded[OURS])]
    for done, (name, arrivals) in enumerate(OPEN_LOOPS):
        servers.report("open loops", done, len(OPEN_LOOPS))
        rate = share * servers.capacity(name)
        result = servers.open(name, rate, arrivals)
        measured.append(
            _latencies(f"{name}, {arrivals}", f"{rate:.0f} requests/s, {share:.0%} of capacity", result)
        )
        ratios[name, arrivals] = result.percentile(99) / unloaded[name]
        bar = at_most(3) if name == OURS else None
        figures.append(
            Figure(OPEN_LOOP, f"{name}, {arrivals} arrivals: {OVER_UNLOADED}", ratios[name, arrivals], bar)
        )
        if name == OURS:
            figures.append(_ideal(servers.plan, rate, arrivals, unloaded[OURS]))
            figures += _losses(f"{name}, {arrivals} arrivals", result)
    servers.report("open loops", len(OPEN_LOOPS), len(OPEN_LOOPS))
    next_to_floor = ratios[OURS, POISSON] / ratios[FLOOR, POISSON]
    figures.append(
        Figure(
            OPEN_LOOP,
            f"{OURS}, {POISSON} arrivals: the same next to the bare parts'",
            next_to_floor,
            at_most(1),
        )
    )
    return Findings(tuple(measured), tuple(figures))


def _ideal(plan: Plan, rate: float, arrivals: str, unloaded: float) -> Figure:
    """What the same arrivals cost where nothing takes time but the work: no server can be held to less."""
    due = due_times(rate, plan.open_seconds, arrivals, seed=0)
    p99 = 1e3 * float(np.percentile(ideal_latencies(due, unloaded / 1e3, plan.workers), 99))
    return Figure(OPEN_LOOP, f"one ideal queue, {arrivals} arrivals: {OVER_UNLOADED}", p99 / unloaded)


def _latencies(name: str, what: str, result: LoadResult) -> Measured:
    """From the instant each request was due; a call without an answer took for ever."""
    values = (result.percentile(share) for share in (50, 99, 99.9))
    median, p99, p999 = values
    return Measured(OPEN_LOOP, name, what, "ms", median, result.sent, p99, p999)


def _losses(title: str, result: LoadResult) -> list[Figure]:
    """What must not happen below capacity, and how punctual the generator was."""
    lost = (result.sent - result.complete) / max(result.sent, 1)
    late = float(np.percentile(result.lateness_ms, 99)) if result.lateness_ms else 0.0
    return [
        Figure(OPEN_LOOP, f"{title}: share failed or degraded", lost, at_most(0)),
        Figure(OPEN_LOOP, f"{title}: p99 of how late the generator was, ms", late),
    ]
