"""What a scenario is: a load, something that goes wrong at a given second, and what must hold all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .outcome import Outcome

if TYPE_CHECKING:
    from .stage import Stage

Action = Callable[["Stage"], None]


class NotPossibleHere(Exception):
    """This machine lacks what the scenario needs; says what."""


@dataclass(frozen=True)
class Step:
    """Something done to the stage at a second of the load."""

    second: float
    action: Action


@dataclass(frozen=True)
class Goals:
    """None is no goal. Always: no wrong answer, no crash, no error without a status of its own."""

    availability: float | None = 0.999
    recovery_seconds: float | None = 2.0
    goodput_share: float | None = None
    whole_share: float | None = None
    """Of goodput that is at level 0."""

    def missed(self, outcome: Outcome) -> list[str]:
        """What was not reached, in words; empty is a pass."""
        found = [f"{outcome.wrong_count} wrong answers"] if outcome.wrong_count else []
        found += outcome.crashes
        found += [f"a client saw {leak}" for leak in outcome.leaks]
        if not outcome.requests:
            return [*found, "no request was sent"]
        if self.availability is not None and outcome.availability < self.availability:
            found.append(f"availability {outcome.availability:.2%} < {self.availability:.1%}")
        if self.goodput_share is not None and outcome.goodput_share < self.goodput_share:
            found.append(f"goodput {outcome.goodput_share:.0%} < {self.goodput_share:.0%} of capacity")
        if self.whole_share is not None and outcome.whole_share < self.whole_share:
            found.append(f"whole answers {outcome.whole_share:.0%} < {self.whole_share:.0%} of capacity")
        if self.recovery_seconds is not None:
            if outcome.recovery_seconds is None:
                found.append("never recovered")
            elif outcome.recovery_seconds > self.recovery_seconds:
                found.append(f"recovery {outcome.recovery_seconds:.1f} s > {self.recovery_seconds:g} s")
        return found


@dataclass(frozen=True)
class Surge:
    """For some seconds the load is a multiple of the capacity."""

    begins: float
    seconds: float
    share: float


@dataclass(frozen=True)
class Scenario:
    """One fault."""

    name: str
    what: str
    """For the table: one line."""
    seconds: float
    """Of load."""
    steps: tuple[Step, ...] = ()
    fault_ends: int = -1
    """The step whose end is the fault's end; recovery counts from there."""
    goals: Goals = field(default_factory=Goals)
    rate: float = 0.0
    """Calls per second instead of 60 % of capacity."""
    surge: Surge | None = None
    """The fault, where it is load."""
    workers: int = 1
    deadlines: tuple[float, ...] = (0.1,)
    time_offsets: tuple[float | None, ...] = (None,)
    cancel_share: float = 0.0
    retries: int = 0
    is_cluster: bool = False
    log_on_small_disk: bool = False
    with_own_clock: bool = False
