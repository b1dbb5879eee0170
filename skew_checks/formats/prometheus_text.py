"""A skew report as a Prometheus text file, for the node exporter's textfile collector or a push gateway."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from skew_checks.formats.wording import in_utc
from skew_checks.result.parts import Status
from skew_checks.result.report import SkewReport

Labels = tuple[str, ...]


class _Night(Collector):
    """The figures of one report."""

    def __init__(self, report: SkewReport) -> None:
        self.report = report

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from _single(self.report)
        yield from _defects(self.report)
        yield from _features(self.report)
        yield from _freshness(self.report)
        yield from _drift(self.report)


def prometheus_text(report: SkewReport) -> str:
    """Gauges named `marquee_skew_*`; shares in [0, 1], instants in Unix seconds.

    A status is a number: -1 not enough data, 0 ok, 1 warn, 2 fail.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Night(report))
    return generate_latest(registry).decode()


def _single(report: SkewReport) -> Iterator[GaugeMetricFamily]:
    volume, window = report.volume, report.window
    figures: dict[str, tuple[str, float | None]] = {
        "exit_code": ("0 ok, 1 warn, 2 fail, 3 not enough data, 4 the check failed", report.exit_code),
        "checked_timestamp_seconds": ("When the check ran", _unix(report.checked_at)),
        "window_start_timestamp_seconds": ("First request time", _unix(window.start)),
        "window_end_timestamp_seconds": ("Requests are before", _unix(window.end)),
        "requests": ("Requests judged", volume.requests),
        "rows": ("Candidate rows judged", volume.rows),
        "values": ("Single values compared", volume.values),
        "degraded_requests": ("Requests answered with replaced values", volume.degraded),
        "duplicate_log_rows": ("Log rows that repeat another", volume.duplicates),
        "dropped_requests": ("Requests the log's writers dropped", volume.dropped),
        "dropped_share": ("Of all that should be in the log", volume.drop_share),
        "lost_segments": ("Segments of the log cut off in writing", volume.lost_segments),
    }
    for name, (told, value) in figures.items():
        if value is not None:
            yield GaugeMetricFamily(f"marquee_skew_{name}", told, value=value)


def _defects(report: SkewReport) -> Iterator[GaugeMetricFamily]:
    counted = {(status.value,): 0.0 for status in (Status.FAIL, Status.WARN)}
    for defect in report.defects:
        counted[(defect.status.value,)] = counted.get((defect.status.value,), 0.0) + 1
    yield _family("defects", "Defects found", ("status",), counted.items())
    labels, harm, since = ("view", "cause"), [], []
    for defect in report.defects:
        named = (defect.view, defect.cause.value)
        harm.append((named, defect.effect.harm if defect.effect else math.nan))
        since.append((named, -(_unix(defect.since) or math.nan)))
    yield _family("defect_harm", "Harm to the ranking, 0 to 1", labels, harm)
    earliest = ((named, -at) for named, at in _worst(since))
    yield _family("defect_since_timestamp_seconds", "First mismatch", labels, earliest)


def _features(report: SkewReport) -> Iterator[GaugeMetricFamily]:
    labels = ("view", "feature", "kind")
    named = [
        ((one.view, one.feature, "model" if one.is_model_column else "stored"), one)
        for one in report.features
    ]
    shares = [(name, one.rate.share) for name, one in named]
    yield _family("mismatch_share", "Served values that differ", labels, shares)
    lower = [(name, one.rate.lower) for name, one in named]
    yield _family("mismatch_share_lower", "Lower bound of it, 99.9 %", labels, lower)
    budgets = [(name, one.rate.budget) for name, one in named]
    yield _family("mismatch_budget", "Largest share allowed", labels, budgets)
    yield _family("feature_status", "Of the comparison", labels, [(n, _status(o.status)) for n, o in named])


def _freshness(report: SkewReport) -> Iterator[GaugeMetricFamily]:
    views = report.freshness
    lagging = [((one.view,), one.lagging.share) for one in views]
    yield _family("lagging_share", "Rows read past the view's freshness target", ("view",), lagging)
    targets = [((one.view,), one.target_seconds) for one in views]
    yield _family("freshness_target_seconds", "The view's freshness target", ("view",), targets)
    ages = [((one.view, name), age) for one in views for name, age in one.age_quantiles.items()]
    yield _family("age_seconds", "Age of rows when read", ("view", "quantile"), ages)


def _drift(report: SkewReport) -> Iterator[GaugeMetricFamily]:
    labels = ("view", "feature", "against")
    named = [((one.view, one.feature, one.against), one) for one in report.drift]
    yield _family("drift_status", "Of the population", labels, [(n, _status(o.status)) for n, o in named])
    told = [(name, one) for name, one in named if one.status is not Status.INSUFFICIENT]
    values = [((*name, test.statistic), test.value) for name, one in told for test in one.tests]
    yield _family("drift", "Value of a statistic", (*labels, "statistic"), values)


def _family(
    name: str, told: str, labels: Labels, values: Iterable[tuple[Labels, float]]
) -> GaugeMetricFamily:
    """One value per label set: two bundles may have a feature of the same name."""
    family = GaugeMetricFamily(f"marquee_skew_{name}", told, labels=labels)
    for named, value in _worst(values):
        family.add_metric(named, value)
    return family


def _worst(values: Iterable[tuple[Labels, float]]) -> list[tuple[Labels, float]]:
    """The largest of each label set; NaN only where there is nothing else."""
    largest: dict[Labels, float] = {}
    for named, value in values:
        known = largest.get(named, math.nan)
        largest[named] = value if math.isnan(known) else max(known, value)
    return list(largest.items())


def _status(status: Status) -> float:
    return {Status.OK: 0.0, Status.WARN: 1.0, Status.FAIL: 2.0, Status.INSUFFICIENT: -1.0}[status]


def _unix(at: datetime | None) -> float | None:
    return None if at is None else in_utc(at).timestamp()
