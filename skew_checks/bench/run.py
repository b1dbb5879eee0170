"""Runs nights: injects, serves, checks, judges."""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from skew_checks.bench.catalogue import DEFECTS
from skew_checks.bench.controls import CONTROLS
from skew_checks.bench.defect import Control, Defect
from skew_checks.bench.elsewhere import elsewhere
from skew_checks.bench.judged import A_A, Judged, judged, judged_control, untouched
from skew_checks.bench.night import Night, night
from skew_checks.bench.world import World
from skew_checks.check import check
from skew_checks.extras import Extras
from skew_checks.result.parts import Window
from skew_checks.result.report import SkewReport
from skew_checks.thresholds import Thresholds

SHARES = (0.001, 0.01, 0.05, 0.2, 1.0)
WHOLE = Extras(effect=False)
"""Whatever may fail."""
COMPARED = Extras(effect=False, drift=False)
"""A seeded defect must be found in the values; drift beside it would be a consequence."""
DAY, MORNING = timedelta(days=1), timedelta(hours=3)
Step = Callable[[str], None]
Look = Callable[[str, Night], None]
"""Called with a night's name once it is served and before it is put back: for other tools on the same data."""


def nothing(_name: str, _night: Night) -> None:
    """Looks at nothing."""


@dataclass(frozen=True)
class Plan:
    """What is run."""

    defects: tuple[Defect, ...] = DEFECTS
    controls: tuple[Control, ...] = CONTROLS
    shares: tuple[float, ...] = SHARES
    nights: int = 100
    """A/A nights."""
    drawn: int = 0
    """So many drawn places of every defect that has a place, in the stead of its own; 0 is its own."""


def run(
    world: World, folder: Path, plan: Plan, *, step: Step = lambda _sentence: None, look: Look = nothing
) -> Iterator[Judged]:
    """Every night of the plan, one after the other, each as soon as it is judged."""
    yield from (
        _elsewhere(world, folder, plan, step) if plan.drawn else _usual(world, folder, plan, step, look)
    )
    for control in plan.controls:
        if control.name != A_A and not (control.needs_weekend and not world.weekend):
            step(f"control {control.name}")
            yield run_control(world, folder, control, look=look)
    for number in range(plan.nights):
        step(f"A/A night {number + 1} of {plan.nights}")
        yield run_a_a(world, folder, number, look=look)


def _usual(world: World, folder: Path, plan: Plan, step: Step, look: Look) -> Iterator[Judged]:
    for defect in plan.defects:
        for share in plan.shares if defect.has_share else (1.0,):
            step(f"{defect.name} at {share:.1%}")
            yield run_defect(world, folder, defect, share, look=look)


def _elsewhere(world: World, folder: Path, plan: Plan, step: Step) -> Iterator[Judged]:
    """Each defect in the first so many of its drawn places in which it changes anything."""
    for defect in plan.defects:
        left = plan.drawn
        for drawn in elsewhere(defect, world.bundle.contract):
            if not left:
                break
            for share in plan.shares:
                step(f"{drawn.name} at {share:.1%}")
                found = run_defect(world, folder, drawn, share)
                if not found.touched.units:
                    break
                yield found
            else:
                left -= 1


def run_defect(world: World, folder: Path, defect: Defect, share: float, *, look: Look = nothing) -> Judged:
    """One night with the defect in that share of rows; not served at all where it would change nothing."""
    with fresh(world, folder, seed=seed_of(defect.name, share)) as tonight:
        touched = defect.inject(tonight, share)
        if not touched.units:
            return untouched(defect, share, touched)
        tonight.serve()
        look(f"{defect.name}@{share:g}", tonight)
        report, seconds = timed_check(tonight, COMPARED)
        return judged(defect, share, touched, report, seconds)


def run_control(world: World, folder: Path, control: Control, *, look: Look = nothing) -> Judged:
    """One night that is as it should be."""
    with fresh(world, folder, seed=seed_of(control.name, 1)) as tonight:
        control.arrange(tonight)
        tonight.serve()
        look(control.name, tonight)
        return judged_control(_in(world, control), *timed_check(tonight))


def run_a_a(world: World, folder: Path, number: int, *, look: Look = nothing) -> Judged:
    """The same population once more; every number is another night."""
    control = next(control for control in CONTROLS if control.name == A_A)
    with fresh(world, folder, seed=1000 + number) as tonight:
        control.arrange(tonight)
        tonight.serve()
        look(f"{A_A}-{number}", tonight)
        return judged_control(_in(world, control), *timed_check(tonight))


def _in(world: World, control: Control) -> Control:
    """A population that changes by itself may be told to."""
    return replace(control, may_drift=control.may_drift or world.may_drift)


@contextmanager
def fresh(world: World, folder: Path, *, seed: int) -> Iterator[Night]:
    """A night whose folder is gone afterwards."""
    place = folder / f"night-{seed}"
    shutil.rmtree(place, ignore_errors=True)
    try:
        with night(world, place, seed=seed) as made:
            yield made
    finally:
        shutil.rmtree(place, ignore_errors=True)


def timed_check(tonight: Night, extras: Extras = WHOLE) -> tuple[SkewReport, float]:
    """The night's report, as of the next morning, and the seconds it took."""
    began = time.perf_counter()
    thresholds = Thresholds(min_requests=1)
    now = tonight.world.day + DAY + MORNING
    report = check(tonight.workspace, Window(), thresholds=thresholds, extras=extras, now=now)
    return report, time.perf_counter() - began


def seed_of(name: str, share: float) -> int:
    """The same for the same injection."""
    return zlib.crc32(f"{name}{share}".encode()) % 1_000_000


def chosen(names: Sequence[str] | None, plan: Plan) -> Plan:
    """The plan's defects and controls of these names; all when None."""
    if names is None:
        return plan
    return replace(
        plan,
        defects=tuple(defect for defect in plan.defects if defect.name in names),
        controls=tuple(control for control in plan.controls if control.name in names),
        nights=plan.nights if A_A in names else 0,
    )
