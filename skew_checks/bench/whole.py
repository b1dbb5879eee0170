"""The whole benchmark: a world, its nights, other tools on the same nights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from skew_checks.bench.catalogue import DEFECTS
from skew_checks.bench.controls import another_night
from skew_checks.bench.defect import Defect
from skew_checks.bench.evidently import ask, version_in, write_matrix
from skew_checks.bench.judged import A_A, Judged
from skew_checks.bench.night import Night
from skew_checks.bench.others import EVIDENTLY, TFDV, OtherNight, TfdvStyle, is_right, served_matrix
from skew_checks.bench.run import Plan, Step, fresh, nothing, run
from skew_checks.bench.world import World

REFERENCE_SEED, HEALTHY_SEED = 999, 998
HEALTHY = "healthy"
"""The night without any defect: a column that drifts in it too says nothing of a defect."""
OTHERS_NIGHTS = 10
"""A/A nights that other tools are asked about."""


@dataclass
class Lookers:
    """Asks other tools about the nights that go by."""

    world: World
    folder: Path
    """For the files that Evidently reads."""
    shares: tuple[float, ...]
    """Of defects; controls are all asked about."""
    writes: bool
    nights: list[OtherNight] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        with fresh(self.world, self.folder, seed=REFERENCE_SEED) as healthy:
            another_night(healthy)
            healthy.serve()
            reference = served_matrix(healthy)
        with fresh(self.world, self.folder, seed=HEALTHY_SEED) as same:
            same.serve()
            undisturbed = served_matrix(same)
        self.contract = self.world.bundle.contract
        self.tfdv = TfdvStyle(reference, self.contract)
        self.usual = {TFDV: self.tfdv(undisturbed)}
        if self.writes:
            write_matrix(self._file("reference"), reference, self.contract)
            self._files.append(self._file(HEALTHY))
            write_matrix(self._files[-1], undisturbed, self.contract)

    def __call__(self, name: str, night: Night) -> None:
        """A served night."""
        if not self._is_wanted(name):
            return
        matrix = served_matrix(night)
        if not len(matrix):
            return
        self._add(TFDV, name, self.tfdv(matrix))
        if self.writes:
            self._files.append(self._file(name))
            write_matrix(self._files[-1], matrix, self.contract)

    def ask_evidently(self, python: Path, step: Step) -> None:
        """About all nights that were written."""
        version = version_in(python)
        for number, answer in enumerate(ask(python, self._file("reference"), self._files)):
            step(f"Evidently {version}: night {number + 1} of {len(self._files)}")
            if answer.name == HEALTHY:
                self.usual[EVIDENTLY] = answer.columns
                continue
            self._add(EVIDENTLY, answer.name.replace("_", "@"), answer.columns)

    def _is_wanted(self, name: str) -> bool:
        defect, _, share = name.partition("@")
        if defect.startswith(f"{A_A}-"):
            return int(defect.removeprefix(f"{A_A}-")) < OTHERS_NIGHTS
        return not share or float(share) in self.shares

    def _add(self, tool: str, name: str, columns: tuple[str, ...]) -> None:
        defect, _, share = name.partition("@")
        known = seeded(defect)
        new = [name for name in columns if name not in self.usual[tool]]
        right = is_right(known, self.contract, new)
        self.nights.append(OtherNight(tool, defect, float(share) if share else None, columns, right))

    def _file(self, name: str) -> Path:
        return self.folder / "served" / f"{name.replace('@', '_')}.parquet"


def seeded(name: str) -> Defect | None:
    """The defect of that name; None for a control's."""
    return next((defect for defect in DEFECTS if defect.name == name), None)


def measure(
    world: World,
    folder: Path,
    plan: Plan,
    *,
    other_shares: tuple[float, ...],
    evidently: Path | None = None,
    step: Step,
    keep: Callable[[Judged], None],
) -> list[OtherNight]:
    """What the other tools say of the plan's nights at `other_shares`; none are asked without.

    Every night goes to `keep` as soon as it is judged: a later one may fail, and an hour of nights with it.
    """
    if evidently is not None:
        version_in(evidently)
    lookers = Lookers(world, folder, other_shares, writes=evidently is not None) if other_shares else None
    for night in run(world, folder, plan, step=step, look=lookers or nothing):
        keep(night)
    if lookers is not None and evidently is not None:
        lookers.ask_evidently(evidently, step)
    return lookers.nights if lookers is not None else []
