"""When did it start? Nights side by side, from reports of several versions, whatever else lies in the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from browser import Browser, browser, program
from click.testing import CliRunner
from rich.console import Console
from skew_reports import DAY, NIGHT, SCRIPT, defect, many_defects, ok_night, thin_night
from test_skew_formats import FIRST_SCHEMA

from marquee.skew_history import FILE
from marquee.skew_history import history as verb
from skew_checks.formats.history import History, read_history, sentence, with_history, with_nights_of
from skew_checks.formats.history_table import render_history
from skew_checks.formats.report_files import write
from skew_checks.formats.report_json import to_json
from skew_checks.page.history import history_page
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Outcome, Window
from skew_checks.result.report import SkewReport

STALE, UNIT = Cause.MATERIALIZATION_GAP, Cause.UNIT


def night(day: int, *causes: Cause, outcome: Outcome | None = None) -> SkewReport:
    """A day of March 2026 with a defect of each cause, in a view of its own each."""
    start = NIGHT.replace(day=day)
    found = tuple(
        replace(
            defect(cause, 0, feature_names=("f",)),
            view=f"view_{cause.value}",
            since=start + timedelta(hours=2),
        )
        for cause in causes
    )
    result = outcome or (Outcome.FAIL if causes else Outcome.OK)
    return ok_night(window=Window(start, start + DAY), checked_at=start + DAY, outcome=result, defects=found)


def history_of(folder: Path, *reports: SkewReport) -> History:
    for report in reports:
        write(report, folder)
    return read_history(folder)


def opened(history: History) -> dict[str, str | None]:
    """View to the night since which its defect is open."""
    return {
        course.key[0]: since.label if (since := history.since(course)) else None
        for course in history.courses()
    }


def test_a_defect_is_open_since_the_first_night_of_its_unbroken_row(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        night(14, STALE),
        night(11, STALE),
        night(12),
        night(13, STALE, UNIT),
        night(10, UNIT),
        night(15, STALE),
    )
    assert [one.label[-2:] for one in history.nights] == ["10", "11", "12", "13", "14", "15"]
    assert opened(history) == {"view_materialization-gap": "2026-03-13", "view_unit": None}
    assert sentence(history) == "1 defect open on 2026-03-15, the oldest since 2026-03-13."


def test_a_night_without_a_defect_says_so(tmp_path: Path) -> None:
    assert (
        sentence(history_of(tmp_path, night(10, UNIT), night(11))) == "OK on 2026-03-11: no defect is open."
    )
    assert sentence(History(())) == "There is no skew report yet."


def test_only_the_last_nights_are_kept(tmp_path: Path) -> None:
    history_of(tmp_path, *(night(day, UNIT) for day in range(1, 9)))
    history = read_history(tmp_path, nights=3)
    assert [one.label for one in history.nights] == ["2026-03-06", "2026-03-07", "2026-03-08"]
    assert opened(history) == {"view_unit": "2026-03-06"}


def test_older_and_newer_schemas_are_read_and_the_unreadable_named(tmp_path: Path) -> None:
    (tmp_path / "skew-2026-01-31.json").write_text(json.dumps(FIRST_SCHEMA))
    newer = {**to_json(night(14, UNIT)), "schema": 7, "more": 1}
    (tmp_path / "skew-2026-03-14.json").write_text(json.dumps(newer))
    unknown = to_json(night(15, UNIT))
    unknown["defects"][0]["cause"] = "cosmic-rays"
    (tmp_path / "skew-2026-03-15.json").write_text(json.dumps({**unknown, "schema": 7}))
    (tmp_path / "skew-half.json").write_text('{"schema": 1, "window": {')
    (tmp_path / "skew-bytes.json").write_bytes(b"\xff\xfe")
    (tmp_path / "skew-folder.json").mkdir()
    (tmp_path / "evaluation-7.json").write_text("{}")
    history = read_history(tmp_path)
    assert [one.label for one in history.nights] == ["2026-01-31", "2026-03-14"]
    assert opened(history) == {"view_unit": "2026-03-14", "user_activity": None}
    why = {one.path.name: one.why for one in history.unreadable}
    assert set(why) == {"skew-2026-03-15.json", "skew-half.json", "skew-bytes.json", "skew-folder.json"}
    assert "'cosmic-rays' is none of" in why["skew-2026-03-15.json"]
    assert why["skew-half.json"].startswith("no JSON")


def test_a_folder_that_does_not_exist_has_no_nights(tmp_path: Path) -> None:
    assert read_history(tmp_path / "none") == History(())


def test_windows_that_are_no_day_are_marked(tmp_path: Path) -> None:
    half = replace(night(12, UNIT), window=Window(NIGHT, NIGHT + DAY / 2))
    sample = replace(night(15), window=Window(NIGHT + DAY, NIGHT + 2 * DAY, 100))
    assert [one.label for one in history_of(tmp_path, half, sample).nights] == ["2026-03-14*", "2026-03-15*"]


def test_since_goes_back_over_days_without_a_gap() -> None:
    earlier = [night(day, STALE) for day in (10, 12, 13)]
    found = with_history(night(14, STALE, UNIT), earlier)
    assert [one.since for one in found.defects] == [
        NIGHT.replace(day=12) + timedelta(hours=2),
        NIGHT.replace(day=14) + timedelta(hours=2),
    ]


def test_since_stays_where_earlier_nights_have_nothing_to_say() -> None:
    report = night(14, STALE)
    assert with_history(report, []) == report
    assert with_history(report, [night(13, UNIT), night(12, STALE)]) == report, "another cause"
    assert with_history(report, [night(14, STALE), night(15, STALE)]) == report, (
        "the night itself, and a later one"
    )
    part = replace(night(13, STALE), window=Window(NIGHT - DAY / 2, NIGHT))
    assert with_history(report, [part]) == report, "no whole day"
    open_window = replace(report, window=Window())
    assert with_history(open_window, [night(13, STALE)]) == open_window


def test_since_is_read_from_the_nights_that_lie_in_the_folder(tmp_path: Path) -> None:
    history_of(tmp_path, night(10, STALE), night(12, STALE), night(13, STALE, UNIT))
    report = night(14, STALE, UNIT, Cause.TTL)
    assert [one.since for one in with_nights_of(report, tmp_path).defects] == [
        NIGHT.replace(day=day) + timedelta(hours=2) for day in (12, 13, 14)
    ]
    (tmp_path / "skew-2026-03-12.json").write_text("{")
    stale = with_nights_of(report, tmp_path).defects[0]
    assert stale.since == NIGHT.replace(day=13) + timedelta(hours=2), "what cannot be read ends the row"
    assert with_nights_of(report, tmp_path / "none") == report
    assert with_nights_of(replace(report, window=Window()), tmp_path) == replace(report, window=Window())


def printed(history: History, width: int = 80) -> list[str]:
    console = Console(width=width, force_terminal=False, no_color=True, record=True, file=None)
    with console.capture() as captured:
        console.print(render_history(history))
    return captured.get().splitlines()


def test_the_table_fits_80_columns_and_shows_each_night_as_a_letter(tmp_path: Path) -> None:
    thin = replace(thin_night(), window=Window(NIGHT - DAY, NIGHT))
    lines = printed(
        history_of(tmp_path, night(11, STALE), night(12), thin, night(14, STALE, UNIT), many_defects())
    )
    assert all(len(line) <= 80 for line in lines)
    lines = printed(history_of(tmp_path / "b", night(11, STALE), night(12), thin, night(14, STALE, UNIT)))
    strips = {line.split()[1] for line in lines if "view_" in line}
    assert strips == {"F.?F", "..?F"}
    assert lines[0] == "2 defects open on 2026-03-14, the oldest since 2026-03-14."


def test_the_verb_prints_the_table_and_writes_the_page(tmp_path: Path) -> None:
    history_of(tmp_path, night(13, STALE), night(14, STALE))
    (tmp_path / "skew-broken.json").write_text("{")
    done = CliRunner().invoke(verb, ["--reports", str(tmp_path)], standalone_mode=False)
    assert done.return_value == 0
    assert FILE in {path.name for path in tmp_path.iterdir()}
    text = (tmp_path / FILE).read_text()
    assert 'href="skew-2026-03-14.html"' in text
    assert "skew-<wbr>broken" in text or "skew-broken.json" in text


def test_the_verb_without_reports_says_how_to_make_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(verb, ["--reports", str(tmp_path)], standalone_mode=False)
    assert done.return_value == 1
    assert not (tmp_path / FILE).exists()


def test_a_page_elsewhere_links_to_nothing(tmp_path: Path) -> None:
    history_of(tmp_path / "reports", night(14, STALE))
    page = tmp_path / "elsewhere.html"
    CliRunner().invoke(
        verb, ["--reports", str(tmp_path / "reports"), "--page", str(page)], standalone_mode=False
    )
    assert "skew-2026-03-14.html" not in page.read_text()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = program()
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH: apt-get install chromium")
    with browser(found, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_loads_nothing_and_runs_no_text(chromium: Browser, tmp_path: Path, width: int) -> None:
    hostile = replace(night(13, UNIT), sentence=SCRIPT)
    history = history_of(tmp_path, *(night(day, STALE) for day in range(1, 13)), hostile, many_defects())
    (tmp_path / FILE).write_text(history_page(history, linked=True), encoding="utf-8")
    shown = chromium.page(tmp_path / FILE, width=width)
    assert shown.complaints() == []
    assert len([url for url in shown.requests() if not url.startswith("data:")]) == 1
    assert shown.ask("document.documentElement.scrollWidth") <= width
    assert shown.ask("document.scripts.length") == 1
    assert SCRIPT in shown.ask("document.body.innerText")
