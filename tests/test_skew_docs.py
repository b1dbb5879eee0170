"""The skew report's pages: one for each cause, links that lead somewhere, words that are the program's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skew_checks.formats.cause_help import HELP
from skew_checks.formats.report_files import WRITERS
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Outcome

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (*sorted((DOCS / "causes").glob("*.md")), DOCS / "reading-the-skew-report.md", DOCS / "skew.md")
HEADINGS = ["What it looks like", "Why it happens", "How to mend", "Easily confused with"]


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_its_page_with_the_words_of_the_report(cause: Cause) -> None:
    path = ROOT / HELP[cause].page(cause)
    text = path.read_text()
    assert path == DOCS / f"causes/{cause.value}.md"
    assert text.startswith(f"# {HELP[cause].title}\n")
    assert re.findall(r"^## (.*)$", text, re.M) == HEADINGS
    words = " ".join(text.split())
    assert f"`{cause.value}`. {HELP[cause].meaning}" in words
    assert f"## How to mend {HELP[cause].mend}" in words


def test_there_is_no_page_of_a_cause_that_is_none() -> None:
    named = {path.stem for path in (DOCS / "causes").glob("*.md")} - {"README"}
    assert named == {cause.value for cause in Cause}


def test_the_list_of_causes_has_all_in_order() -> None:
    listed = re.findall(
        r"^\| \[(.*?)\]\((.*?)\.md\) \| (.*) \|$", (DOCS / "causes/README.md").read_text(), re.M
    )
    assert listed == [(cause.value, cause.value, HELP[cause].meaning) for cause in Cause]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_the_guide_names_every_file_and_every_exit_code() -> None:
    text = (DOCS / "reading-the-skew-report.md").read_text()
    for ending in WRITERS:
        assert f"`skew-2026-03-14.{ending}`" in text
    for outcome in Outcome:
        assert re.search(rf"^ +\| {int(outcome)} \|", text, re.M), outcome


def test_sentences_end_and_say_what_to_do() -> None:
    for told in HELP.values():
        assert told.meaning.endswith(".")
        assert told.mend.endswith(".")
        assert not told.title.endswith(".")
