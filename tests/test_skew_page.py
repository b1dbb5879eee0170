"""The page in a real browser: it loads nothing, complains of nothing, fits a phone, is dark at night, runs no text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Browser, browser, program
from hypothesis import given, settings
from hypothesis import strategies as st
from skew_reports import (
    LONG,
    NIGHT,
    NIGHTS,
    SCRIPT,
    defect,
    defective_night,
    drift,
    feature,
    hourly,
    many_defects,
    ok_night,
    parity,
)

from skew_checks.page.limits import LARGEST_PAGE, Limits
from skew_checks.page.markup import VOID, Html, breakable, tag
from skew_checks.page.page import page
from skew_checks.page.scale import Scale, over
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Status
from skew_checks.result.population import Parity
from skew_checks.result.report import SkewReport

PHONE, DESK = 390, 1280
PAPER = 1032
"""Pixels of A4, lying, within its margins."""
every_night = pytest.mark.parametrize("night", NIGHTS)
NONE = "no chromium, chromium-browser or google-chrome on PATH: apt-get install chromium"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = program()
    if found is None:
        pytest.skip(NONE)
    with browser(found, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder with the page of every night."""
    for night, make in NIGHTS.items():
        (tmp_path / f"{night}.html").write_text(page(make()), encoding="utf-8")
    return tmp_path


@every_night
def test_nothing_is_loaded_and_nothing_complained_of(chromium: Browser, pages: Path, night: str) -> None:
    shown = chromium.page(pages / f"{night}.html", width=DESK)
    shown.ask("new Promise(done => setTimeout(done, 50))")
    assert shown.complaints() == []
    assert [url for url in shown.requests() if not url.startswith("data:")] == [
        (pages / f"{night}.html").as_uri()
    ]


def test_the_policy_would_stop_what_got_in_all_the_same(chromium: Browser, pages: Path) -> None:
    """So that the test above can fail: markup that loads and runs, were it to get past the escaping."""
    evil = '<img src="http://127.0.0.1:9/x.png"><script>document.title="owned"</script><p style="color:red">'
    text = (pages / "ok.html").read_text().replace("<main", evil + "<main", 1)
    (pages / "evil.html").write_text(text)
    shown = chromium.page(pages / "evil.html", width=DESK)
    assert len(shown.complaints()) >= 3
    assert shown.ask("document.title") != "owned"
    assert [one.get("blockedReason") for one in shown.told("Network.loadingFailed")] == ["csp"]


@every_night
@pytest.mark.parametrize("width", [320, PHONE, DESK])
def test_nothing_reaches_over_the_edge(chromium: Browser, pages: Path, night: str, width: int) -> None:
    shown = chromium.page(pages / f"{night}.html", width=width)
    assert shown.ask("document.documentElement.scrollWidth") <= width
    wide = shown.ask(
        f"""[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > {width} + 1
            && !e.closest('.scroll, .command pre, svg, .skip')).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []


def test_wide_tables_scroll_inside_themselves(chromium: Browser, pages: Path) -> None:
    shown = chromium.page(pages / "many.html", width=PHONE)
    wider = shown.ask(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    )
    assert wider >= 5
    unreachable = shown.ask(
        "[...document.querySelectorAll('.scroll')].filter(e => e.tabIndex != 0 || !e.getAttribute('aria-label')).length"
    )
    assert unreachable == 0


def luminance(colour: str) -> float:
    """Of "rgb(r, g, b)", by WCAG 2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


INKS = """[...document.querySelectorAll('h1, h2, h3, p, a, dt, dd, td, th, li, summary, .pill, code, button, svg text')]
    .map(e => {
        let ground = e;
        while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)' && ground.parentElement)
            ground = ground.parentElement;
        const ink = getComputedStyle(e)[e instanceof SVGElement ? 'fill' : 'color'];
        return [ink, getComputedStyle(ground).backgroundColor, e.outerHTML.slice(0, 60)];
    })"""
"""Colour of each text, and of what it stands on."""


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_dark_where_the_reader_wants_it_and_legible_either_way(
    chromium: Browser, pages: Path, dark: bool
) -> None:
    shown = chromium.page(pages / "many.html", width=DESK, dark=dark)
    ground = luminance(shown.ask("getComputedStyle(document.body).backgroundColor"))
    assert (ground < 0.05) is dark
    pairs = shown.ask(INKS)
    weak = {(ink, paper, text) for ink, paper, text in pairs if contrast(ink, paper) < 4.5}
    assert len(pairs) > 1000
    assert not weak


def contrast(ink: str, paper: str) -> float:
    light, dim = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dim + 0.05)


