"""How the population stands against training: news, kept apart from defects."""

from __future__ import annotations

from dataclasses import replace

from skew_checks.formats.wording import BY_SEVERITY, clipped, count, percent
from skew_checks.page.distribution_plot import distribution_plot
from skew_checks.page.heat import heat_map
from skew_checks.page.limits import Limits
from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.signs import cell, more, pill, row_head, section, table
from skew_checks.page.svg import legend, line, rect
from skew_checks.result.parts import Status
from skew_checks.result.population import Binned, Drift, DriftTest
from skew_checks.result.report import SkewReport

LEAD = (
    "The served values may all be right and still be of another population than the model was trained on. That is no "
    "defect of serving: ask whether the world changed, a source broke, or it is time to retrain."
)
REPLAYED = "replayed"
SILENT = "No feature has drifted for sure."
HEADS = [("feature", "name"), ("against", ""), ("status", ""), ("what moved most", ""), ("value", "n")]
HEADS += [("allowed", "n"), ("q", "n"), ("counted", "n"), ("top 10s changed", "n")]


def drift(report: SkewReport, limits: Limits) -> Html | None:
    """None where nothing drifted, and all could be told."""
    found, unknown = drifted(report), undecided(report)
    if not found:
        return section("drift", "Drift", SILENT, _untold(unknown, limits)) if unknown else None
    rows = [_row(one, limits) for one in found[: limits.drift]]
    content = tag("div", table(HEADS, rows, "Drift by feature", tall=len(rows) > 15), class_="card")
    left = more(len(found) - len(rows), "features")
    slices = heat_map([(one.feature, one.slices) for one in found], limits, "Drift by slice")
    where = tag("div", tag("h4", "In which slices"), slices, class_="card") if slices else None
    return section("drift", f"Drift ({len(found)})", LEAD, content, left, where, _untold(unknown, limits))


def drifted(report: SkewReport) -> list[Drift]:
    """What has moved from training or from the day before, worst first."""
    return [one for one in _found(report) if one.against != REPLAYED]


def _found(report: SkewReport) -> list[Drift]:
    return sorted((one for one in report.drift if one.status in (Status.FAIL, Status.WARN)), key=_order)


def undecided(report: SkewReport) -> tuple[str, ...]:
    """Features of which there is too little to tell."""
    return tuple(dict.fromkeys(one.feature for one in report.drift if one.status is Status.INSUFFICIENT))


def _untold(unknown: tuple[str, ...], limits: Limits) -> Html | None:
    if not unknown:
        return None
    told = f"Too little data to tell of {count(len(unknown), 'feature')}: neither changed nor unchanged"
    names = ", ".join(clipped(name, limits.text) for name in unknown[: limits.drift])
    listed = tag("p", breakable(names), class_="small soft")
    return tag("details", tag("summary", told), listed, more(len(unknown) - limits.drift, "features"))


def _order(one: Drift) -> tuple[int, float]:
    return BY_SEVERITY[one.status], -(one.effect.harm if one.effect else 0.0)


def _row(one: Drift, limits: Limits) -> list[Html]:
    worst = min(one.tests, key=_by_weight, default=None)
    figures = _figures(worst)
    return [
        row_head((tag("code", breakable(clipped(one.feature, limits.text))), _view(one))),
        cell(one.against, "t"),
        cell(pill(one.status)),
        cell("nothing" if worst is None else worst.statistic.replace("_", " "), "t"),
        *(cell(figure, "n") for figure in figures),
        cell(count(one.effective_n, one.unit.value.removesuffix("s")), "n"),
        cell("unknown" if one.effect is None else percent(one.effect.changed), "n"),
    ]  # fmt: skip


def _view(one: Drift) -> Html:
    return tag("div", clipped(one.view, 80), class_="soft small")


def _by_weight(test: DriftTest) -> tuple[int, float]:
    """The worst status first, then the furthest beyond its tolerance."""
    return BY_SEVERITY[test.status], -(test.value / test.tolerance if test.tolerance > 0 else test.value)


def _figures(test: DriftTest | None) -> tuple[str, str, str]:
    if test is None:
        return "", "", ""
    return f"{test.value:.4g}", f"{test.tolerance:.4g}", "" if test.q_value is None else f"{test.q_value:.2g}"


def distributions(report: SkewReport, limits: Limits) -> Html | None:
    """Of features that drifted or have a defect; None without any bins."""
    paired = [one for one in _found(report) if one.against == REPLAYED]
    sides = _sides(report)
    plots = [
        distribution_plot(feature, ", ".join(against), bins, limits.points)
        for feature, (against, bins) in list(sides.items())[: limits.plots]
    ]
    if not plots and not paired:
        return None
    key = legend(
        (rect(0, 1, 18, 11, "f-training"), "training"),
        (rect(5, 1, 8, 11, "f-served"), "served"),
        (line(0, 6, 18, 6, "l-replayed"), "replayed"),
    )
    lead = "Share of each bin, as frozen at training. Special bins (null, defaults, frequent values) stand first."
    drawn = (key, tag("div", plots, class_="plots")) if plots else None
    left = more(len(sides) - len(plots), "distributions")
    return section("distributions", "Distributions", lead, _paired(paired, limits), drawn, left)


def _paired(found: list[Drift], limits: Limits) -> Html | None:
    """Skew, seen in whole populations: it stands beside the defects, not among the drift."""
    if not found:
        return None
    rows = [_row(one, limits) for one in found[: limits.drift]]
    content = table(HEADS, rows, "Served against replayed", tall=len(rows) > 15)
    title = tag("h4", "Served otherwise distributed than replay gives: skew, whatever its cause")
    return tag("div", title, content, more(len(found) - len(rows), "features"), class_="card")


def _sides(report: SkewReport) -> dict[str, tuple[list[str], Binned]]:
    """Of each feature what it is compared with, and the counts of all sides that have the same bins; worst first."""
    sides: dict[str, tuple[list[str], Binned]] = {}
    for one in sorted(report.drift, key=_order):
        if one.bins is None or one.status is Status.INSUFFICIENT:
            continue
        against, bins = sides.get(one.feature, ([], one.bins))
        if one.bins.labels == bins.labels:
            sides[one.feature] = (
                [*against, one.against],
                replace(bins, counts={**one.bins.counts, **bins.counts}),
            )
    return sides
