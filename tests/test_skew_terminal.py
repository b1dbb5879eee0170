"""The verdict on a terminal: whole on 80 columns, and the words that a person on call needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from skew_reports import LONG, NIGHTS, SCRIPT, defect, defective_night, drifting_night, late_view, ok_night

from skew_checks.formats.report_files import write
from skew_checks.formats.terminal import SHOWN_DEFECTS, render, render_written
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Outcome
from skew_checks.result.report import SkewReport

Make = Callable[[], SkewReport]


def lines(report: SkewReport, width: int = 80) -> list[str]:
    console = Console(width=width, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(render(report))
    return captured.get().splitlines()


def told(report: SkewReport) -> str:
    """Without line breaks."""
    return " ".join(" ".join(lines(report)).split())


@pytest.mark.parametrize("make", NIGHTS.values(), ids=list(NIGHTS))
@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_longer_than_the_terminal_and_the_verdict_comes_first(make: Make, width: int) -> None:
    report = make()
    shown = lines(report, width)
    assert max(len(line) for line in shown) <= width
    words = " ".join(" ".join(shown).split())
    assert words.startswith(("OK", "WARN", "FAIL", "NOT ENOUGH DATA", "CHECK FAILED"))
    assert words.index(report.sentence) < 30


def test_a_defect_is_told_whole() -> None:
    words = told(defective_night())
    found = late_view()
    for wanted in (
        f"1. FAIL {found.headline}",
        "cause materialization-gap: Redis had an older row",
        "8.34 %, 1,240 of 14,870 item rows; surely more than 7.65 %, allowed 0.1 %",
        "since 2026-03-14 03:12 UTC",
        "the top 10 changes in 30 % of requests",
        found.facts[0],
        "example served 0.262498111, offline 0.263158202 (user u000000,",
        "(docs/causes/materialization-gap.md)",
        f"replay {found.command}",
        "item_popularity: 8.34 % of rows read were past the target of 12 h (fail)",
        "because of stored values: item_long_view_rate_7d",
    ):
        assert wanted in words


def test_drift_is_told_apart_from_defects() -> None:
    words = told(drifting_night())
    assert "drift (another population, no defect)" in words
    assert "user_activity_exposures_1d against training: fail, psi 0.31 of 0.1" in words
    assert "1. " not in words


def test_what_does_not_fit_is_counted() -> None:
    many = tuple(defect(Cause.UNIT, place, feature_names=(LONG,)) for place in range(SHOWN_DEFECTS + 5))
    words = told(replace(defective_night(), defects=many, notes=("a note",) * 20))
    assert "... and 5 more defects in the JSON report" in words
    assert "... and 8 more notes in the JSON report" in words


def test_marks_of_the_terminal_library_in_a_text_stay_text() -> None:
    hostile = "[bold]x[/] [link=http://a]y \\[ :smile:"
    report = replace(defective_night(), sentence=hostile, notes=(hostile, SCRIPT))
    assert told(report).count(hostile) == 2
    assert SCRIPT in told(report)


def test_the_bundle_is_named_where_there_are_several() -> None:
    assert ", bundle " not in told(defective_night())
    two = replace(defective_night(), bundles=("a", "b"))
    assert f"item_popularity, bundle {late_view().bundle}: item_pop" in told(two)


def test_the_end_names_the_files_and_the_exit_code(tmp_path: Path) -> None:
    written = write(ok_night(), tmp_path)
    console = Console(width=80, highlight=False)
    with console.capture() as captured:
        console.print(render_written(written, Outcome.WARN))
    words = "".join(captured.get().split())
    assert str(written.html) in words
    assert ".json,.xml,.prom" in words
    assert "exitcode1,warn" in words
