"""Runs scenarios: stages them, drives the load and the fault, checks every answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .canary import CanaryWorld
from .checker import Checker
from .load import Load, Plan, capacity
from .outcome import Outcome, Window, measure
from .scenario import NotPossibleHere, Scenario
from .stage import Stage, staged

LOAD_SHARE = 0.6
"""Of capacity."""
LEAST_CAPACITY = 30.0
"""Calls per second."""
WARM_UP_SECONDS, CAPACITY_SECONDS, CAPACITY_AFTER_SECONDS, CALLERS = 0.5, 4.0, 2.0, 8
SLOWED_SHARE = 0.85
"""Of the capacity before the load: with less after it, the load was more of it than was meant."""


@dataclass(frozen=True)
class Result:
    """What became of one scenario."""

    scenario: Scenario
    outcome: Outcome | None
    missed: list[str]
    """Goals not reached; why it did not run, where there is no outcome."""
    notes: list[str] = field(default_factory=list)

    @property
    def is_passed(self) -> bool:
        return not self.missed

    def to_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "what": self.scenario.what,
            "passed": self.is_passed,
            "missed": self.missed,
            "notes": self.notes,
            **(self.outcome.to_json() if self.outcome else {}),
        }


@dataclass(frozen=True)
class Lab:
    """One world and one bundle for all scenarios."""

    world: CanaryWorld
    bundle: Path
    folder: Path
    candidates: int = 500
    rate: float = 0.0
    """Calls per second instead of 60 % of capacity; 0 measures."""

    @classmethod
    def open(
        cls, folder: Path, world: CanaryWorld | None = None, *, candidates: int = 500, rate: float = 0.0
    ) -> Lab:
        """Trains and publishes the world's model."""
        world = world or CanaryWorld()
        return cls(world, world.publish(folder / "models"), folder, candidates, rate)

    def run(self, scenario: Scenario) -> Result:
        """Never raises for what the server does."""
        try:
            with staged(self.world, self.bundle, scenario, self.folder / scenario.name) as stage:
                outcome = self._observe(scenario, stage)
        except NotPossibleHere as reason:
            return Result(scenario, None, [], [f"not run: {reason}"])
        except RuntimeError as error:
            return Result(scenario, None, [str(error)])
        return Result(scenario, outcome, scenario.goals.missed(outcome), stage.notes)

    def _observe(self, scenario: Scenario, stage: Stage) -> Outcome:
        server = stage.server
        fixed_rate = scenario.rate or self.rate
        most = self._capacity(server.address, fixed_rate)
        load = Load.start(self.world, server.address, self._plan(scenario, most))
        stage.notes.append(f"ready after {server.ready_seconds:.1f} s")
        load.wait_until(0)
        server.watch()
        window = _perform(scenario, stage, load)
        calls = load.finish()
        most_after = most if fixed_rate else self._found_capacity(server.address, CAPACITY_AFTER_SECONDS)
        if most_after < SLOWED_SHARE * most:
            stage.notes.append(
                f"capacity was {most:.0f} whole answers a second before the load, {most_after:.0f} after it"
            )
        crashes = server.crashes()
        server.stop()
        complaints = Checker(self.world, stage.timeline).complaints(calls)
        outcome = measure(calls, complaints=complaints, crashes=crashes, window=window, capacity=most)
        return replace(outcome, capacity_after=most_after)

    def _capacity(self, address: str, rate: float) -> float:
        """Never so little that the load would be nothing."""
        if rate:
            return rate / LOAD_SHARE
        self._found_capacity(address, WARM_UP_SECONDS)
        return max(self._found_capacity(address, CAPACITY_SECONDS), LEAST_CAPACITY)

    def _found_capacity(self, address: str, seconds: float) -> float:
        return capacity(self.world, address, candidates=self.candidates, seconds=seconds, callers=CALLERS)

    def _plan(self, scenario: Scenario, most: float) -> Plan:
        usual, surge = most * LOAD_SHARE, scenario.surge
        rates: tuple[tuple[float, float], ...] = ((scenario.seconds, usual),)
        if surge is not None:
            after = scenario.seconds - surge.begins - surge.seconds
            rates = ((surge.begins, usual), (surge.seconds, most * surge.share), (after, usual))
        return Plan(
            rates,
            candidates=self.candidates,
            deadlines=scenario.deadlines,
            time_offsets=scenario.time_offsets,
            cancel_share=scenario.cancel_share,
            retries=scenario.retries,
        )


def _perform(scenario: Scenario, stage: Stage, load: Load) -> Window:
    """Do the steps at their seconds; when the fault began and ended."""
    if scenario.surge is not None:
        began = load.begin + scenario.surge.begins
        return Window(began, began + scenario.surge.seconds)
    if not scenario.steps:
        return Window(load.begin, load.begin)
    times: list[tuple[float, float]] = []
    for step in scenario.steps:
        load.wait_until(step.second)
        began = time.monotonic()
        step.action(stage)
        times.append((began, time.monotonic()))
    return Window(times[0][0], times[scenario.fault_ends][1])
