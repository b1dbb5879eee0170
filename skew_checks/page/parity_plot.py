"""Each value served against the offline one."""

from __future__ import annotations

import math

from skew_checks.formats.wording import clipped, number
from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.scale import Scale, over
from skew_checks.page.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, drawing, line, plot
from skew_checks.result.population import Parity

WIDE_RANGE = 500.0
"""Where the largest value is so many times the smallest, axes are logarithmic."""


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
