"""Small things that stand in many places: the pill of a status, bars, the command to copy, a scrolling table."""

from __future__ import annotations

from collections.abc import Sequence

from skew_checks.formats.wording import percent
from skew_checks.page.markup import Child, Html, breakable, tag
from skew_checks.page.scale import Scale
from skew_checks.page.svg import drawing, line, rect
from skew_checks.result.parts import Rate, Status

SHAPES = {
    Status.FAIL: "M2 0L5 3L8 0L10 2L7 5L10 8L8 10L5 7L2 10L0 8L3 5L0 2z",
    Status.WARN: "M5 .5L10 9.5H0z",
    Status.OK: "M0 5.4L1.8 3.6L3.9 5.7L8.3 1.2L10 3L3.9 9.2z",
    Status.INSUFFICIENT: "M5 0L10 5L5 10L0 5z",
}
"""So that a status is not told by colour alone: cross, triangle, tick, diamond."""
WORDS = {Status.FAIL: "Fail", Status.WARN: "Warn", Status.OK: "Ok", Status.INSUFFICIENT: "Not enough"}
LEAST_SHARE = 1e-4
"""Left end of the bar of a share: a hundredth of a per cent."""
BAR, BAR_HEIGHT = 270, 30
ONE_LINE = 26
"""Characters of a table cell that stand on one line."""


def pill(status: Status, words: str | None = None) -> Html:
    """The status as shape, word and colour."""
    shape = tag("svg", tag("path", d=SHAPES[status]), viewbox="0 0 10 10", aria_hidden="true")
    return tag("span", shape, words or WORDS[status], class_=f"pill {status.value}")


def range_bar(rate: Rate) -> Html:
    """Where the share lies between its bounds, and the budget, from 0.01 % to 100 % by logarithm."""
    scale = Scale(LEAST_SHARE, 1.0, 1.0, BAR - 1.0, is_log=True)
    bounds = f"surely {percent(rate.lower)} to {percent(rate.upper)}"
    label = f"{percent(rate.share)}, {bounds}; allowed {percent(rate.budget)}"
    low, high = scale(max(rate.lower, LEAST_SHARE)), scale(max(rate.upper, LEAST_SHARE))
    budget, at = scale(max(rate.budget, LEAST_SHARE)), scale(max(rate.share, LEAST_SHARE))
    content = (
        rect(0, 5, BAR, 6, "f-track"),
        rect(min(low, BAR - 4.0), 3, max(high - low, 2.0), 10, "f-band"),
        rect(min(max(at - 1.5, 0.0), BAR - 3.0), 1, 3, 14, "f-bad"),
        line(budget, 0, budget, 16, "target"),
        [
            tag("text", text, x=scale(tick), y=28, text_anchor=anchor)
            for tick, text, anchor in (
                (1e-4, "0.01 %", "start"),
                (1e-3, "0.1 %", "middle"),
                (1e-2, "1 %", "middle"),
                (0.1, "10 %", "middle"),
                (1.0, "100 %", "end"),
            )
        ],
    )
    return drawing(label, content, width=BAR, height=BAR_HEIGHT, class_="share")


def in_bar(share: float, style: str = "f-served") -> Html:
    """A share as a bar beside its number in a table."""
    part = 96.0 * min(max(share, 0.0), 1.0)
    bars = rect(0, 1, 96, 9, "f-track"), rect(0, 1, part, 9, style)
    return tag("svg", bars, viewbox="0 0 96 11", class_="inbar", aria_hidden="true")


def command(text: str, what: str) -> Html:
    """A shell command: one click selects it, the button copies it (shown where scripts may run)."""
    button = tag("button", "Copy", type="button", hidden=True, aria_label=f"Copy the command {what}")
    return tag("div", tag("pre", tag("code", text), tabindex="0"), button, class_="command")


def table(
    heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[Html]], label: str, *, tall: bool = False
) -> Html:
    """A table that scrolls inside itself. Heads are (words, class); cells are made by `cell` or `row_head`."""
    head = tag(
        "thead", tag("tr", [tag("th", words, scope="col", class_=style or None) for words, style in heads])
    )
    body = tag("tbody", [tag("tr", row) for row in rows])
    return scrolling(tag("table", head, body), label, tall=tall)


def scrolling(content: Html, label: str, *, tall: bool = False) -> Html:
    """Reachable by keyboard, so that it can be scrolled by it."""
    style = "scroll tall" if tall else "scroll"
    return tag("div", content, class_=style, tabindex="0", role="region", aria_label=label)


def cell(content: Child, style: str = "") -> Html:
    """One td."""
    return tag("td", content, class_=style or None)


def text_cell(text: str, style: str = "") -> Html:
    """A td on one line where the text is short, else in a column that wraps anywhere."""
    is_short = len(text) <= ONE_LINE
    return cell(text if is_short else breakable(text), f"{'t' if is_short else 'v'} {style}".strip())


def row_head(content: Child, style: str = "name") -> Html:
    """The cell that names its row."""
    return tag("th", content, scope="row", class_=style or None)


def section(name: str, title: str, lead: Child, *content: Child) -> Html:
    """A part of the page that the list at the top leads to."""
    told = None if lead is None else tag("p", lead, class_="lead")
    return tag(
        "section",
        tag("h2", title, id=f"{name}-title"),
        told,
        *content,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def more(left: int, what: str) -> Html | None:
    """What is not shown, and where it is."""
    return (
        tag("p", f"and {left:,} more {what}: the JSON report has them all", class_="soft small")
        if left > 0
        else None
    )