def test_text_stays_text(chromium: Browser, pages: Path) -> None:
    shown = chromium.page(pages / "many.html", width=DESK)
    assert shown.ask("document.scripts.length") == 1
    assert shown.ask("document.body.innerText").count(SCRIPT) >= 20
    assert (
        shown.ask(
            "document.querySelectorAll('[onclick], [onerror], [style], iframe, img, object, form').length"
        )
        == 0
    )


def test_every_picture_says_what_it_shows(chromium: Browser, pages: Path) -> None:
    shown = chromium.page(pages / "many.html", width=DESK)
    silent = "[...document.querySelectorAll('svg')].filter(e => !e.ariaLabel && !e.closest('[aria-hidden]'))"
    assert shown.ask(f"{silent}.length") == 0
    name = "document.getElementById(e.getAttribute('aria-labelledby'))"
    nameless = f"[...document.querySelectorAll('section, article')].filter(e => !{name})"
    assert shown.ask(f"{nameless}.length") == 0
    assert shown.ask("document.querySelectorAll('svg[role=img]').length") > 20


def test_the_ids_are_unique_and_the_links_lead_somewhere(chromium: Browser, pages: Path) -> None:
    shown = chromium.page(pages / "many.html", width=DESK)
    ids = shown.ask("[...document.querySelectorAll('[id]')].map(e => e.id)")
    links = shown.ask("[...document.querySelectorAll('a')].map(e => e.getAttribute('href'))")
    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert len(links) > 15


def test_the_keyboard_reaches_the_content_first_and_every_command(chromium: Browser, pages: Path) -> None:
    shown = chromium.page(pages / "defect.html", width=DESK)
    shown.key("Tab")
    assert shown.ask("document.activeElement.className") == "skip"
    assert shown.ask("document.activeElement.getBoundingClientRect().left") >= 0
    reached = []
    for _ in range(40):
        shown.key("Tab")
        reached.append(
            shown.ask(
                "document.activeElement.tagName + ':' + document.activeElement.textContent.slice(0, 20)"
            )
        )
    assert "SUMMARY:Evidence: 8 rows" in reached
    assert "BUTTON:Copy" in reached


def test_a_command_is_copied_whole_or_selected(chromium: Browser, pages: Path) -> None:
    shown = chromium.page(pages / "defect.html", width=DESK)
    command = defective_night().defects[0].command
    assert shown.ask("document.querySelector('.command pre').textContent") == command
    assert shown.ask("document.querySelector('.command button').hidden") is False
    shown.ask("document.querySelector('.command button').click()")
    shown.ask("new Promise(done => setTimeout(done, 100))")
    told = shown.ask("document.querySelector('.command button').textContent")
    assert told in ("Copied", "Selected")
    if told == "Selected":
        assert shown.ask("getSelection().toString()") == command


def test_on_paper_nothing_is_hidden(chromium: Browser, pages: Path) -> None:
    shown = chromium.page(pages / "many.html", width=PAPER, media="print", dark=True)
    assert luminance(shown.ask("getComputedStyle(document.body).backgroundColor")) > 0.9
    assert luminance(shown.ask("getComputedStyle(document.body).color")) < 0.1
    assert shown.ask("document.documentElement.scrollWidth") <= PAPER
    cut = "e.scrollHeight > e.clientHeight + 1 || e.getBoundingClientRect().right > innerWidth"
    assert (
        shown.ask(f"[...document.querySelectorAll('.scroll, .scroll table')].filter(e => {cut}).length") == 0
    )


