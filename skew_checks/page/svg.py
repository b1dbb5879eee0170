"""Pieces that all plots are made of: a frame with axes, lines, a plot with its caption."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skew_checks.page.markup import Child, Html, figure, tag
from skew_checks.page.scale import Scale

WIDTH, HEIGHT = 340, 200
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 10.0, 30.0
Label = Callable[[float], str]


@dataclass(frozen=True)
class Frame:
    """A plotting area with its two scales; y grows upwards."""

    x: Scale
    y: Scale
    width: int = WIDTH
    height: int = HEIGHT

    def axes(
        self, x_label: Label | None, y_label: Label, *, x_ticks: Sequence[float] | None = None
    ) -> list[Html]:
        """Grid lines with labels at the left and below; labels never reach over the edge."""
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        drawn = [line(LEFT, self.y(tick), right, self.y(tick), "grid") for tick in self.y.ticks()]
        drawn += [
            tag("text", y_label(tick), x=LEFT - 7, y=self.y(tick) + 3.5, text_anchor="end")
            for tick in self.y.ticks()
        ]
        drawn.append(line(LEFT, bottom, right, bottom, "base"))
        if x_label is not None:
            ticks = self.x.ticks() if x_ticks is None else x_ticks
            drawn += [self._below(tick, x_label(tick)) for tick in ticks]
        return drawn

    def _below(self, tick: float, label: str) -> Html:
        at, half = self.x(tick), 3.1 * len(label)
        place = "end" if at + half > self.width else "start" if at < half else "middle"
        return tag("text", label, x=at, y=self.height - BOTTOM + 16.0, text_anchor=place)


def path(points: Sequence[tuple[float, float | None]], frame: Frame, style: str) -> list[Html]:
    """A line through the points, broken where there is no value; a lonely point is a dot."""
    runs: list[list[str]] = [[]]
    for x, y in points:
        if y is None or not math.isfinite(y):
            runs.append([])
        else:
            runs[-1].append(f"{figure(frame.x(x))} {figure(frame.y(y))}")
    drawn = "".join(f"M{run[0]}" + ("".join(f"L{at}" for at in run[1:]) or "h.1") for run in runs if run)
    return [tag("path", d=drawn, class_=style)] if drawn else []


def steps(points: Sequence[tuple[float, float]], frame: Frame, style: str) -> Html | None:
    """A distribution function: level until the next point; nothing without points."""
    drawn = ""
    for index, (x, y) in enumerate(points):
        at = figure(frame.x(x))
        drawn += f"M{at} {figure(frame.y(y))}" if index == 0 else f"H{at}V{figure(frame.y(y))}"
    return tag("path", d=drawn, class_=style) if drawn else None


def rect(x: float, y: float, width: float, height: float, style: str, *, title: str | None = None) -> Html:
    """A bar; a title is shown on hovering and read aloud."""
    inside = None if title is None else tag("title", title)
    sizes = {"width": max(width, 0.0), "height": max(height, 0.0)}
    return tag("rect", inside, x=float(x), y=float(y), class_=style, **sizes)


def drawing(
    label: str, content: Child, *, width: int = WIDTH, height: int = HEIGHT, class_: str | None = None
) -> Html:
    """An SVG picture that a screen reader reads as one sentence."""
    box = f"0 0 {width} {height}"
    return tag(
        "svg",
        tag("title", label),
        content,
        viewbox=box,
        role="img",
        aria_label=label,
        class_=class_,
        focusable="false",
    )


def plot(name: Child, under: Child, picture: Html, *below: Child) -> Html:
    """A picture in a card of its own with its caption."""
    caption = tag("figcaption", tag("b", name), tag("span", under))
    return tag("figure", caption, picture, *below, class_="plot")


def legend(*entries: tuple[Html, str]) -> Html:
    """Signs and what they stand for."""
    listed = [
        tag("li", tag("svg", sign, viewbox="0 0 18 12", aria_hidden="true"), words) for sign, words in entries
    ]
    return tag("ul", listed, class_="legend")


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Html:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=style)
