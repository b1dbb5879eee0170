"""A skew report as JUnit XML, for whatever shows test results: one test case per thing that was judged.

A failure is what fails the night, skipped is what had too little data, an error is a check that itself failed.
Warnings pass, with their sentence as the case's output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as xml

from skew_checks.formats.cause_help import HELP
from skew_checks.formats.wording import OUTCOME_STATUS, duration, effect_words, instant, percent, rate_words
from skew_checks.result.parts import Outcome, Status
from skew_checks.result.report import Defect, SkewReport

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


@dataclass(frozen=True)
class Case:
    """One test case."""

    group: str
    name: str
    status: Status
    text: str
    is_error: bool = False


def junit(report: SkewReport) -> str:
    """XML text: the suites verdict, defects, features, freshness and drift."""
    root = xml.Element("testsuites", name="marquee skew check")
    stamp = report.checked_at.strftime("%Y-%m-%dT%H:%M:%S")
    suites = {
        "verdict": _verdict(report),
        "defects": _defects(report),
        "features": _features(report),
        "freshness": _freshness(report),
        "drift": _drift(report),
    }
    for name, cases in suites.items():
        _suite(root, name, list(cases), stamp)
    xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _verdict(report: SkewReport) -> Iterator[Case]:
    status = OUTCOME_STATUS[report.outcome]
    yield Case("skew", "the night", status, report.sentence, report.outcome is Outcome.INTERNAL)


def _defects(report: SkewReport) -> Iterator[Case]:
    for place, defect in enumerate(report.defects, 1):
        yield Case(defect.view, f"{place}. {defect.headline}", defect.status, _told(defect))


def _told(defect: Defect) -> str:
    lines = (
        defect.headline,
        f"cause: {defect.cause.value}: {HELP[defect.cause].meaning}",
        f"features: {', '.join(defect.features)}",
        f"differ: {rate_words(defect.rate, defect.unit.value)}",
        f"since: {instant(defect.since)}",
        f"effect: {effect_words(defect.effect)}",
        *defect.facts,
        f"replay: {defect.command}",
    )
    return "\n".join(lines)


def _features(report: SkewReport) -> Iterator[Case]:
    for one in report.features:
        kind = "model column" if one.is_model_column else "stored value"
        follows = "; follows from the stored values" if one.follows else ""
        text = rate_words(one.rate, one.unit.value) + follows
        yield Case(one.view, f"{one.feature} ({kind})", one.status, text)


def _freshness(report: SkewReport) -> Iterator[Case]:
    for one in report.freshness:
        target = duration(one.target_seconds)
        text = f"{percent(one.lagging.share)} of rows read were past the view's target of {target}"
        yield Case(one.view, "freshness", one.status, text)


def _drift(report: SkewReport) -> Iterator[Case]:
    for one in report.drift:
        tests = "; ".join(f"{test.statistic} {test.value:.4g} of {test.tolerance:.4g}" for test in one.tests)
        yield Case(one.view, f"{one.feature} against {one.against}", one.status, tests)


def _suite(root: xml.Element, name: str, cases: list[Case], stamp: str) -> None:
    def number(wanted: Iterable[Case]) -> str:
        return str(len(list(wanted)))

    failed = [case for case in cases if case.status is Status.FAIL]
    suite = xml.SubElement(
        root,
        "testsuite",
        name=name,
        timestamp=stamp,
        tests=number(cases),
        failures=number(case for case in failed if not case.is_error),
        errors=number(case for case in failed if case.is_error),
        skipped=number(case for case in cases if case.status is Status.INSUFFICIENT),
    )
    for case in cases:
        _case(suite, case)


def _case(suite: xml.Element, case: Case) -> None:
    name, group, text = _clean(case.name), _clean(case.group), _clean(case.text)
    inside = xml.SubElement(suite, "testcase", name=name, classname=group)
    if case.status is Status.FAIL:
        kind = "error" if case.is_error else "failure"
        xml.SubElement(inside, kind, message=text.partition("\n")[0]).text = text
    elif case.status is Status.INSUFFICIENT:
        xml.SubElement(inside, "skipped", message=f"not enough data: {text}")
    elif case.status is Status.WARN:
        xml.SubElement(inside, "system-out").text = f"warning: {text}"


def _clean(text: str) -> str:
    return NOT_XML.sub("�", text)
