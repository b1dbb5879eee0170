"""One night: what is served, by whom, from which rows; changed by a defect, served, checked, and put back."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from feature_repo.errors import FeatureError
from feature_repo.workspace import Workspace
from ranking_service.contract import ViewPlan
from ranking_service.online.request import RankRequest
from skew_checks.bench.arrivals import LATENCY_SECONDS, Arrival
from skew_checks.bench.partitions import Partitions
from skew_checks.bench.redis_rows import RedisRows
from skew_checks.bench.serving import Place, Server, serve
from skew_checks.bench.world import World

REPLICAS = 3
LAG = timedelta(minutes=5)
"""From a run's instant to its rows in Redis."""
LINKED = ("events", "features", "models", "registry.db")

Entity = tuple[str, ...]


@dataclass
class Night:
    """Injections change `arrivals`, `servers`, `rows`, `partitions`, or what happens `after` serving."""

    world: World
    workspace: Workspace
    """The world's features, models and registry, and a serving log of its own."""
    rows: RedisRows
    partitions: Partitions
    random: np.random.Generator
    arrivals: list[Arrival]
    servers: list[Server]
    """The first is the healthy one."""
    sample: float = 1.0
    after: list[Callable[[], None]] = field(default_factory=list)
    """What happens to the log once it is written."""

    def serve(self) -> int:
        """How many requests the log took. Raises FeatureError where it dropped any."""
        place = Place(self.world.database, self.workspace.serving_log, self.sample)
        written = serve(self.arrivals, self.servers, place)
        if self.sample == 1.0 and written != len(self.arrivals):
            raise FeatureError(
                f"the log took {written} of {len(self.arrivals)} requests; run it on a quieter machine"
            )
        for step in self.after:
            step()
        return written

    def view(self, name: str) -> ViewPlan:
        return self.world.bundle.contract.view(name)

    def entities(self, view: ViewPlan, *, late_by: timedelta = timedelta(0)) -> dict[int, dict[Entity, int]]:
        """Requests that read each entity's row, by step; only those at least `late_by` after the row's event time."""
        found: dict[int, dict[Entity, int]] = defaultdict(lambda: defaultdict(int))
        for arrival in self.arrivals:
            due = built_at(view, self.world.instants[arrival.step]) + late_by
            if late_by and arrival.request.request_timestamp < due.timestamp():
                continue
            for entity in entities_of(arrival.request, view):
                found[arrival.step][entity] += 1
        return found

    def some(self, share: float, among: Sequence[int] | None = None) -> list[int]:
        """Numbers of arrivals, that share of all (at least one), chosen from `among`."""
        pool = range(len(self.arrivals)) if among is None else among
        count = min(len(pool), max(1, round(share * len(self.arrivals))))
        return sorted(self.random.choice(np.asarray(pool), count, replace=False).tolist())

    def served_by(self, server: Server, chosen: Iterable[int]) -> None:
        """Let another build of the server answer these arrivals, in the same process as before."""
        self.servers.append(server)
        for number in chosen:
            self.arrivals[number] = replace(self.arrivals[number], server=len(self.servers) - 1)

    def read_after(self, lag: timedelta) -> None:
        """Let every run's rows be in Redis so long after its instant."""
        self.arrivals = [
            replace(arrival, step=step_at(self.world, arrival.request.request_timestamp, lag))
            for arrival in self.arrivals
        ]

    def ask(self, requests: Sequence[RankRequest]) -> None:
        """Let these be the night's requests."""
        self.arrivals = arrivals_of(self.world, requests)


def entities_of(request: RankRequest, view: ViewPlan) -> list[Entity]:
    """Entities of the view that a request reads, in the order of its join keys."""
    if view.join_keys == ("user_id",):
        return [(request.user_id,)]
    known = {"user_id": request.user_id}
    return [tuple(known.get(key, item) for key in view.join_keys) for item in request.candidate_ids]


def built_at(view: ViewPlan, instant: datetime) -> datetime:
    """The view's newest snapshot at that run: of users and pairs the day's first, of items its own."""
    if "user_id" in view.join_keys:
        return instant.replace(hour=0)
    return instant


def step_at(world: World, at: float, lag: timedelta) -> int:
    """The last run whose rows are in Redis by then."""
    ready = [(instant + lag).timestamp() for instant in world.instants]
    return max(0, bisect_right(ready, at) - 1)


def arrivals_of(world: World, requests: Sequence[RankRequest]) -> list[Arrival]:
    """On the replicas in turn, each reading what the last run left."""
    return [
        Arrival(
            request,
            request.request_timestamp + LATENCY_SECONDS,
            replica=number % REPLICAS,
            step=step_at(world, request.request_timestamp, LAG),
        )
        for number, request in enumerate(requests)
    ]


@contextmanager
def night(
    world: World, folder: Path, *, requests: Sequence[RankRequest] | None = None, seed: int = 0
) -> Iterator[Night]:
    """A healthy night in `folder`; the world is as it was when the block ends."""
    folder.mkdir(parents=True)
    for name in LINKED:
        (folder / name).symlink_to(world.workspace.home / name)
    rows, partitions = RedisRows(world), Partitions(world)
    healthy = Server(world.bundle, world.bundle.contract)
    asked = world.requests if requests is None else requests
    made = Night(
        world,
        Workspace(folder),
        rows,
        partitions,
        np.random.default_rng(seed),
        arrivals_of(world, asked),
        [healthy],
    )
    try:
        yield made
    finally:
        rows.restore()
        rows.close()
        partitions.restore()
