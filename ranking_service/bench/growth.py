"""What one more candidate, feature and view cost: requests of several sizes take turns."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from materialization.bench.figures import Figure, Findings, at_least, at_most
from materialization.bench.interleaved import Contender
from materialization.private_redis import private_redis
from materialization.progress import Report
from ranking_service.bench.line import Line
from ranking_service.bench.one_client import Calls, called, millis, taken
from ranking_service.bench.processes import ServeOptions
from ranking_service.bench.sizes import GROWTH, Plan
from ranking_service.bench.slates import cut
from ranking_service.bench.world import BenchWorld, Size, floats_world

SHARES = (0.3, 0.4, 0.3)
"""Of a request's features: the user's, the items', the pairs'."""
FARTHEST = 0.15
"""A median may lie so far from the line. R squared alone would fail a cost that hardly grows."""
GROWN_CATALOGUE, GROWN_USERS = 4_000, 10


@dataclass(frozen=True)
class Place:
    """Where worlds are made."""

    folder: Path
    redis_url: str

    def world(self, size: Size, name: str) -> tuple[BenchWorld, Path]:
        """And a folder for the server that will run on it."""
        folder = self.folder / name
        folder.mkdir()
        return floats_world(folder, self.redis_url, size, project=name), folder


def measure_growth(plan: Plan, folder: Path, *, report: Report) -> Findings:
    """On made-up floats in a Redis of their own, each size in a world of its own."""
    with private_redis() as redis:
        place = Place(folder, redis.url)
        featured = {count: _featured(plan, count) for count in plan.features}
        viewed = {count: _viewed(plan, count) for count in plan.views}
        return (
            _candidates(plan, place, report)
            + _worlds("feature", featured, plan, place, report)
            + _worlds("view", viewed, plan, place, report)
        )


def _candidates(plan: Plan, place: Place, report: Report) -> Findings:
    most = max(plan.candidates)
    size = replace(_small(plan), candidates=most, catalogue=max(plan.size.catalogue, most))
    world, folder = place.world(size, "candidates")
    with called(world, folder, world.draws, ServeOptions()) as calls:
        turns = {count: Calls(calls.caller, world.at, cut(world.draws, count)) for count in plan.candidates}
        found = _grown("candidate", turns, plan, report)
    share = 1 - turns[most].incomplete_share
    works = Figure(GROWTH, f"{most:,} candidates: share answered completely", share, at_least(0.99))
    return found + Findings(figures=(works,))


def _worlds(unit: str, sizes: dict[int, Size], plan: Plan, place: Place, report: Report) -> Findings:
    """A server for each size, all of them running."""
    with contextlib.ExitStack() as stack:
        turns = {}
        for done, (count, size) in enumerate(sizes.items()):
            report(f"servers with other {unit}s", done, len(sizes))
            world, folder = place.world(size, f"{unit}s-{count}")
            turns[count] = stack.enter_context(called(world, folder, world.draws, ServeOptions()))
        report(f"servers with other {unit}s", len(sizes), len(sizes))
        return _grown(unit, turns, plan, report)


def _grown(unit: str, turns: dict[int, Calls], plan: Plan, report: Report) -> Findings:
    contenders = [Contender(str(count), calls) for count, calls in turns.items()]
    seconds = taken(
        contenders, plan, plan.side_rounds, lambda _, done, total: report(f"{unit}s", done, total)
    )
    measured = [millis(GROWTH, f"{count} {unit}s", "one client", seconds[str(count)]) for count in turns]
    line = Line.through(list(turns), [one.median for one in measured])
    figures = (
        Figure(GROWTH, f"one more {unit}, microseconds", 1e3 * line.slope),
        Figure(GROWTH, f"{unit}s: R squared of the line", line.r_squared),
        Figure(GROWTH, f"{unit}s: farthest from the line", line.departure, at_most(FARTHEST)),
    )
    return Findings(tuple(measured), figures)


def _featured(plan: Plan, count: int) -> Size:
    user, item, pair = _spread(count)
    return replace(_small(plan), user_features=user, item_features=item, pair_features=pair)


def _viewed(plan: Plan, count: int) -> Size:
    """As many features in more views."""
    return replace(_featured(plan, plan.grown_features), views=count // 3)


def _small(plan: Plan) -> Size:
    catalogue = min(plan.size.catalogue, GROWN_CATALOGUE)
    return replace(plan.size, catalogue=catalogue, users=GROWN_USERS, hot_users=1)


def _spread(count: int) -> Sequence[int]:
    edges = np.rint(np.cumsum((0, *SHARES)) * count).astype(int)
    return [int(width) for width in np.diff(edges)]
