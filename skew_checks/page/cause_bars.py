"""Mismatches by cause, and what each defect did to the ranking: bars."""

from __future__ import annotations

from collections import Counter

from skew_checks.formats.cause_help import HELP
from skew_checks.formats.wording import clipped, count, percent
from skew_checks.page.limits import Limits
from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.scale import Scale
from skew_checks.page.signs import cell, in_bar, pill, row_head, table
from skew_checks.page.svg import drawing, plot, rect
from skew_checks.result.parts import Effect, Status
from skew_checks.result.report import Defect, SkewReport

WIDTH, ROW = 360, 38


def causes(report: SkewReport, limits: Limits) -> Html | None:
    """None where there was no mismatch to look at."""
    counted: Counter[str] = Counter()
    for defect in report.defects:
        counted.update({share.name: share.bad for share in defect.causes or ()})
    listed = [(name, bad) for name, bad in counted.most_common(limits.plots) if bad > 0]
    if not listed:
        return None
    titles = {cause.value: told.title for cause, told in HELP.items()}
    total, most = sum(counted.values()), listed[0][1]
    scale = Scale(0.0, float(most), 0.0, float(WIDTH))
    drawn = []
    for place, (name, bad) in enumerate(listed):
        top = place * ROW
        words = titles.get(name, clipped(name, 30))
        told = f"{bad:,}  ({percent(bad / total)})"
        drawn += [
            tag("text", words, x=0, y=top + 13, class_="strong"),
            tag("text", told, x=WIDTH, y=top + 13, text_anchor="end"),
            rect(0, top + 18, WIDTH, 12, "f-track"),
            rect(0, top + 18, max(scale(bad), 1.0), 12, "f-bad", title=f"{words}: {bad:,}"),
        ]
    label = "Mismatches by cause: " + ", ".join(f"{name} {bad:,}" for name, bad in listed)
    picture = drawing(label, drawn, width=WIDTH, height=ROW * len(listed) + 4)
    return plot("Causes", f"{count(total, 'mismatch', 'mismatches')} looked at", picture)


def ranking(report: SkewReport, limits: Limits) -> Html | None:
    """What each defect, and each drift whose effect was measured, changed in the ranking."""
    measured = [(defect, defect.effect) for defect in report.defects if defect.effect is not None]
    rows = [_ranking_row(defect, effect, limits) for defect, effect in measured[: limits.defects]]
    rows += [
        _cells(one.effect, one.status, row_head(_name(one.feature, limits)), f"drift against {one.against}")
        for one in report.drift[: limits.drift]
        if one.effect is not None
    ]
    heads = [("feature", "name"), ("status", ""), ("cause", ""), ("top 10 changed", ""), ("of 10 stay", "n")]
    heads += [("Kendall tau", "n"), ("score moves", "n"), ("NDCG@10", "n"), ("harm", "n")]
    return table(heads, rows, "Change of the ranking by defect") if rows else None


def _ranking_row(defect: Defect, effect: Effect, limits: Limits) -> list[Html]:
    more = f" and {len(defect.features) - 1} more" if len(defect.features) > 1 else ""
    name = (_name(defect.features[0] if defect.features else defect.view, limits), more)
    return _cells(effect, defect.status, row_head(name), HELP[defect.cause].title)


def _cells(effect: Effect, status: Status, name: Html, cause: str) -> list[Html]:
    gain = "unknown" if effect.ndcg_at_10 is None else f"{effect.ndcg_at_10:+.4f}"
    return [
        name,
        cell(pill(status)),
        cell(cause, "t"),
        cell((in_bar(effect.changed, "f-bad"), percent(effect.changed)), "t"),
        cell(f"{10 * effect.overlap_at_10:.2f}", "n"),
        cell(f"{effect.kendall_tau:.3f}", "n"),
        cell(f"{effect.score_shift:.3g}", "n"),
        cell(gain, "n"),
        cell(f"{effect.harm:.4f}", "n"),
    ]


def _name(feature: str, limits: Limits) -> Html:
    return tag("code", breakable(clipped(feature, limits.text)))
