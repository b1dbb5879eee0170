"""From values to pixels, and where the ticks of an axis stand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to [start, end] pixels, by logarithm where `is_log` (then low is above 0).

    What lies outside, infinities included, goes to the nearer end; NaN to the start.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        if math.isnan(value):
            return self.start
        inside = min(max(value, self.low), self.high)
        low, high = self._linear(self.low), self._linear(self.high)
        share = (self._linear(inside) - low) / (high - low) if high > low else 0.5
        return self.start + (self.end - self.start) * share

    def _linear(self, value: float) -> float:
        """Divided first: the difference of two large floats may be infinite."""
        return math.log10(value) if self.is_log else value / self._size

    @property
    def _size(self) -> float:
        return max(abs(self.low), abs(self.high)) or 1.0

    def ticks(self, wanted: int = 4) -> list[float]:
        """Round values inside the range: about as many as wanted."""
        return (
            _decades(self.low, self.high, wanted)
            if self.is_log
            else _round_steps(self.low, self.high, wanted)
        )


def over(values: Iterable[float], start: float, end: float, *, is_log: bool = False) -> Scale:
    """A scale that holds all the values that are finite (and above 0, for a logarithm); 0 to 1 without any."""
    fit = [value for value in values if math.isfinite(value) and (value > 0 or not is_log)]
    if not fit:
        return Scale(0.1 if is_log else 0.0, 1.0, start, end, is_log)
    low, high = min(fit), max(fit)
    if low == high:
        room = abs(low) / 2 or 0.5
        low, high = (low / 2, min(high, 8e307) * 2) if is_log else (low - room, min(high, 8e307) + room)
    return Scale(low, high, start, end, is_log)


def _round_steps(low: float, high: float, wanted: int) -> list[float]:
    rough = high / wanted - low / wanted
    if not (0 < rough < math.inf):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * size for size in STEPS if power * size >= rough * 0.75), rough)
    if step == 0 or abs(low) > 1e12 * step:
        return [low, high]
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, first + 3 * wanted) if index * step <= high + 1e-9 * step]


def _decades(low: float, high: float, wanted: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last < first:
        return [low, high]
    every = max(1, math.ceil((last - first + 1) / wanted))
    return [10.0**power for power in range(first, last + 1, every)]
