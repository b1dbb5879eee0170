"""What is read first: the verdict in one sentence, and how much it rests on."""

from __future__ import annotations

from skew_checks.formats.wording import OUTCOME_STATUS, clipped, instant, percent, window_words
from skew_checks.page.limits import Limits
from skew_checks.page.markup import Html, breakable, tag
from skew_checks.page.signs import pill
from skew_checks.result.parts import Outcome, Status
from skew_checks.result.report import SkewReport
from skew_checks.thresholds import Thresholds

OUTCOME_PILLS = {Outcome.INTERNAL: "The check failed", Outcome.NOT_ENOUGH: "Not enough data"}


def head(report: SkewReport, sections: list[tuple[str, str]], limits: Limits) -> Html:
    """The banner with the list of what follows: (id, words)."""
    status = OUTCOME_STATUS[report.outcome]
    links = [tag("li", tag("a", words, href=f"#{name}")) for name, words in sections]
    kicker = tag(
        "div",
        pill(status, OUTCOME_PILLS.get(report.outcome)),
        tag("span", "Skew check"),
        tag("span", window_words(report.window)),
        class_="kicker",
    )
    inside = tag(
        "div",
        kicker,
        tag("h1", breakable(clipped(report.sentence, 6 * limits.text))),
        tag("p", _under(report, limits), class_="under"),
        _tiles(report),
        tag("nav", tag("ul", links), aria_label="Parts of this report"),
    )
    return tag("header", inside, class_=status.value)


def _under(report: SkewReport, limits: Limits) -> list[Html | str]:
    bundles = ", ".join(report.bundles[:4]) or "no bundle"
    rest = f" and {len(report.bundles) - 4} more" if len(report.bundles) > 4 else ""
    return [
        f"Checked {instant(report.checked_at)}, exit code {report.exit_code}. Bundle: ",
        breakable(clipped(bundles + rest, 3 * limits.text)),
    ]


def _tiles(report: SkewReport) -> Html:
    volume = report.volume
    failed = sum(one.status is Status.FAIL for one in report.defects)
    tiles = [
        ("failing defects", f"{failed}", failed > 0),
        ("warnings", f"{len(report.defects) - failed}", False),
        ("requests judged", f"{volume.requests:,}", not volume.requests),
        ("candidate rows", f"{volume.rows:,}", False),
        ("features", f"{volume.features:,}", False),
        ("values compared", f"{volume.values:,}", False),
        ("users", f"{volume.users:,}", False),
        ("items", f"{volume.items:,}", False),
        ("dropped by the log", percent(volume.drop_share), volume.drop_share > Thresholds().drop_share),
    ]
    if volume.degraded:
        tiles.append(("degraded, not judged", f"{volume.degraded:,}", False))
    if volume.duplicates:
        tiles.append(("duplicate log rows", f"{volume.duplicates:,}", True))
    return tag("dl", [_tile(*tile) for tile in tiles], class_="tiles")


def _tile(name: str, value: str, is_alarm: bool) -> Html:
    return tag("div", tag("dt", name), tag("dd", value, class_="alarm" if is_alarm else None))
