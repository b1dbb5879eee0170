"""The list of what is wrong, worst first."""

from __future__ import annotations

from skew_checks.formats.cause_help import HELP
from skew_checks.formats.wording import clipped, count, duration, in_utc, instant, percent, shown
from skew_checks.page.limits import Limits
from skew_checks.page.markup import Child, Html, breakable, joined, tag
from skew_checks.page.signs import cell, command, more, pill, range_bar, row_head, section, table, text_cell
from skew_checks.result.report import Defect, EvidenceRow, SkewReport

NOTHING = (
    "No served value differs from what the offline path gives for the same request by more than is allowed."
)


def defects(report: SkewReport, limits: Limits) -> Html | None:
    """None where there is none to tell of because nothing could be judged."""
    if not report.defects:
        return None
    lead = "Served values that differ from the offline value of the same request, by the harm done to the ranking."
    shown_ones = report.defects[: limits.defects]
    cards = [_card(place, defect, report, limits) for place, defect in enumerate(shown_ones, 1)]
    left = len(report.defects) - len(shown_ones)
    title = f"Defects ({len(report.defects)})"
    return section("defects", title, lead, _overview(report, limits), cards, more(left, "defects"))


def _overview(report: SkewReport, limits: Limits) -> Html | None:
    """A line for each, where there are several."""
    if len(report.defects) < 2:
        return None
    rows = [_line(place, defect, limits) for place, defect in enumerate(report.defects[: limits.defects], 1)]
    heads = [
        ("", "n"),
        ("", ""),
        ("what", "name"),
        ("cause", ""),
        ("affected", "n"),
        ("top 10s changed", "n"),
    ]
    return tag("div", table([*heads, ("since (UTC)", "")], rows, "All defects, by harm"), class_="card")


def _line(place: int, defect: Defect, limits: Limits) -> list[Html]:
    link = tag("a", breakable(clipped(defect.headline, limits.text)), href=f"#defect-{place}")
    changed = "unknown" if defect.effect is None else percent(defect.effect.changed)
    since = "unknown" if defect.since is None else f"{in_utc(defect.since):%m-%d %H:%M}"
    return [
        cell(place, "n"),
        cell(pill(defect.status)),
        row_head(link, "wide"),
        cell(HELP[defect.cause].title, "t"),
        cell(percent(defect.rate.share), "n"),
        cell(changed, "n"),
        cell(since, "t"),
    ]


def _card(place: int, defect: Defect, report: SkewReport, limits: Limits) -> Html:
    top = tag(
        "div",
        pill(defect.status),
        tag("span", f"{place} of {len(report.defects)}"),
        tag("span", HELP[defect.cause].title, " in ", tag("b", breakable(clipped(defect.view, limits.text)))),
        class_="top",
    )
    return tag(
        "article",
        top,
        tag("h3", breakable(clipped(defect.headline, 4 * limits.text)), id=f"defect-{place}"),
        _facts(defect, report),
        tag("h4", f"Features ({len(defect.features)}), worst first"),
        _chips(defect, limits),
        _seen(defect, limits),
        _evidence(defect, place, limits),
        tag("h4", "Replay this evidence"),
        command(clipped(defect.command, 20 * limits.text), f"that replays defect {place}"),
        _help(defect),
        class_=f"card {defect.status.value}",
        aria_labelledby=f"defect-{place}",
    )


def _facts(defect: Defect, report: SkewReport) -> Html:
    rate = defect.rate
    affected: Child = (
        tag("strong", f"{percent(rate.share)} of {defect.unit.value}"),
        f"{rate.bad:,} of {rate.units:,}; surely over {percent(rate.lower)}, allowed {percent(rate.budget)}",
        range_bar(rate),
    )
    return tag(
        "dl",
        _fact("Affected", affected),
        _fact("Since", _since(defect, report)),
        _fact("Effect on the ranking", _effect(defect)),
        class_="facts",
    )


def _fact(name: str, content: Child) -> Html:
    return tag("div", tag("dt", name), tag("dd", content))


