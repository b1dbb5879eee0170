"""A skew report as one HTML file: nothing is loaded from elsewhere, every value is escaped, at most 5 MB."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

from skew_checks.formats.wording import BY_SEVERITY, OUTCOME_WORDS, clipped, in_utc
from skew_checks.page.cause_bars import causes, ranking
from skew_checks.page.defects import defects
from skew_checks.page.drift import distributions, drift, drifted
from skew_checks.page.freshness_plot import freshness_plot
from skew_checks.page.head import head
from skew_checks.page.heat import heat_map
from skew_checks.page.hourly_plot import hourly_plot
from skew_checks.page.limits import LARGEST_PAGE, Limits
from skew_checks.page.markup import Child, Html, tag, trusted
from skew_checks.page.parity_plot import parity_plot
from skew_checks.page.signs import more, section
from skew_checks.page.svg import legend, line, rect
from skew_checks.page.tables import features, manifest
from skew_checks.result.report import SkewReport

HERE = Path(__file__).resolve().parent
ICON = "data:,"
"""So that no browser asks for a favicon."""

Section = tuple[str, str, Html | None]
"""Id, words in the list of parts, content."""


def page(report: SkewReport) -> str:
    """The HTML text. With less and less in its tables where it would be over 5 MB; the page says what it left out."""
    limits = Limits()
    while len((text := _page(report, limits)).encode()) > LARGEST_PAGE and limits != limits.halved():
        limits = limits.halved()
    return text


def document(title: str, *content: Child) -> str:
    """A whole HTML file around the content: style, script, and a policy that forbids loading anything."""
    style, script = _asset("style.css"), _asset("copy.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("link", rel="icon", href=ICON),
        tag("style", trusted(style)),
    )
    skip = tag("a", "Skip to the content", href="#content", class_="skip")
    body = tag("body", skip, *content, tag("script", trusted(script)))
    return f"<!doctype html>\n{tag('html', top, body, lang='en')}\n"


def _page(report: SkewReport, limits: Limits) -> str:
    parts = [part for part in _sections(report, limits) if part[2] is not None]
    day = in_utc(report.window.start or report.checked_at)
    title = f"{OUTCOME_WORDS[report.outcome]}: skew check {day:%Y-%m-%d}"
    banner = head(report, [(name, words) for name, words, _ in parts], limits)
    main = tag("main", [content for _, _, content in parts], id="content", tabindex="-1")
    told = "Skew: a served value differs from the offline value of the same request. Drift: the population changed."
    foot = tag(
        "footer", tag("div", told, " How to read this: ", tag("code", "docs/reading-the-skew-report.md"))
    )
    return document(title, banner, main, foot)


def _sections(report: SkewReport, limits: Limits) -> Iterator[Section]:
    yield "defects", f"Defects ({len(report.defects)})", defects(report, limits)
    yield "notes", "Notes", _notes(report, limits)
    yield "drift", f"Drift ({len(drifted(report))})", drift(report, limits)
    yield "ranking", "Ranking", _ranking(report, limits)
    yield "causes", "Causes and slices", _causes(report, limits)
    yield "hours", "Hours", _hours(report, limits)
    yield "parity", "Served against offline", _parity(report, limits)
    yield "distributions", "Distributions", distributions(report, limits)
    yield "freshness", "Freshness", _freshness(report, limits)
    yield "features", "Features", features(report, limits)
    yield "manifest", "Manifest", manifest(report, limits)


def _notes(report: SkewReport, limits: Limits) -> Html | None:
    if not report.notes:
        return None
    notes = [tag("li", clipped(note, 6 * limits.text)) for note in report.notes[: limits.notes]]
    left = more(len(report.notes) - len(notes), "notes")
    return section("notes", "Notes", None, tag("div", tag("ul", notes, class_="points"), class_="card"), left)


def _ranking(report: SkewReport, limits: Limits) -> Html | None:
    content = ranking(report, limits)
    lead = "Logged requests scored again with the right values; NDCG@10 is how much better those would have been."
    return content and section("ranking", "Change of the ranking", lead, tag("div", content, class_="card"))


def _causes(report: SkewReport, limits: Limits) -> Html | None:
    bars = causes(report, limits)
    rows = [(one.features[0] if one.features else one.view, one.slices) for one in report.defects]
    slices = heat_map(rows, limits, "Defects by slice")
    if bars is None and slices is None:
        return None
    lead = "Why values differ, and in which part of the traffic: share of values that differ, in per cent."
    where = (
        tag("div", tag("h4", "Worst feature of each defect by slice"), slices, class_="card")
        if slices
        else None
    )
    return section("causes", "Causes and slices", lead, bars and tag("div", bars, class_="plots one"), where)


def _hours(report: SkewReport, limits: Limits) -> Html | None:
    plots = [hourly_plot(one, limits.points) for one in report.hourly[: limits.plots]]
    key = legend(
        (line(0, 6, 18, 6, "l-mismatch"), "mismatches"),
        (line(0, 6, 18, 6, "l-null"), "null"),
        (line(0, 6, 18, 6, "l-default"), "default"),
        (rect(3, 1, 12, 11, "f-quiet"), "requests"),
    )
    lead = "Share of values by hour of the request (UTC)."
    return _plots("hours", "Hour by hour", lead, key, plots, len(report.hourly))


def _parity(report: SkewReport, limits: Limits) -> Html | None:
    plots = [parity_plot(one, limits.points) for one in report.parity[: limits.plots]]
    key = legend(
        (tag("circle", cx=9, cy=6, r=4, class_="o-bad"), "differs"),
        (tag("circle", cx=9, cy=6, r=3, class_="f-same"), "equal"),
    )
    lead = "Upwards what was served, to the right what the offline path gives. On the line they are equal."
    return _plots("parity", "Served against offline", lead, key, plots, len(report.parity))


def _freshness(report: SkewReport, limits: Limits) -> Html | None:
    ordered = sorted(report.freshness, key=lambda one: BY_SEVERITY[one.status])
    plots = [freshness_plot(one, limits.points) for one in ordered[: limits.plots]]
    lead = "Share of rows that were at most so old when they were read. A row may be behind by the view's target."
    return _plots("freshness", "Freshness", lead, None, plots, len(ordered))


def _plots(name: str, title: str, lead: str, key: Html | None, plots: list[Html], every: int) -> Html | None:
    if not plots:
        return None
    return section(
        name, title, lead, key, tag("div", plots, class_="plots"), more(every - len(plots), "plots")
    )


@cache
def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what it lets pass."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
