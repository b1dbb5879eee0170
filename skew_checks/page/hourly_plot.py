"""One feature hour by hour: share of nulls, of defaults and of mismatches, above the number of requests."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from skew_checks.formats.wording import clipped, in_utc, percent
from skew_checks.page.markup import Html, breakable
from skew_checks.page.scale import Scale
from skew_checks.page.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, drawing, path, plot, rect
from skew_checks.result.population import Hourly

LINES = ("mismatch", "default", "null")
HOUR = 3600.0
DAY = 86_400.0
REQUESTS_PART = 0.25
"""Of the height, for the bars of requests."""
HOUR_STEPS = (1, 2, 3, 6, 12, 24, 48, 72, 96, 168)


def hourly_plot(one: Hourly, most: int) -> Html:
    """At most so many hours, the last ones; lines are broken where an hour has nothing to count."""
    one = _last(one, most)
    at = [in_utc(hour).timestamp() for hour in one.hours]
    rates = {
        "null": dict(zip(at, one.null_rate, strict=False)),
        "default": dict(zip(at, one.default_rate, strict=False)),
        "mismatch": dict(zip(at, one.mismatch_rate, strict=False)),
    }
    known = [
        rate for line in rates.values() for rate in line.values() if rate is not None and math.isfinite(rate)
    ]
    start, end = (min(at), max(at) + HOUR) if at else (0.0, DAY)
    frame = Frame(
        Scale(start, end, LEFT, WIDTH - RIGHT), Scale(0.0, max([*known, 0.001]), HEIGHT - BOTTOM, TOP)
    )
    ticks = _hour_ticks(start, end)
    drawn = (
        _requests(one, at, frame),
        frame.axes(_day_or_hour, lambda rate: percent(rate) if rate else "0", x_ticks=ticks),
        [path(_levels(rates[name]), frame, f"l-{name}") for name in reversed(LINES)],
    )
    highest = ", ".join(f"{name} up to {percent(_highest(rates[name]))}" for name in LINES)
    label = f"{one.feature} by hour: {highest}"
    return plot(breakable(clipped(one.feature, 80)), highest, drawing(label, drawn))


def _last(one: Hourly, most: int) -> Hourly:
    return Hourly(
        one.feature,
        one.hours[-most:],
        one.requests[-most:],
        one.null_rate[-most:],
        one.default_rate[-most:],
        one.mismatch_rate[-most:],
    )


def _levels(line: dict[float, float | None]) -> list[tuple[float, float | None]]:
    """An hour is level from its beginning to its end."""
    return [(x, rate) for start, rate in line.items() for x in (start, start + HOUR)]


def _highest(line: dict[float, float | None]) -> float:
    return max((rate for rate in line.values() if rate is not None and math.isfinite(rate)), default=0.0)


def _requests(one: Hourly, at: list[float], frame: Frame) -> list[Html]:
    most = max(one.requests, default=0) or 1
    bottom = HEIGHT - BOTTOM
    width = frame.x(frame.x.low + HOUR) - frame.x.start
    return [
        rect(frame.x(start) + 0.5, bottom - part, width - 1, part, "f-quiet")
        for start, count in zip(at, one.requests, strict=False)
        if (part := REQUESTS_PART * (bottom - TOP) * count / most) > 0
    ]


def _hour_ticks(start: float, end: float) -> list[float]:
    """At round hours, about five."""
    hours = (end - start) / HOUR
    step = HOUR * next((step for step in HOUR_STEPS if hours / step <= 5), HOUR_STEPS[-1])
    first = math.ceil(start / step) * step
    return [first + step * index for index in range(8) if first + step * index <= end]


def _day_or_hour(at: float) -> str:
    instant = datetime.fromtimestamp(at, UTC)
    return f"{instant:%d %b}" if at % DAY == 0 else f"{instant:%H:%M}"
