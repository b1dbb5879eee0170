"""The files of one check: JSON, page, JUnit XML and metrics, each written at once or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from skew_checks.formats.junit import junit
from skew_checks.formats.prometheus_text import prometheus_text
from skew_checks.formats.report_json import dumps
from skew_checks.formats.wording import in_utc, is_day
from skew_checks.page.page import page
from skew_checks.result.parts import Window
from skew_checks.result.report import SkewReport

WRITERS: dict[str, Callable[[SkewReport], str]] = {
    "html": page,
    "xml": junit,
    "prom": prometheus_text,
    "json": dumps,
}
"""By ending. JSON comes last: where it is there, the others are."""


@dataclass(frozen=True)
class Written:
    """Where the files lie."""

    json: Path
    html: Path
    xml: Path
    prom: Path


def write(report: SkewReport, folder: Path) -> Written:
    """Write all four, in place of those of an earlier check of the same window; makes the folder.

    A reader finds each file whole, the old one or the new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {ending: make(report) for ending, make in WRITERS.items()}
    named = name(report.window, report.checked_at)
    paths = {ending: folder / f"{named}.{ending}" for ending in texts}
    for ending, text in texts.items():
        replace_file(paths[ending], text)
    return Written(**paths)


def name(window: Window, checked_at: datetime) -> str:
    """skew-2026-03-01 for that day; other windows have their ends in the name, samples their size.

    An open end of the log's is the day of the check: skew-log-to-2026-03-01 is the whole log up to then.
    """
    if is_day(window):
        assert window.start is not None
        told = f"{in_utc(window.start):%Y-%m-%d}"
    else:
        start = "log" if window.start is None else f"{in_utc(window.start):%Y-%m-%dT%H%M%S}"
        end = (
            f"{in_utc(checked_at):%Y-%m-%d}"
            if window.end is None
            else f"{in_utc(window.end):%Y-%m-%dT%H%M%S}"
        )
        told = f"{start}-to-{end}"
    return f"skew-{told}" if window.sample is None else f"skew-{told}-sample-{window.sample}"


def replace_file(path: Path, text: str) -> None:
    """Write beside it, then rename: another process's reader never sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
