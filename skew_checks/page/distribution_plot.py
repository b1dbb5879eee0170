"""A feature's distribution over frozen bins: training, served and replayed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from skew_checks.formats.wording import clipped, percent
from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.scale import Scale
from skew_checks.page.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, drawing, line, plot, rect
from skew_checks.result.population import Binned

GAP = 8.0
"""Pixels between special and ordinary bins."""
SIDES = ("training", "served", "replayed")
BARS = (("training", "f-training", 0.06), ("served", "f-served", 0.3))
"""Side, style, and the part of a bin's width that is left free at either end."""
DIGIT = 6.0
"""Pixels, about, of a character."""
Shares = dict[str, float]


def distribution_plot(feature: str, against: str, bins: Binned, most: int) -> Html:
    """Shares by bin: training a wide bar, served a narrow one, replayed a line across; at most so many bins."""
    labels = bins.labels[:most]
    special = min(max(bins.special, 0), len(labels))
    sides = {side: _shares(bins.counts[side]) for side in SIDES if side in bins.counts}
    columns = [
        {side: shares[place] for side, shares in sides.items() if place < len(shares)}
        for place in range(len(labels))
    ]
    highest = max((share for column in columns for share in column.values()), default=0.0) or 1.0
    frame = Frame(Scale(0.0, 1.0, LEFT, WIDTH - RIGHT), Scale(0.0, highest, HEIGHT - BOTTOM, TOP))
    starts, width = _places(len(labels), special)
    drawn = (
        frame.axes(None, lambda share: percent(share) if share else "0"),
        [
            _bin(start, width, frame, column, label)
            for start, column, label in zip(starts, columns, labels, strict=True)
        ],
        _bin_labels(labels, special, starts, width),
    )
    told = "; ".join(_spoken(labels[place], columns[place]) for place in range(special))
    label = f"Distribution of {feature}; {told or 'no special bins'}"
    return plot(breakable(clipped(feature, 80)), f"against {against}", drawing(clipped(label, 400), drawn))


def _shares(counts: Sequence[float]) -> list[float]:
    total = math.fsum(counts)
    return [count / total if total > 0 and math.isfinite(total) else 0.0 for count in counts]


def _places(bins: int, special: int) -> tuple[list[float], float]:
    """Left edges of the bins, and their width."""
    gap = GAP if 0 < special < bins else 0.0
    width = (WIDTH - LEFT - RIGHT - gap) / max(bins, 1)
    return [LEFT + width * place + (gap if place >= special else 0.0) for place in range(bins)], width


def _bin(start: float, width: float, frame: Frame, shares: Shares, label: str) -> Html:
    bottom = HEIGHT - BOTTOM
    drawn: list[Html] = [tag("title", _spoken(label, shares))]
    for side, style, inset in BARS:
        if side in shares:
            top = frame.y(shares[side])
            drawn.append(rect(start + inset * width, top, (1 - 2 * inset) * width, bottom - top, style))
    if "replayed" in shares:
        top = frame.y(shares["replayed"])
        drawn.append(line(start, top, start + width, top, "l-replayed"))
    return tag("g", drawn)


def _spoken(label: str, shares: Shares) -> str:
    return f"{clipped(label, 60)}: " + ", ".join(f"{side} {percent(share)}" for side, share in shares.items())


def _bin_labels(labels: Sequence[str], special: int, starts: list[float], width: float) -> list[Html]:
    """Every special bin's where there is room; of the others the first and the last."""
    y = HEIGHT - BOTTOM + 16.0
    drawn, free = [], 0.0
    for place in range(special):
        text = clipped(labels[place], 9)
        start = max(starts[place] + (width - DIGIT * len(text)) / 2, 2.0)
        if start >= free:
            drawn.append(tag("text", text, x=start, y=y))
            free = start + DIGIT * len(text) + 5
    if special == len(labels):
        return drawn
    first, last = clipped(labels[special], 14), clipped(labels[-1], 14)
    start = max(starts[special], free + DIGIT)
    room = WIDTH - 4.0 - start - DIGIT * (len(first) + len(last))
    if len(labels) - special > 1 and room > DIGIT:
        drawn.append(tag("text", first, x=start, y=y))
    return [*drawn, tag("text", last, x=WIDTH - 4.0, y=y, text_anchor="end")]
