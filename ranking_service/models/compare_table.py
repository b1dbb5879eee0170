"""A comparison as tables for a person."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ranking_service.evaluation.evaluate import Interval
from ranking_service.models.compare import Comparison


def render(comparison: Comparison) -> RenderableType:
    """How alike, how fast, worth how much; then by segment."""
    first, second = comparison.versions
    title = (
        f"{second} beside {first}, {comparison.source}: {comparison.requests:,} requests of "
        f"{comparison.users:,} users, {comparison.candidates:,} candidates"
    )
    figures = Table(title=Text(title), title_justify="left", box=None, show_header=False, pad_edge=False)
    figures.add_column(style="dim")
    figures.add_column()
    for name, told in _figures(comparison):
        figures.add_row(name, told)
    notes = [Text(f"note: {note}") for note in comparison.notes]
    return Group(figures, Text(""), _segments(comparison), *notes)


def _figures(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "overlap of the top 10", _cell(comparison.overlap)
    yield "same best item", _cell(comparison.same_first)
    yield "Kendall's tau-b", _cell(comparison.kendall)
    yield "Spearman", _cell(comparison.spearman)
    yield "score shift", _cell(comparison.shift, signed=True)
    for version, micros in zip(comparison.versions, comparison.micros, strict=True):
        if micros:
            yield f"scoring, {version}", f"median {micros['median']:,.0f} us, p99 {micros['p99']:,.0f} us"
    worth = comparison.worth
    if worth is None:
        yield "NDCG@10", "unknown: no request has outcomes of both kinds among the items shown"
        return
    for version, value in zip(comparison.versions, (worth.first, worth.second), strict=True):
        yield f"NDCG@10, {version}", _cell(value)
    yield "NDCG@10, difference", f"{_cell(worth.difference, signed=True)} on {worth.lists:,} requests"


def _segments(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("segment")
    headings = ("requests", "users", "mean score\nfirst", "mean score\nsecond", "shift", "overlap\n@10")
    for heading in headings:
        table.add_column(heading, justify="right")
    for segment in comparison.segments:
        table.add_row(
            Text(f"{segment.by} {segment.value}"),
            f"{segment.requests:,}",
            f"{segment.users:,}",
            f"{segment.mean_scores[0]:.4f}",
            f"{segment.mean_scores[1]:.4f}",
            _cell(segment.shift, signed=True),
            _cell(segment.overlap),
        )
    return table


def _cell(interval: Interval, *, signed: bool = False) -> str:
    """A correlation is unknown where all scores of each request are equal, an interval where nothing was resampled."""
    value, low, high = (
        format(number, "+.4f" if signed else ".4f")
        for number in (interval.value, interval.low, interval.high)
    )
    if math.isnan(interval.value):
        return "unknown"
    return value if math.isnan(interval.low) else f"{value} [dim]({low} to {high})[/dim]"
