"""Redis itself fails: killed, emptied, stalled, full; and its rows change under load."""

from __future__ import annotations

from .scenario import Goals, Scenario, Step
from .stage import Stage

CLIENTS_LEFT = 2
"""Connections that `maxclients` still allows: our own and one for the server."""


def stall(seconds: float) -> Scenario:
    """SIGSTOP: connections stay open and nothing comes."""
    return Scenario(
        name="redis-stalled",
        what=f"SIGSTOP for {seconds:g} s",
        seconds=seconds + 9,
        steps=(
            Step(3, lambda stage: stage.redis.stall()),
            Step(3 + seconds, lambda stage: stage.redis.go_on()),
        ),
    )


def killed(down_seconds: float) -> Scenario:
    """SIGKILL, then the same rows on the same port."""
    return Scenario(
        name="redis-killed",
        what=f"SIGKILL, back after {down_seconds:g} s with the same rows",
        seconds=down_seconds + 9,
        steps=(
            Step(1, lambda stage: stage.redis.save()),
            Step(3, lambda stage: stage.redis.kill()),
            Step(3 + down_seconds, lambda stage: stage.redis.start()),
        ),
    )


def _full(stage: Stage) -> None:
    stage.redis.limit_clients(CLIENTS_LEFT)


def _room_again(stage: Stage) -> None:
    stage.redis.admin().config_set("maxclients", 1_000)


def _updates(stage: Stage) -> None:
    for version in range(1, 11):
        stage.update_items(version)


NO_FAULT = Scenario(
    name="no-fault",
    what="nothing: what the machine and the load give by themselves",
    seconds=10,
    goals=Goals(recovery_seconds=None),
)
EMPTY = Scenario(
    name="redis-empty",
    what="SIGKILL, back after 2 s empty, rows written again 4 s later",
    seconds=18,
    steps=(
        Step(3, lambda stage: stage.redis.kill()),
        Step(5, lambda stage: stage.start_redis_empty()),
        Step(9, lambda stage: stage.fill()),
    ),
    fault_ends=1,
    goals=Goals(recovery_seconds=5.0),
)
FULL = Scenario(
    name="redis-maxclients",
    what=f"for 6 s maxclients is {CLIENTS_LEFT} and all connections are closed",
    seconds=16,
    steps=(Step(3, _full), Step(9, _room_again)),
)
UPDATED = Scenario(
    name="rows-updated",
    what="a third of the items materialized anew, ten times in 8 s; an older row may be shown for 2 s",
    seconds=15,
    steps=tuple(
        Step(3 + 0.8 * version, lambda stage, version=version: stage.update_items(version + 1))
        for version in range(10)
    ),
    goals=Goals(recovery_seconds=None),
)

SCENARIOS = (NO_FAULT, killed(5), EMPTY, stall(30), FULL, UPDATED)
