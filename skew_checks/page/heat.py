"""Which slices a defect or a drift is in: a table of features and slices, coloured by share."""

from __future__ import annotations

from bisect import bisect_left

from skew_checks.formats.wording import clipped, percent
from skew_checks.page.limits import Limits
from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.signs import row_head, scrolling
from skew_checks.result.parts import Share, Slice

EDGES = (0.0, 0.001, 0.01, 0.05, 0.2, 0.5)
"""Of the shares that get the colours 0 to 6: none, up to 0.1 %, ... , above half."""

Rows = list[tuple[str, tuple[Slice, ...]]]


def heat_map(rows: Rows, limits: Limits, label: str) -> Html | None:
    """Rows are (feature, its slices); None where no row has any. Parts are in the order they first come."""
    rows = [row for row in rows if row[1]][: limits.heat_rows]
    parts = _parts(rows, limits)
    if not parts:
        return None
    groups = [
        tag("th", clipped(dimension, limits.text), class_="dim", colspan=len(names), scope="colgroup")
        for dimension, names in parts.items()
    ]
    names = [
        tag("th", clipped(name, 24), class_="part", scope="col", title=clipped(name, limits.text))
        for listed in parts.values()
        for name in listed
    ]
    corner = tag("th", "feature", rowspan=2, scope="col")
    head = tag("thead", tag("tr", corner, groups), tag("tr", names))
    body = tag("tbody", [_row(name, slices, parts, limits) for name, slices in rows])
    return scrolling(tag("table", head, body, class_="heat"), label)


def _parts(rows: Rows, limits: Limits) -> dict[str, list[str]]:
    """Dimension to its parts."""
    parts: dict[str, dict[str, None]] = {}
    for _, slices in rows:
        for one in slices:
            parts.setdefault(one.dimension, {}).update(dict.fromkeys(part.name for part in one.parts))
    shown = list(parts.items())[: limits.heat_parts]
    return {name: _in_order(list(listed))[: limits.heat_parts] for name, listed in shown if listed}


def _in_order(names: list[str]) -> list[str]:
    """Hours and other numbers by size, names as they came."""
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _row(name: str, slices: tuple[Slice, ...], parts: dict[str, list[str]], limits: Limits) -> Html:
    found = {(one.dimension, part.name): part for one in slices for part in one.parts}
    cells = [
        _cell(found.get((dimension, part)), f"{dimension} {part}")
        for dimension, listed in parts.items()
        for part in listed
    ]
    return tag("tr", row_head(tag("code", breakable(clipped(name, limits.text))), ""), cells)


def _cell(part: Share | None, named: str) -> Html:
    if part is None or not part.units:
        return tag("td", "·", class_="gone", title=f"{clipped(named, 80)}: nothing compared")
    told = f"{clipped(named, 80)}: {percent(part.share)}, {part.bad:,} of {part.units:,}"
    return tag("td", whole_percent(part.share), class_=f"h{colour(part.share)}", title=told)


def colour(share: float) -> int:
    """Number of the colour class, 0 to 6."""
    return bisect_left(EDGES, share)


def whole_percent(share: float) -> str:
    """In whole per cent, as there is little room."""
    value = 100 * share
    return "0" if value == 0 else "<1" if value < 1 else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
