"""What a run found: measured values, the ratios made of them, and the bars those must reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

ONE_THIRD = 1 / 3
ENOUGH_FOR_P999 = 2_000


@dataclass(frozen=True)
class Measured:
    """One contender's values of one measure."""

    measure: str
    name: str
    what: str
    unit: str
    median: float
    times: int
    """How often it was measured."""
    p99: float | None = None
    """Where there are values enough for one."""
    p999: float | None = None

    @classmethod
    def of(
        cls, measure: str, name: str, what: str, *, unit: str, values: Sequence[float], tail: bool = False
    ) -> Measured:
        """`tail` asks for the 99th percentile as well, and for the 99.9th where it would not be the very largest."""
        p99 = float(np.percentile(values, 99)) if tail else None
        p999 = float(np.percentile(values, 99.9)) if tail and len(values) >= ENOUGH_FOR_P999 else None
        return cls(measure, name, what, unit, float(np.median(values)), len(values), p99, p999)


@dataclass(frozen=True)
class Bar:
    """What a figure must reach."""

    bound: float
    is_least: bool
    """Whether the figure must be at least the bound, else at most."""

    def is_reached(self, value: float) -> bool:
        return value >= self.bound if self.is_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'at least' if self.is_least else 'at most'} {self.bound:.4g}"


def at_least(bound: float) -> Bar:
    return Bar(bound, is_least=True)


def at_most(bound: float) -> Bar:
    return Bar(bound, is_least=False)


@dataclass(frozen=True)
class Figure:
    """A ratio, or a value, that has a bar; without one it is only told."""

    measure: str
    what: str
    value: float
    bar: Bar | None = None

    @property
    def reached(self) -> bool:
        """NaN reaches no bar."""
        return self.bar is None or self.bar.is_reached(self.value)


@dataclass(frozen=True)
class Findings:
    """Of one measure, or of a whole run."""

    measured: tuple[Measured, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    """What a number cannot say."""

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            self.measured + other.measured, self.figures + other.figures, self.notes + other.notes
        )

    @property
    def missed(self) -> list[Figure]:
        """Figures that do not reach their bars."""
        return [figure for figure in self.figures if not figure.reached]

    def to_json(self) -> dict[str, Any]:
        figures = [
            {**asdict(figure), "bar": figure.bar and str(figure.bar), "reached": figure.reached}
            for figure in self.figures
        ]
        return {
            "measured": [asdict(one) for one in self.measured],
            "figures": figures,
            "notes": list(self.notes),
        }
