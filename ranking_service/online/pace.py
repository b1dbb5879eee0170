"""How long work has taken lately, to tell whether more of it fits into the time that is left."""

from __future__ import annotations

from dataclasses import dataclass, field

WEIGHT = 0.1
"""Of the newest measurement."""
PASSED_OVER = 20
"""In a row, until a little less is expected."""


@dataclass
class Pace:
    """Seconds per unit of work, smoothed exponentially; 0 before the first measurement."""

    fixed_units: int = 0
    """What a piece of work costs beside its units, in units."""
    full_units: int = 1
    """A piece of so many units has its full say, a smaller one that seems slow less, by the square of its size: fewer
    units share what disturbed it (inverse-variance weights)."""
    seconds_per_unit: float = 0.0
    _passed_over: int = field(default=0, init=False)

    def expected(self, units: int) -> float:
        """Seconds."""
        return self.seconds_per_unit * (units + self.fixed_units)

    def took(self, seconds: float, units: int) -> None:
        """Remember a measurement."""
        if units <= 0:
            return
        self._passed_over = 0
        size = units + self.fixed_units
        measured = seconds / size
        before = self.seconds_per_unit or measured
        weight = WEIGHT
        if measured > before:
            weight *= min(1.0, size / (self.full_units + self.fixed_units)) ** 2
        self.seconds_per_unit = before + weight * (measured - before)

    def declined(self) -> None:
        """Work was not begun because it was expected to take too long: expect a little less next time.

        Otherwise one stall would keep all work from being begun, and so from being measured, for ever.
        """
        self.seconds_per_unit *= 1 - WEIGHT

    def passed_over(self) -> None:
        """Work was not begun, but others may have taken its time: it is `declined` when that happens again and again
        and nothing is measured in between."""
        self._passed_over += 1
        if self._passed_over % PASSED_OVER == 0:
            self.declined()