def _since(defect: Defect, report: SkewReport) -> Child:
    if defect.since is None:
        return tag("strong", "unknown")
    end, name = report.window.end, "the window's end"
    if end is None:
        end, name = report.checked_at, "the check"
    before = (in_utc(end) - in_utc(defect.since)).total_seconds()
    told = f"{duration(before)} before {name}" if before > 0 else None
    last = None if defect.last is None else f"; last seen {instant(defect.last)}"
    return tag("strong", instant(defect.since)), told, last, tag("br"), "bundle ", breakable(defect.bundle)


def _effect(defect: Defect) -> Child:
    effect = defect.effect
    if effect is None:
        return tag("strong", "not measured")
    stay = f"where values differ, {10 * effect.overlap_at_10:.1f} of the top 10 stay; Kendall tau "
    moved = f"{effect.kendall_tau:.3f}; scores move by {effect.score_shift:.3g}"
    gain = None if effect.ndcg_at_10 is None else f"; right values change NDCG@10 by {effect.ndcg_at_10:+.4f}"
    changed = "no top 10 changes" if effect.changed == 0 else f"{percent(effect.changed)} of top 10s change"
    return tag("strong", changed), stay, moved, gain, f" ({count(effect.requests, 'request')} scored again)"


def _chips(defect: Defect, limits: Limits) -> Html:
    names = defect.features[: limits.features_of_a_defect]
    chips = [tag("li", tag("code", breakable(clipped(name, limits.text)))) for name in names]
    left = len(defect.features) - len(names)
    if left > 0:
        chips.append(tag("li", f"and {left:,} more", class_="more"))
    return tag("ul", chips, class_="chips")


def _seen(defect: Defect, limits: Limits) -> Html | None:
    facts = [tag("li", clipped(fact, 4 * limits.text)) for fact in defect.facts[: limits.facts]]
    total = sum(share.bad for share in defect.causes)
    if total and len(defect.causes) > 1:
        parts = ", ".join(
            f"{share.name} {percent(share.bad / total)}" for share in defect.causes[: limits.facts]
        )
        facts.append(tag("li", f"mismatches looked at, by cause: {clipped(parts, 4 * limits.text)}"))
    return joined((tag("h4", "What was seen"), tag("ul", facts, class_="points"))) if facts else None


def _evidence(defect: Defect, place: int, limits: Limits) -> Html | None:
    rows = defect.evidence[: limits.evidence]
    if not rows:
        return None
    clocks = any(row.at_event_time is not None or row.at_watermark is not None for row in rows)
    heads = ["request", "served", "offline", *(["at event time", "at watermark"] if clocks else ())]
    heads += ["row served", "row due", "user", "item", "time (UTC)"]
    cells = [_row(row, limits, clocks=clocks) for row in rows]
    content = table([(head, "") for head in heads], cells, f"Evidence of defect {place}")
    left = len(defect.evidence) - len(rows)
    title = tag("summary", f"Evidence: {count(len(rows), 'row')}")
    return tag("details", title, content, more(left, "rows"), open=place <= 3)


def _row(row: EvidenceRow, limits: Limits, *, clocks: bool) -> list[Html]:
    values = [row.offline, *((row.at_event_time, row.at_watermark) if clocks else ())]
    times = (row.served_event_time, row.offline_event_time)
    return [
        row_head(tag("code", breakable(clipped(row.request_id, limits.text))), "id"),
        text_cell(shown(row.served, limits.text), "differs"),
        *(text_cell(shown(value, limits.text)) for value in values),
        *(cell("none" if at is None else f"{in_utc(at):%m-%d %H:%M}", "t") for at in times),
        text_cell(clipped(row.user_id, limits.text)),
        text_cell(clipped(row.item_id, limits.text)),
        cell(f"{in_utc(row.request_time):%m-%d %H:%M:%S}", "t"),
    ]


def _help(defect: Defect) -> Html:
    told = HELP[defect.cause]
    return tag(
        "div",
        tag("h4", f"What “{told.title.lower()}” means, and what to do"),
        tag("p", told.meaning, " ", _marked(told.mend)),
        tag("p", "More: ", tag("code", told.page(defect.cause)), class_="soft"),
        class_="help",
    )


def _marked(sentence: str) -> list[Child]:
    """`code` of our own sentences as code."""
    return [tag("code", part) if place % 2 else part for place, part in enumerate(sentence.split("`"))]
