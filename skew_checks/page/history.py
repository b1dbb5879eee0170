"""Nights side by side as one HTML file, made as the report's page is."""

from __future__ import annotations

from collections.abc import Sequence

from skew_checks.formats.cause_help import HELP
from skew_checks.formats.history import Course, History, Night, sentence
from skew_checks.formats.wording import OUTCOME_STATUS, OUTCOME_WORDS, clipped, instant, percent
from skew_checks.page.heat import colour, whole_percent
from skew_checks.page.markup import Child, Html, breakable, tag
from skew_checks.page.page import document
from skew_checks.page.signs import cell, pill, row_head, scrolling, section, table, text_cell
from skew_checks.result.parts import Outcome, Status
from skew_checks.result.report import Defect

NO_BREAK = "\u2011"
"""A hyphen that keeps a date on one line."""
MOST_NIGHTS, MOST_COURSES, TEXT = 60, 150, 160


def history_page(history: History, *, linked: bool) -> str:
    """The HTML text: at most the last 60 nights and 150 defects; `linked` where the nights' pages lie beside it."""
    shown = History(history.nights[-MOST_NIGHTS:], history.unreadable[:MOST_NIGHTS])
    sections = [_matrix(shown), _nights(shown, linked=linked), _unreadable(shown)]
    return document("Skew history", _head(shown), tag("main", sections, id="content", tabindex="-1"))


def _head(history: History) -> Html:
    status = OUTCOME_STATUS[history.nights[-1].report.outcome] if history.nights else Status.INSUFFICIENT
    span = f"{history.nights[0].label} to {history.nights[-1].label}" if history.nights else "no nights"
    kicker = tag("div", pill(status), tag("span", "Skew history"), tag("span", span), class_="kicker")
    inside = tag("div", kicker, tag("h1", sentence(history).replace("-", NO_BREAK)))
    return tag("header", inside, class_=status.value)


def _matrix(history: History) -> Html | None:
    courses = history.courses()[:MOST_COURSES]
    if not courses:
        return None
    heads = [tag("th", night.label, class_="part", scope="col") for night in reversed(history.nights)]
    first = (tag("th", "defect", scope="col"), tag("th", "since", scope="col"))
    outcomes = [
        tag(
            "td", pill(OUTCOME_STATUS[night.report.outcome], " "), title=_told(night), aria_label=_told(night)
        )
        for night in reversed(history.nights)
    ]
    verdict = tag("tr", row_head("verdict", ""), cell(""), outcomes)
    rows = [_course(course, history) for course in courses]
    body = tag("tbody", verdict, rows)
    content = tag("table", tag("thead", tag("tr", first, heads)), body, class_="heat nights")
    lead = "Share that differs of each defect's worst feature, in per cent, newest night first."
    return section(
        "defects",
        "When did it start?",
        lead,
        tag("div", scrolling(content, "Defects by night"), class_="card"),
    )


def _told(night: Night) -> str:
    return clipped(f"{night.label}: {OUTCOME_WORDS[night.report.outcome]}. {night.report.sentence}", 3 * TEXT)


def _course(course: Course, history: History) -> Html:
    view, cause = course.key
    name = (breakable(clipped(view, TEXT)), tag("div", HELP[cause].title, class_="soft small"))
    since = history.since(course)
    told = pill(course.worst.status, since.label) if since else tag("span", "over", class_="soft")
    pairs = zip(reversed(history.nights), reversed(course.nights), strict=True)
    return tag("tr", row_head(name, ""), cell(told, "t"), [_cell(night, defect) for night, defect in pairs])


def _cell(night: Night, defect: Defect | None) -> Html:
    if defect is None:
        unknown = night.report.outcome in (Outcome.NOT_ENOUGH, Outcome.INTERNAL)
        return tag(
            "td",
            "?" if unknown else "·",
            class_="gone",
            title=f"{night.label}: {'not judged' if unknown else 'none'}",
        )
    title = clipped(f"{night.label}: {percent(defect.rate.share)}. {defect.headline}", 3 * TEXT)
    return tag("td", whole_percent(defect.rate.share), class_=f"h{colour(defect.rate.share)}", title=title)


def _nights(history: History, *, linked: bool) -> Html | None:
    heads = [("night", "t"), ("verdict", ""), ("", "w"), ("requests", "n"), ("values", "n"), ("dropped", "n")]
    heads += [("defects", "n"), ("drift", "n"), ("checked", "")]
    rows = [_night(night, linked=linked) for night in reversed(history.nights)]
    lead = "Newest first. A star marks windows that are no whole day, and samples: they do not compare with the others."
    content = tag("div", table(heads, rows, "Nights"), class_="card")
    return section("nights", "Nights", lead, content) if rows else None


def _night(night: Night, *, linked: bool) -> Sequence[Html]:
    report = night.report
    name = night.path.with_suffix(".html").name
    label: Child = tag("a", night.label, href=name) if linked else night.label
    return [
        row_head(label, "t"),
        cell(pill(OUTCOME_STATUS[report.outcome])),
        cell(clipped(report.sentence, 2 * TEXT), "w"),
        cell(f"{report.volume.requests:,}", "n"),
        cell(f"{report.volume.values:,}", "n"),
        cell(percent(report.volume.drop_share), "n"),
        cell(len(report.defects), "n"),
        cell(sum(one.status in (Status.FAIL, Status.WARN) for one in report.drift), "n"),
        cell(instant(report.checked_at), "t"),
    ]


def _unreadable(history: History) -> Html | None:
    if not history.unreadable:
        return None
    rows = [
        [row_head(tag("code", one.path.name)), text_cell(clipped(one.why, 2 * TEXT))]
        for one in history.unreadable
    ]
    content = tag(
        "div", table([("file", "name"), ("why", "")], rows, "Files that cannot be read"), class_="card"
    )
    lead = "Left out above. Check the day again, or delete the file."
    return section("unreadable", "Files that cannot be read", lead, content)