class Checker(HTMLParser):
    """Fails for elements that are not closed in order; collects names and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((name, dict(attrs)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


@every_night
def test_the_markup_is_whole_and_names_no_other_place(night: str) -> None:
    checker = checked(page(NIGHTS[night]()))
    for name, attributes in checker.seen:
        assert name not in ("iframe", "object", "embed", "form", "base", "img")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
        assert not any(key.startswith("on") for key in attributes)
    (policy,) = (
        one["content"] for _, one in checker.seen if one.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


@settings(max_examples=20, deadline=None)
@given(
    text=st.text(alphabet=st.characters(), max_size=60)
    | st.sampled_from([SCRIPT, '"><b x="', "&lt;", "]]>", "\x00"])
)
def test_any_text_anywhere_leaves_the_markup_as_it_was(text: str) -> None:
    plain, hostile = (checked(page(with_text(each))) for each in ("plain", text))
    by_length = ("wbr", "text")
    assert [name for name, _ in plain.seen if name not in by_length] == [
        name for name, _ in hostile.seen if name not in by_length
    ]


def with_text(text: str) -> SkewReport:
    """A report that holds the text wherever one can stand."""
    report = defective_night()
    found = replace(
        report.defects[0],
        headline=text,
        view=text,
        features=(text,),
        bundle=text,
        command=text,
        facts=(text,),
        evidence=tuple(
            replace(row, request_id=text, user_id=text, served=text) for row in report.defects[0].evidence
        ),
    )
    bins = report.drift[0].bins
    assert bins is not None
    return replace(
        report,
        sentence=text,
        bundles=(text,),
        notes=(text,),
        defects=(found,),
        features=(replace(report.features[0], feature=text, view=text),),
        drift=(replace(report.drift[0], feature=text, view=text, bins=replace(bins, labels=(text,) * 24)),),
        freshness=(replace(report.freshness[0], view=text),),
        hourly=(replace(report.hourly[0], feature=text),),
        parity=(replace(report.parity[0], feature=text),),
        manifest={"entry": text},
    )


def test_what_is_not_markup_is_escaped_and_only_that() -> None:
    assert tag("p", SCRIPT, tag("b", "x"), title='"<').text == (
        '<p title="&quot;&lt;">&lt;script&gt;alert(1)&lt;/script&gt;<b>x</b></p>'
    )
    assert tag("br") == Html("<br>")
    assert tag("p", None, 3, ("a", ["b"]), hidden=True, lang=None).text == "<p hidden>3ab</p>"
    assert breakable("user_id<").text == "user_<wbr>id&lt;"
    assert breakable("03:12, 1,000 and 0.1").text == "03:12, 1,000 and 0.1"


def huge(factor: int) -> SkewReport:
    """Far more of everything than a night has, with the longest texts."""
    name = f"{LONG}_" * 40
    found = defect(Cause.UNIT, 0, feature_names=tuple(f"{name}{place}" for place in range(30 * factor)))
    found = replace(found, facts=(name,) * 100, evidence=found.evidence * 20 * factor, command=name * 20)
    return ok_night(
        sentence=name,
        defects=(found,) * 40 * factor,
        features=tuple(
            feature(f"{name}{place}", "user_activity", place % 50) for place in range(2000 * factor)
        ),
        drift=(drift(name, name, Status.FAIL, slices=found.slices),) * 100 * factor,
        hourly=(hourly(name, 3),) * 50 * factor,
        parity=(
            parity(name, 1),
            Parity(name, (1.0,) * 5000 * factor, (2.0,) * 5000 * factor, (True,) * 5000 * factor),
        )
        * 20,
        freshness=ok_night().freshness * 20 * factor,
        notes=(name,) * 100 * factor,
        manifest={f"{name}{place}": [name] * 5 for place in range(200 * factor)},
    )


@pytest.mark.parametrize("factor", [1, 5])
def test_a_page_is_at_most_5_megabytes_and_says_what_it_leaves_out(factor: int) -> None:
    text = page(huge(factor))
    assert len(text.encode()) <= LARGEST_PAGE
    told = "".join(checked(text).texts)
    assert re.search(r"and [\d,]+ more defects: the JSON report has them all", told) or factor == 1
    assert re.search(r"and [\d,]+ more comparisons", told)


def test_limits_become_smaller_until_they_are_one() -> None:
    limits = Limits()
    for _ in range(12):
        limits = limits.halved()
    assert limits == limits.halved() == Limits(**dict.fromkeys(vars(Limits()), 1))


def test_a_page_is_made_without_the_time_or_place_it_is_made_at() -> None:
    assert page(many_defects()) == page(many_defects())


@given(low=st.floats(-1e300, 1e300), high=st.floats(-1e300, 1e300), value=st.floats(), is_log=st.booleans())
def test_a_scale_stays_inside_its_pixels_whatever_it_is_given(
    low: float, high: float, value: float, is_log: bool
) -> None:
    scale = over([low, high, value], 10.0, 90.0, is_log=is_log)
    assert 9.999 <= scale(value) <= 90.001
    assert all(9.999 <= scale(tick) <= 90.001 for tick in scale.ticks())
    assert 1 <= len(scale.ticks()) <= 13 or scale.ticks() == []


def test_ticks_are_round() -> None:
    assert Scale(0.0, 1.0, 0.0, 1.0).ticks() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Scale(0.03, 4000.0, 0.0, 1.0, is_log=True).ticks() == pytest.approx([0.1, 10.0, 1000.0])


def test_the_overview_links_each_defect_in_the_order_of_harm() -> None:
    report = many_defects()
    links = [
        one["href"]
        for name, one in checked(page(report)).seen
        if name == "a" and (one["href"] or "").startswith("#defect-")
    ]
    assert links == [f"#defect-{place}" for place in range(1, len(report.defects) + 1)]


def test_a_defect_without_a_known_beginning_or_effect_says_so() -> None:
    found = replace(defective_night().defects[0], since=None, effect=None, evidence=(), slices=())
    told = "".join(checked(page(replace(defective_night(), defects=(found,)))).texts)
    assert "Sinceunknown" in told
    assert "Effect on the rankingnot measured" in told


def test_the_beginning_is_told_relative_to_the_window() -> None:
    found = replace(defective_night().defects[0], since=NIGHT - timedelta(days=3))
    told = "".join(checked(page(replace(defective_night(), defects=(found,)))).texts)
    assert "4 days before the window's end" in told


def test_a_feature_served_otherwise_than_replayed_is_no_drift() -> None:
    paired = replace(drift("f_skewed", "item_catalogue", Status.FAIL), against="replayed")
    text = page(ok_night(drift=(paired,)))
    assert 'id="drift"' not in text
    told = "".join(checked(text).texts)
    assert "Served otherwise distributed than replay gives" in told


def test_the_sides_of_a_feature_are_drawn_in_one_plot() -> None:
    whole = drift("f", "item_catalogue", Status.WARN)
    assert whole.bins is not None
    counts = whole.bins.counts
    trained = replace(
        whole, bins=replace(whole.bins, counts={side: counts[side] for side in ("training", "served")})
    )
    sides = {side: counts[side] for side in ("served", "replayed")}
    paired = replace(whole, against="replayed", status=Status.OK, bins=replace(whole.bins, counts=sides))
    seen = checked(page(ok_night(drift=(paired, trained)))).seen
    (label,) = {
        one["aria-label"] for _, one in seen if (one.get("aria-label") or "").startswith("Distribution of f;")
    }
    assert label is not None
    assert "null: training 1.2 %, served 1.49 %, replayed 1.49 %" in label, "120 of 10,020 and 150 of 10,043"


def test_what_could_not_be_told_is_named_apart_from_drift() -> None:
    unknown = tuple(drift(f"f_{place}", "item_catalogue", Status.INSUFFICIENT) for place in range(3))
    told = "".join(checked(page(ok_night(drift=unknown))).texts)
    assert "No feature has drifted for sure." in told
    assert "Too little data to tell of 3 features" in told
    assert "Distributions" not in told
