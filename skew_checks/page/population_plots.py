"""Freshness curves, and each value served against the offline one."""

from __future__ import annotations

import math

from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.scale import Scale, over
from skew_checks.page.signs import pill
from skew_checks.page.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Frame,
    drawing,
    line,
    plot,
    steps,
)
from skew_checks.result_population import Freshness, Parity
from skew_checks.wording import clipped, duration, number, percent

SHARES = Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
ROUND_AGES = (1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 31_536_000.0)
WIDE_RANGE = 500.0
"""Where the largest value is so many times the smallest, axes are logarithmic."""


def freshness_plot(one: Freshness, most: int) -> Html:
    """Share of rows by age at most, with the view's target."""
    target = max(one.target_seconds, 1.0)
    points = [
        (max(age, 1.0), share)
        for age, share in one.curve[:most]
        if math.isfinite(age) and math.isfinite(share)
    ]
    ages = over([target, *(age for age, _ in points)], LEFT, WIDTH - RIGHT, is_log=True)
    frame = Frame(Scale(ages.low, max(ages.high, 1.2 * target), LEFT, WIDTH - RIGHT, is_log=True), SHARES)
    ticks = [age for age in ROUND_AGES if frame.x.low <= age <= frame.x.high]
    every = max(1, math.ceil(len(ticks) / 5))
    at = frame.x(target)
    drawn = (
        frame.axes(duration, percent, x_ticks=ticks[::every]),
        steps(points, frame, "l-served") if points else None,
        line(at, TOP, at, HEIGHT - BOTTOM, "target"),
        _beside(at),
    )
    told = ", ".join(f"{name} {duration(age)}" for name, age in one.age_quantiles.items())
    under = f"target {duration(one.target_seconds)}; {percent(one.lagging.share)} of rows past it"
    label = f"Age of rows of {one.view} when read: {told or 'unknown'}; {under}"
    name = (breakable(clipped(one.view, 80)), " ", pill(one.status))
    return plot(name, f"{under}{'; age ' + told if told else ''}", drawing(label, drawn))


def _beside(target: float) -> Html:
    """The word at the target's line, on the side where there is room."""
    is_left = target < WIDTH - 60
    at = target + 5 if is_left else target - 5
    return tag("text", "target", x=at, y=HEIGHT - BOTTOM - 6, text_anchor="start" if is_left else "end")


def parity_plot(one: Parity, points: int) -> Html:
    """Each value served against the offline one; on the diagonal they are equal."""
    every = list(zip(one.offline, one.served, one.differs, strict=False))[:points]
    fit = [point for point in every if math.isfinite(point[0]) and math.isfinite(point[1])]
    values = [value for point in fit for value in point[:2]]
    is_log = bool(values) and min(values) > 0 and max(values) > WIDE_RANGE * min(values)
    axis = over(values, 0.0, 1.0, is_log=is_log)
    frame = Frame(
        Scale(axis.low, axis.high, LEFT, WIDTH - RIGHT, is_log),
        Scale(axis.low, axis.high, HEIGHT - BOTTOM, TOP, is_log),
    )
    dots = [_dot(frame.x(offline), frame.y(served), differs) for offline, served, differs in reversed(fit)]
    diagonal = line(frame.x(axis.low), frame.y(axis.low), frame.x(axis.high), frame.y(axis.high), "base")
    bad, left = sum(point[2] for point in fit), len(every) - len(fit)
    under = f"{bad:,} of {len(fit):,} points differ" + (
        f"; {left:,} more are missing or infinite on a side" if left else ""
    )
    names = (
        tag("text", "served", x=LEFT + 6, y=TOP + 8),
        tag("text", "offline", x=WIDTH - RIGHT, y=HEIGHT - BOTTOM - 6, text_anchor="end"),
    )
    drawn = (frame.axes(_short, _short), diagonal, dots, names)
    label = f"Served against offline values of {one.feature}: {under}"
    return plot(breakable(clipped(one.feature, 80)), under, drawing(label, drawn))


def _dot(x: float, y: float, differs: bool) -> Html:
    return tag("circle", cx=x, cy=y, r=3.2 if differs else 2.4, class_="o-bad" if differs else "f-same")


def _short(value: float) -> str:
    """A tick of at most 7 characters."""
    text = number(value)
    return text if len(text) <= 7 else f"{value:.2g}"
