"""How old a view's rows were when they were read, against the view's target."""

from __future__ import annotations

import math

from skew_checks.formats.wording import clipped, duration, percent
from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.scale import Scale
from skew_checks.page.signs import pill
from skew_checks.page.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, drawing, line, plot, steps
from skew_checks.result.population import Freshness

SHARES = Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
ROUND_AGES = (
    *(1.0, 10.0, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR),
    *(DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY, 365 * DAY),
)
MOST_TICKS = 5
LEAST_AGE = 1.0
"""Seconds; what is younger is drawn there."""
ROOM = 1.6
"""Factor of free room at either end."""
NO_BREAK = "\u00a0"


def freshness_plot(one: Freshness, most: int) -> Html:
    """Share of rows by age at most, with the view's target."""
    curve = [
        (max(age, LEAST_AGE), share)
        for age, share in one.curve[:most]
        if math.isfinite(age) and math.isfinite(share)
    ]
    target = max(one.target_seconds, LEAST_AGE)
    ages = [target, *(age for age, _ in curve)]
    x = Scale(min(ages) / ROOM, max(ages) * ROOM, LEFT, WIDTH - RIGHT, is_log=True)
    frame, at = Frame(x, SHARES), x(target)
    whole = [(x.low, 0.0), *curve, (x.high, curve[-1][1])] if curve else []
    drawn = (
        frame.axes(duration, percent, x_ticks=_ticks(x)),
        steps(whole, frame, "l-served"),
        line(at, TOP, at, HEIGHT - BOTTOM, "target"),
        _beside(at),
    )
    told = ", ".join(
        f"{name} {duration(age)}".replace(" ", NO_BREAK) for name, age in one.age_quantiles.items()
    )
    under = f"target {duration(one.target_seconds)}; {percent(one.lagging.share)} of rows past it"
    label = f"Age of rows of {one.view} when read: {told or 'unknown'}; {under}"
    name = (breakable(clipped(one.view, 80)), " ", pill(one.status))
    return plot(name, f"{under}{'; age ' + told if told else ''}", drawing(label, drawn))


def _ticks(x: Scale) -> list[float]:
    inside = [age for age in ROUND_AGES if x.low <= age <= x.high]
    return inside[:: max(1, math.ceil(len(inside) / MOST_TICKS))]


def _beside(target: float) -> Html:
    """The word at the target's line, on the side where there is room."""
    is_left = target < WIDTH - 60
    at = target + 5 if is_left else target - 5
    return tag("text", "target", x=at, y=HEIGHT - BOTTOM - 6, text_anchor="start" if is_left else "end")
