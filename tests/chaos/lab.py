"""Runs scenarios: stages them, drives the load and the fault, checks every answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
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
WARM_UP_SECONDS, CAPACITY_SECONDS, CALLERS = 0.5, 4.0, 8


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
        most = self._capacity(server.address, scenario.rate or self.rate)
        load = Load.start(self.world, server.address, self._plan(scenario, most))
        stage.notes.append(f"ready after {server.ready_seconds:.1f} s")
        load.wait_until(0)
        server.watch()
        window = _perform(scenario, stage, load)
        calls = load.finish()
        crashes = server.crashes()
        server.stop()
        complaints = Checker(self.world, stage.timeline).complaints(calls)
        return measure(calls, complaints=complaints, crashes=crashes, window=window, capacity=most)

    def _capacity(self, address: str, rate: float) -> float:
        """Never so little that the load would be nothing."""
        if rate:
            return rate / LOAD_SHARE
        for seconds in (WARM_UP_SECONDS, CAPACITY_SECONDS):
            found = capacity(
                self.world, address, candidates=self.candidates, seconds=seconds, callers=CALLERS
            )
        return max(found, LEAST_CAPACITY)

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
