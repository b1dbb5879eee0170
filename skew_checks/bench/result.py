"""Everything that one run of the benchmark gives: nights, figures, other tools, speed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from materialization.bench.figures import Figure, Findings
from skew_checks.bench.judged import Judged
from skew_checks.bench.others import OtherNight
from skew_checks.bench.score import figures
from skew_checks.bench.speed import SpeedRun, speed_figures


@dataclass(frozen=True)
class SkewBench:
    """Of one run."""

    setting: dict[str, Any]
    """Machine, sizes, shares."""
    nights: tuple[Judged, ...] = ()
    others: tuple[OtherNight, ...] = ()
    """What other tools say of the same nights."""
    notes: tuple[str, ...] = ()
    speed: tuple[SpeedRun, ...] = ()

    @property
    def figures(self) -> tuple[Figure, ...]:
        return figures(self.nights) + speed_figures(self.speed)

    @property
    def findings(self) -> Findings:
        """As the other benchmarks have them."""
        return Findings((), self.figures, self.notes)

    def to_json(self) -> dict[str, Any]:
        return {
            "setting": self.setting,
            **self.findings.to_json(),
            "nights": [night.to_json() for night in self.nights],
            "others": [asdict(night) for night in self.others],
            "speed": [asdict(run) for run in self.speed],
        }
