"""Made-up skew reports: nights such as a check finds them, for all that shows or reads reports."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from skew_checks.judging.rates import rate_of, status_of
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Effect, Outcome, Share, Slice, Status, Unit, Volume, Window
from skew_checks.result.population import Binned, Drift, DriftTest, Freshness, Hourly, Parity
from skew_checks.result.report import Defect, EvidenceRow, FeatureResult, SkewReport

NIGHT = datetime(2026, 3, 14, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
BUNDLE = "20260301T020000-58c2a168"
VIEWS = ("user_activity", "item_popularity", "user_item_history", "item_catalogue", "user_genre_affinity")
UNITS = (Unit.REQUESTS, Unit.ITEM_ROWS, Unit.PAIR_ROWS, Unit.ITEM_ROWS, Unit.REQUESTS)
SURFACES = ("homepage", "search", "more_like_this", "continue_watching")
SCRIPT = "<script>alert(1)</script>"
LONG = "user_genre_affinity_smoothed_completion_rate_documentaries_and_biographies_30d"


def ok_night(**changes: object) -> SkewReport:
    """Everything equal, with what a healthy night shows besides."""
    report = SkewReport(
        window=Window(NIGHT, NIGHT + DAY),
        checked_at=NIGHT + DAY + timedelta(hours=3, minutes=7),
        outcome=Outcome.OK,
        sentence="What was served is what the offline path gives: 230 features agree in 48,210 requests.",
        volume=Volume(48_210, 1_204_512, 92_481_004, 230, 21_044, 14_870, degraded=12),
        bundles=(BUNDLE,),
        features=tuple(feature(name, view, 0) for view in VIEWS for name in names(view)),
        freshness=tuple(freshness(view, place) for place, view in enumerate(VIEWS)),
        manifest={
            "seconds": 41.7,
            "thresholds": {"min_requests": 1, "budget": 0.001, "confidence": 0.999, "seed": 0},
            "versions": {"marquee": "0.1.0", "feast": "0.67.0", "python": "3.11.15"},
        },
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def defective_night() -> SkewReport:
    """One defect with all there is to tell of it."""
    found = late_view()
    return ok_night(
        outcome=Outcome.FAIL,
        sentence="40 features of item_popularity are 26 hours old since 03:12 UTC; 31 % of top 10s change.",
        defects=(found,),
        features=(
            *(feature(name, "item_popularity", 1240) for name in found.features),
            feature("item_long_view_rate_7d", "item_popularity", 1240, is_model_column=True, follows=True),
            *(feature(name, view, 0) for view in VIEWS for name in names(view)),
        ),
        freshness=tuple(freshness(view, place, bad=1240 * (place == 1)) for place, view in enumerate(VIEWS)),
        hourly=tuple(hourly(name, 3) for name in found.features[:3]),
        parity=tuple(parity(name, place) for place, name in enumerate(found.features[:3])),
        drift=tuple(drift(name, "item_popularity", Status.OK) for name in found.features[:3]),
        notes=("12 requests answered with replaced values (level above 0) are not judged",),
    )


def many_defects() -> SkewReport:
    """Twelve defects of different causes; long names, hostile texts, numbers that are none."""
    defects = tuple(
        defect(cause, place, feature_names=(f"{LONG}_{place}", "item_release_age_days", SCRIPT))
        for place, cause in enumerate(list(Cause)[:12])
    )
    return ok_night(
        outcome=Outcome.FAIL,
        sentence="12 defects in 5 views; worst: duplicate log rows in user_activity change 60 % of top 10s.",
        volume=Volume(48_210, 1_204_512, 92_481_004, 230, 21_044, 14_870, 12, 310, 97, 2),
        bundles=(BUNDLE, "20260308T020000-0a11c0de"),
        defects=defects,
        drift=(drift(LONG, "user_genre_affinity", Status.FAIL), drift(SCRIPT, "item_catalogue", Status.WARN)),
        hourly=(hourly(LONG, 20),),
        parity=(parity(LONG, 4), Parity(SCRIPT, (math.nan, math.inf), (1.0, -math.inf), (True, True))),
        notes=(f"the category {SCRIPT} was never seen in training", "97 requests were dropped by the log"),
        manifest={"thresholds": {"budget": math.inf}, SCRIPT: [SCRIPT, math.nan, None], "empty": {}},
    )


def thin_night() -> SkewReport:
    """Too little to judge."""
    return ok_night(
        outcome=Outcome.NOT_ENOUGH,
        sentence="Too little: 3 requests of at least 1,000; nothing differs in what there was.",
        volume=Volume(3, 90, 6_210, 230, 3, 88, dropped=1),
        features=tuple(
            replace(feature(name, view, 0, units=3), status=Status.INSUFFICIENT)
            for view in VIEWS
            for name in names(view)[:3]
        ),
        freshness=(),
    )


def drifting_night() -> SkewReport:
    """Nothing served wrong, another population."""
    found = tuple(
        drift(name, "user_activity", status, slices=(by_surface(0.4), by_hour(0.2)))
        for name, status in zip(
            names("user_activity"), (Status.FAIL, Status.WARN, Status.INSUFFICIENT), strict=False
        )
    )
    return ok_night(
        outcome=Outcome.WARN,
        sentence="Every value is right, but 2 features have drifted from training; 1 could not be told.",
        drift=found,
    )


def empty_night() -> SkewReport:
    """A check of nothing: every list empty."""
    now = NIGHT + DAY
    return SkewReport(Window(), now, Outcome.NOT_ENOUGH, "Nothing to judge: the log is empty.", Volume(), ())


def failed_night() -> SkewReport:
    """The check came to nothing."""
    told = f"The check itself failed: bundle {BUNDLE} is not in /var/lib/marquee/models; restore it."
    return SkewReport(Window(NIGHT, NIGHT + DAY), NIGHT + DAY, Outcome.INTERNAL, told, Volume(), ())


NIGHTS = {
    "ok": ok_night,
    "defect": defective_night,
    "many": many_defects,
    "thin": thin_night,
    "drift": drifting_night,
    "empty": empty_night,
    "failed": failed_night,
}


def names(view: str) -> list[str]:
    """Some features of a view."""
    return [
        f"{view}_{measure}_{days}d"
        for measure in ("exposures", "click_rate", "play_hours")
        for days in (1, 7)
    ]


def feature(
    name: str,
    view: str,
    bad: int,
    *,
    units: int = 14_870,
    is_model_column: bool = False,
    follows: bool = False,
) -> FeatureResult:
    """So many wrong of so many."""
    rate = rate_of(bad, units, budget=0.001)
    unit = UNITS[VIEWS.index(view)]
    return FeatureResult(name, view, is_model_column, unit, status_of(rate), rate, follows)


def late_view() -> Defect:
    """A stale view, as a skipped materialization leaves it."""
    found = defect(
        Cause.MATERIALIZATION_GAP,
        1,
        feature_names=tuple(
            f"{name}_{region}" for region in ("all", "eu", "us") for name in names("item_popularity")
        ),
    )
    return replace(
        found,
        headline="item_popularity is 26 hours old: the materialization of 13 March 03:00 did not run",
        facts=(
            "the row served is the one of 2026-03-12 in 1,240 of 1,240 mismatches; the row due is of 2026-03-13",
            "no materialization interval of this view ends after 2026-03-12 03:00 UTC",
        ),
        since=NIGHT + timedelta(hours=3, minutes=12),
        rate=rate_of(1240, 14_870, budget=0.001),
    )


def defect(cause: Cause, place: int, *, feature_names: tuple[str, ...]) -> Defect:
    """The place, from 0 on, makes it milder."""
    view = VIEWS[place % len(VIEWS)]
    bad = max(14_870 // 3 ** (place + 1), 3)
    rate = rate_of(bad, 14_870, budget=0.001)
    return Defect(
        status=status_of(rate),
        cause=cause,
        headline=f"{view}: {cause.value.replace('-', ' ')} in {feature_names[0]}",
        view=view,
        features=feature_names,
        bundle=BUNDLE,
        unit=UNITS[place % len(VIEWS)],
        rate=rate,
        causes=(Share(cause.value, bad, bad), Share("unexplained", bad // 50, bad)),
        since=NIGHT + place * HOUR - (place % 3) * DAY,
        last=NIGHT + 23 * HOUR,
        command=f"marquee skew check --date 2026-03-14 --view {view} --request 7f3a91c{place:x}04e2 --explain",
        evidence=tuple(evidence(row, place) for row in range(8)),
        slices=(by_surface(0.6 / (place + 1)), by_hour(0.5 / (place + 1))),
        effect=Effect(2000, 0.6 / (place + 1), 0.62, 0.81, 0.034, 0.0041 if place % 2 else None),
        facts=("served = 1000 x offline in 412 of 412 values",),
    )


def evidence(row: int, place: int) -> EvidenceRow:
    """Values of all kinds a feature can have."""
    served = (0.262498111, None, [0.125 * entry for entry in range(40)], SCRIPT, math.inf, "", -1, "drama")
    return EvidenceRow(
        request_id=f"{row:x}5eef88b718f4c7483eddad53470807c",
        user_id=f"u{row:06d}",
        item_id=f"t{place:06d}",
        request_time=NIGHT + row * HOUR,
        served=served[row % len(served)],
        offline=0.263158202 + row,
        at_event_time=0.2625,
        at_watermark=0.2631 if row % 2 else None,
        served_event_time=NIGHT - 2 * DAY,
        offline_event_time=NIGHT - DAY if row % 3 else None,
    )


def by_surface(share: float) -> Slice:
    """The last has nothing to compare."""
    parts = (
        Share(name, round(1000 * share / (place + 1)), 1000 if place < 3 else 0)
        for place, name in enumerate(SURFACES)
    )
    return Slice("surface", tuple(parts))


def by_hour(share: float) -> Slice:
    parts = (
        Share(str(hour), round(400 * share * (hour > 3) * abs(math.sin(hour))), 400) for hour in range(24)
    )
    return Slice("hour", tuple(parts))


def freshness(view: str, place: int, *, bad: int = 0) -> Freshness:
    """Ages of the logistic kind around some hours."""
    middle = 4.0 * 3600 * (place + 1)
    curve = tuple((600.0 * 1.13**step, 1 / (1 + (middle / (600.0 * 1.13**step)) ** 3)) for step in range(60))
    lagging = rate_of(bad, 14_870, budget=0.001)
    ages = {"p50": middle, "p90": 2 * middle, "p99": 4.6 * middle, "max": 9 * middle}
    return Freshness(view, 3600.0 * 6 * (place + 1), status_of(lagging), lagging, ages, curve)


def drift(name: str, view: str, status: Status, slices: tuple[Slice, ...] = ()) -> Drift:
    """Bins as training freezes them: specials, then quantiles."""
    labels = ("null", "nan", "default 0", "= 1", *(f"up to {0.05 * edge:.2f}" for edge in range(1, 21)))
    training = (120.0, 0.0, 900.0, 400.0, *(430.0,) * 20)
    shift = 0.0 if status is Status.OK else 8.0
    served = (150.0, 3.0, 990.0, 380.0, *(430.0 + shift * (place - 10) for place in range(20)))
    tests = (
        DriftTest("psi", 0.31 if shift else 0.001, 0.1, 1e-9, 1e-7, status),
        DriftTest("kolmogorov_smirnov", 0.08, 0.1, 0.02, 0.2, Status.OK),
        DriftTest("null_rate", 0.012, 0.02, None, None, Status.OK),
    )
    effect = Effect(2000, 0.12, 0.93, 0.97, 0.01) if shift else None
    bins = Binned(labels, 4, {"training": training, "served": served, "replayed": served})
    return Drift(name, view, "training", status, 21_044, Unit.REQUESTS, tests, bins, slices, effect)


def hourly(name: str, first: int) -> Hourly:
    """Two days; from an hour on, values are wrong; one hour has no request."""
    hours = tuple(NIGHT - DAY + place * HOUR for place in range(48))
    requests = tuple(0 if place == 30 else round(1500 + 1400 * math.sin(place / 4)) for place in range(48))
    null = tuple(None if place == 30 else 0.012 + 0.004 * math.sin(place) for place in range(48))
    default = tuple(None if place == 30 else 0.03 for place in range(48))
    wrong = tuple(None if place == 30 else 0.0 if place < 24 + first else 0.085 for place in range(48))
    return Hourly(name, hours, requests, null, default, wrong)


def parity(name: str, place: int) -> Parity:
    """A quarter differs."""
    offline = tuple(0.01 * 10 ** (place * 0.01 * point) + 0.002 * point for point in range(200))
    differs = tuple(point % 4 == 0 for point in range(200))
    served = tuple(value * (0.7 if bad else 1.0) for value, bad in zip(offline, differs, strict=True))
    return Parity(name, served, offline, differs)


if __name__ == "__main__":
    import sys
    from pathlib import Path

    from skew_checks.page.page import page

    for night, make in NIGHTS.items():
        (Path(sys.argv[1]) / f"{night}.html").write_text(page(make()))
