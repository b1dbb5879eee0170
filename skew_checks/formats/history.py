"""Nights side by side: which defects came, stayed and went, from the JSON reports that lie in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from feature_repo.errors import ReportError
from skew_checks.formats.report_json import loads
from skew_checks.formats.wording import BY_SEVERITY, DAY, OUTCOME_WORDS, count, in_utc, is_day
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Status
from skew_checks.result.report import Defect, SkewReport

LONGEST_ROW = 366
"""Nights that are looked at for the beginning of a defect."""
Key = tuple[str, Cause]
"""What makes a defect of one night the same as one of another: view and cause."""


@dataclass(frozen=True)
class Night:
    """One report and its file."""

    path: Path
    report: SkewReport

    @property
    def at(self) -> datetime:
        """What nights are sorted by: the window's first instant, else its end, else when the check ran."""
        return in_utc(self.report.window.start or self.report.window.end or self.report.checked_at)

    @property
    def label(self) -> str:
        """The day; other windows than days and samples are marked, as they do not compare with the rest."""
        window = self.report.window
        return f"{self.at:%Y-%m-%d}" + ("" if is_day(window) and window.sample is None else "*")


@dataclass(frozen=True)
class Unreadable:
    """A file that is no report, and why."""

    path: Path
    why: str


@dataclass(frozen=True)
class Course:
    """One defect over the nights."""

    key: Key
    nights: tuple[Defect | None, ...]
    """As `History.nights`; None where it was not found."""

    @property
    def worst(self) -> Defect:
        """By status, then by share."""
        found = [defect for defect in self.nights if defect is not None]
        return min(found, key=lambda one: (BY_SEVERITY[one.status], -one.rate.share))

    @property
    def is_open(self) -> bool:
        """Whether the last night has it."""
        return self.nights[-1] is not None


@dataclass(frozen=True)
class History:
    """Oldest night first."""

    nights: tuple[Night, ...]
    unreadable: tuple[Unreadable, ...] = ()

    def courses(self) -> tuple[Course, ...]:
        """Every defect of any night: those that are open first, the worst of them first."""
        by_night = [_by_key(night.report) for night in self.nights]
        keys = dict.fromkeys(key for found in by_night for key in found)
        courses = [Course(key, tuple(found.get(key) for found in by_night)) for key in keys]
        return tuple(sorted(courses, key=_importance))

    def since(self, course: Course) -> Night | None:
        """The first night of the unbroken row that ends with the last night; None where that has it not."""
        first = None
        for night, defect in zip(reversed(self.nights), reversed(course.nights), strict=True):
            if defect is None:
                break
            first = night
        return first


def read_history(folder: Path, *, nights: int | None = None) -> History:
    """The last so many nights, all when None, from `skew-*.json` of any schema version.

    A file that cannot be read is named and left out. A folder that does not exist is empty.
    """
    read = [_read(path) for path in sorted(folder.glob("skew-*.json"))]
    found = [one for one in read if isinstance(one, Night)]
    unreadable = [one for one in read if isinstance(one, Unreadable)]
    found.sort(key=lambda night: (night.at, in_utc(night.report.checked_at)))
    kept = found if nights is None else found[-nights:]
    return History(tuple(kept), tuple(unreadable))


def sentence(history: History) -> str:
    """What is open, and since when: for page and terminal."""
    if not history.nights:
        return "There is no skew report yet."
    last = history.nights[-1]
    still = [course for course in history.courses() if course.is_open]
    if not still:
        return f"{OUTCOME_WORDS[last.report.outcome]} on {last.label}: no defect is open."
    oldest = min((since for course in still if (since := history.since(course))), key=lambda night: night.at)
    return f"{count(len(still), 'defect')} open on {last.label}, the oldest since {oldest.label}."


def with_history(report: SkewReport, earlier: Iterable[SkewReport]) -> SkewReport:
    """The report with each defect's `since` set back to where its unbroken row of nights began.

    Only whole days count, the newest of `earlier` first; a day without a report, or with one that could not judge,
    ends the row.
    """
    before = sorted((one for one in earlier if _comes_before(one, report)), key=_start, reverse=True)
    return replace(report, defects=tuple(_set_back(defect, report, before) for defect in report.defects))


def with_nights_of(report: SkewReport, folder: Path) -> SkewReport:
    """`with_history` of the days before in the folder: as many as have a defect of tonight's, at most a year."""
    if not is_day(report.window):
        return report
    before: list[SkewReport] = []
    still = set(_by_key(report))
    for back in range(1, LONGEST_ROW + 1):
        path = folder / f"skew-{_start(report) - back * DAY:%Y-%m-%d}.json"
        night = _read(path) if still and path.is_file() else None
        if not isinstance(night, Night):
            break
        before.append(night.report)
        still &= set(_by_key(night.report))
    return with_history(report, before)


def _read(path: Path) -> Night | Unreadable:
    try:
        return Night(path, loads(path.read_text(encoding="utf-8")))
    except (ReportError, OSError, UnicodeDecodeError) as error:
        return Unreadable(path, str(error))


def _comes_before(one: SkewReport, report: SkewReport) -> bool:
    return is_day(one.window) and is_day(report.window) and _start(one) < _start(report)


def _start(report: SkewReport) -> datetime:
    assert report.window.start is not None
    return in_utc(report.window.start)


def _set_back(defect: Defect, report: SkewReport, before: Sequence[SkewReport]) -> Defect:
    since, day = defect.since, report
    for night in before:
        same = _by_key(night).get((defect.view, defect.cause))
        if same is None or night.window.end is None or in_utc(night.window.end) != _start(day):
            break
        since, day = same.since or since, night
    return replace(defect, since=since)


def _by_key(report: SkewReport) -> dict[Key, Defect]:
    """Of several with one key, the worst, which comes first."""
    found: dict[Key, Defect] = {}
    for defect in report.defects:
        found.setdefault((defect.view, defect.cause), defect)
    return found


def _importance(course: Course) -> tuple[bool, int, float, Key]:
    worst = course.worst
    harm = worst.effect.harm if worst.effect else worst.rate.share / 1e6
    return not course.is_open, BY_SEVERITY.get(worst.status, BY_SEVERITY[Status.OK]), -harm, course.key
