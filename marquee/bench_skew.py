"""`marquee bench skew`: seeded defects and silent controls, by the skew check and by other tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marquee.bench_figures import Measures, judge, show
from marquee.bench_skew_tables import nights_table, others_table, speeds_table

if TYPE_CHECKING:
    from skew_checks.bench.judged import Judged
    from skew_checks.bench.result import SkewBench
    from skew_checks.bench.run import Plan, Step
    from skew_checks.bench.world import World

NIGHTS, QUICK_NIGHTS = 100, 3
QUICK_SHARES = (0.05, 1.0)
OTHER_SHARES, QUICK_OTHERS = (0.01, 0.2, 1.0), (1.0,)


def _known() -> tuple[str, ...]:
    from skew_checks.bench.catalogue import NAMES

    return NAMES


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers, separated by commas."""

    name = "number,..."

    def convert(
        self, value: str | tuple[float, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Raises a usage error for anything else, and for none."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in value.split(",") if part.strip())
        except ValueError:
            numbers = ()
        if not numbers or min(numbers) <= 0:
            self.fail(f"{value!r}: give numbers above 0, separated by commas", param, ctx)
        return numbers


@click.command(
    short_help="Seeded defects and silent controls: what the skew check finds, and what others do."
)
@click.option("--only", type=Measures(_known), help="Names of defects and controls; a-a is the plain nights.")
@click.option("--shares", type=Numbers(), help="Of rows.  [default: 0.001,0.01,0.05,0.2,1]")
@click.option("--nights", type=click.IntRange(0), help=f"A/A nights.  [default: {NIGHTS}]")
@click.option(
    "--others/--no-others", default=True, show_default=True, help="Ask other tools about the nights."
)
@click.option(
    "--evidently",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Python that has Evidently; without one, Evidently is not asked.",
)
@click.option("--speed", type=Numbers(), help="Instead: the job on so many rows, such as 100e3,300e3,1e6.")
@click.option("--own", is_flag=True, help="On the workspace's own events in place of simulated ones.")
@click.option(
    "--drawn",
    type=click.IntRange(0),
    default=0,
    help="Seed each defect in so many other views and features, drawn, in the stead of its usual place.",
)
@click.option(
    "--quick", is_flag=True, help="Two shares, three nights, and a small simulated world: a first look."
)
@click.option("--gate", is_flag=True, help="Exit code 1 when a figure does not reach its bar.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write every night to this file."
)
def bench_skew(
    only: tuple[str, ...] | None,
    shares: tuple[float, ...] | None,
    nights: int | None,
    others: bool,
    evidently: Path | None,
    speed: tuple[float, ...] | None,
    own: bool,
    drawn: int,
    quick: bool,
    gate: bool,
    json_path: Path | None,
) -> None:
    """What `marquee skew check` finds of defects that are seeded where they would arise, and what it cries wolf at.

    Simulates a service, trains, materializes every six hours into a Redis of its own, and serves a day of requests
    again and again in process, through the real reader, ranker and log: each time with one defect in a share of the
    rows (in Redis, the partitions, the server, the requests, the log), or with something that only looks unusual.

    \b
    found       a fail on the right view, by share of rows
    precision   fails that are right, of all fails
    causes      the right cause in first place
    views       the first fail is on a right view
    silence     controls and A/A nights that fail

    --own does the same with the workspace's events, built aside: what would be found in your service, with your data?
    --drawn 3 leaves the places that rules were written with: each defect comes up in three others. Other tools are not
    asked then.

    Other tools are asked about the same nights: TFDV's documented statistics, and Evidently itself. The whole takes
    the better part of an hour; parts of it (--only) can run side by side. docs/skew-bench.md lists what is seeded.
    """
    from marquee.terminal import console

    if speed and (own or drawn):
        raise click.UsageError("--speed makes its own requests: leave out --own and --drawn")
    plan = replace(_plan(only, shares, nights, quick), drawn=drawn)
    if drawn and not _has_places(plan):
        raise click.UsageError(
            "none of these defects has another place to draw: name others, or leave out --drawn"
        )
    asks = others and not drawn
    nights_of = partial(_nights, plan, asks, evidently, own=own, quick=quick, json_path=json_path)
    result = _speed(speed) if speed else nights_of()
    if result.nights:
        console.print(nights_table(result.nights))
    if result.others:
        console.print(others_table(result.nights, result.others))
    show(result.findings, result.setting, quick=quick)
    if json_path is not None:
        _write(result, json_path)
        console.print(f"nights in {json_path}")
    if gate:
        judge(result.findings)


def _write(result: SkewBench, path: Path) -> None:
    import json

    path.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")


def _has_places(plan: Plan) -> bool:
    from skew_checks.bench.elsewhere import PLACES

    return any(defect.name in PLACES for defect in plan.defects)


def _plan(
    only: tuple[str, ...] | None, shares: tuple[float, ...] | None, nights: int | None, quick: bool
) -> Plan:
    from skew_checks.bench.run import SHARES, Plan, chosen

    count = nights if nights is not None else QUICK_NIGHTS if quick else NIGHTS
    everything = Plan(shares=shares or (QUICK_SHARES if quick else SHARES), nights=count)
    return chosen(only, everything)


def _nights(
    plan: Plan, others: bool, evidently: Path | None, *, own: bool, quick: bool, json_path: Path | None
) -> SkewBench:
    """The file has every night as soon as it is judged."""
    import tempfile

    from marquee.terminal import console
    from materialization.bench.run import machine
    from materialization.progress import spoken
    from skew_checks.bench.result import SkewBench
    from skew_checks.bench.whole import measure

    shares = (QUICK_OTHERS if quick else OTHER_SHARES) if others else ()
    with (
        tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder,
        spoken(console) as step,
        _world(Path(folder) / "world", own, quick, step) as world,
    ):
        setting = {
            **machine(),
            "requests": len(world.requests),
            "features": len(world.bundle.contract.features),
            "events": "own" if own else "simulated",
            "drawn places": plan.drawn,
        }
        judged: list[Judged] = []

        def keep(night: Judged) -> None:
            judged.append(night)
            if json_path is not None:
                _write(SkewBench(setting, tuple(judged), notes=("not finished",)), json_path)

        asked = measure(
            world, Path(folder), plan, other_shares=shares, evidently=evidently, step=step, keep=keep
        )
    notes = _notes(plan, judged, others, evidently)
    return SkewBench(setting, tuple(judged), tuple(asked), notes=tuple(notes))


def _notes(plan: Plan, nights: Sequence[Judged], others: bool, evidently: Path | None) -> Iterator[str]:
    """What was left out."""
    from skew_checks.bench.elsewhere import PLACES
    from skew_checks.bench.judged import UNTOUCHED

    if others and evidently is None:
        yield "Evidently was not asked: --evidently names no Python that has it"
    unchanged = dict.fromkeys(night.name for night in nights if night.outcome == UNTOUCHED)
    if unchanged:
        yield f"changes nothing here, and counts nowhere: {', '.join(unchanged)}"
    fixed = [defect.name for defect in plan.defects if plan.drawn and defect.name not in PLACES]
    if fixed:
        yield f"has no other place, and was left out: {', '.join(fixed)}"


def _world(folder: Path, own: bool, quick: bool, step: Step) -> AbstractContextManager[World]:
    from feature_repo.workspace import Workspace
    from skew_checks.bench.world import QUICK, Size, made_world, own_world

    if own:
        step("building the workspace's events aside, training, materializing")
        return own_world(folder, Workspace.from_environment().events)
    size = QUICK if quick else Size()
    step(f"simulating {size.days} days of {size.users} users, training, materializing")
    return made_world(folder, size)


def _speed(sizes: Sequence[float]) -> SkewBench:
    import tempfile

    from marquee.terminal import console
    from materialization.bench.run import machine
    from materialization.progress import spoken
    from skew_checks.bench.result import SkewBench
    from skew_checks.bench.speed import SPEED_SIZE, measure_speed
    from skew_checks.bench.world import made_world

    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder, spoken(console) as step:
        step(f"simulating {SPEED_SIZE.days} days of {SPEED_SIZE.users} users, training, materializing")
        with made_world(Path(folder) / "world", SPEED_SIZE) as world:
            runs = measure_speed(world, Path(folder), [round(size) for size in sizes], step)
    console.print(speeds_table(runs))
    return SkewBench(machine(), speed=tuple(runs))
