"""How long work has taken lately, to tell whether more of it fits into the time that is left."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHT = 0.1
"""Of the newest measurement."""


@dataclass
class Pace:
    """Seconds per unit of work, smoothed exponentially; 0 before the first measurement."""

    seconds_per_unit: float = 0.0

    def expected(self, units: int) -> float:
        """Seconds."""
        return self.seconds_per_unit * units

    def took(self, seconds: float, units: int) -> None:
        """Remember a measurement."""
        if units <= 0:
            return
        measured = seconds / units
        before = self.seconds_per_unit or measured
        self.seconds_per_unit = before + WEIGHT * (measured - before)
