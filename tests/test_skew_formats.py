"""A skew report as JSON, JUnit XML and metrics: whole, safe, and readable later."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import string
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from skew_reports import DAY, NIGHT, NIGHTS, SCRIPT, defective_night, many_defects, ok_night, thin_night

from feature_repo.errors import ReportError
from skew_checks.formats.json_schema import json_schema
from skew_checks.formats.junit import junit
from skew_checks.formats.prometheus_text import prometheus_text
from skew_checks.formats.report_files import name, write
from skew_checks.formats.report_json import dumps, from_json, loads, to_json
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Outcome, Status, Window
from skew_checks.result.report import SCHEMA, EvidenceRow, SkewReport

ROOT = Path(__file__).resolve().parent.parent
SCHEMA_FILE = json.loads((ROOT / "docs/skew-report.schema.json").read_text())
every_night = pytest.mark.parametrize("make", NIGHTS.values(), ids=list(NIGHTS))
Make = Callable[[], SkewReport]

floats = st.floats(width=64)
texts = st.text(max_size=12)
instants = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(fold=0))
scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | floats | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=6)
"""What a served value, or an entry of the manifest, may be."""
rows = st.builds(
    EvidenceRow,
    request_id=texts,
    user_id=texts,
    item_id=texts,
    request_time=instants,
    served=values,
    offline=values,
    served_event_time=st.none() | instants,
)


def same(left: Any, right: Any) -> bool:
    """Equal, NaN equal to itself, and of the same types all through."""
    return repr(left) == repr(right)


@every_night
def test_a_report_comes_back_from_json_as_it_was(make: Make) -> None:
    report = make()
    back = loads(dumps(report))
    assert same(back, report)
    assert dumps(back) == dumps(report)


@settings(max_examples=150, deadline=None)
@given(
    evidence=st.lists(rows, max_size=3),
    share=floats,
    at=instants,
    manifest=st.dictionaries(texts, values, max_size=3),
)
def test_any_value_comes_back_from_json_as_it_was(
    evidence: list[EvidenceRow], share: float, at: datetime, manifest: dict[str, Any]
) -> None:
    report = defective_night()
    rate = replace(report.defects[0].rate, lower=share, upper=-share)
    found = replace(report.defects[0], evidence=tuple(evidence), rate=rate, since=at)
    report = replace(report, defects=(found,), manifest=_without_tags(manifest), checked_at=at)
    assert same(loads(dumps(report)), report)


def _without_tags(values: dict[str, Any]) -> dict[str, Any]:
    """{"float": "nan"} is how the format writes a number: a manifest cannot say it otherwise."""
    return {key: value for key, value in values.items() if key != "float"}


@every_night
def test_every_report_is_valid_by_the_schema_file(make: Make) -> None:
    assert problems(json.loads(dumps(make())), SCHEMA_FILE) == []


def test_the_schema_file_is_the_one_of_the_code() -> None:
    assert json_schema() == SCHEMA_FILE, (
        "python -m skew_checks.formats.json_schema > docs/skew-report.schema.json"
    )


def test_the_schema_refuses_what_is_no_report() -> None:
    """So that the test before last can fail."""
    content = to_json(defective_night())
    for place, wrong in (
        ("outcome", "fine"),
        ("checked_at", 3),
        ("defects", {}),
        ("exit_code", 5),
        ("volume", None),
    ):
        assert problems({**content, place: wrong}, SCHEMA_FILE), place
    assert problems({key: value for key, value in content.items() if key != "window"}, SCHEMA_FILE)
    content["defects"][0]["rate"]["lower"] = {"float": "large"}
    assert problems(content, SCHEMA_FILE) == ["report.defects[0].rate.lower: nothing of anyOf"]


def problems(value: Any, schema: dict[str, Any], place: str = "report") -> list[str]:
    """What a validator of JSON Schema would say, for the words the file uses; an unknown word is a KeyError."""
    if "$ref" in schema:
        return problems(value, SCHEMA_FILE["$defs"][schema["$ref"].rpartition("/")[2]], place)
    return [told for word, wanted in schema.items() for told in WORDS[word](value, wanted, schema, place)]


KINDS: dict[str, Any] = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}


def is_kind(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        return isinstance(value, int if kind == "integer" else (int, float)) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


def _any_of(value: Any, wanted: list[dict[str, Any]], _: dict[str, Any], place: str) -> list[str]:
    fits = any(not problems(value, one, place) for one in wanted)
    return [] if fits else [f"{place}: nothing of anyOf"]


def _properties(value: Any, wanted: dict[str, Any], _: dict[str, Any], place: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [
        told for key in wanted if key in value for told in problems(value[key], wanted[key], f"{place}.{key}")
    ]


def _additional(value: Any, wanted: dict[str, Any], _: dict[str, Any], place: str) -> list[str]:
    listed = value.items() if isinstance(value, dict) else ()
    return [told for key, inner in listed for told in problems(inner, wanted, f"{place}.{key}")]


def _items(value: Any, wanted: dict[str, Any], _: dict[str, Any], place: str) -> list[str]:
    listed = enumerate(value) if isinstance(value, list) else ()
    return [told for index, inner in listed for told in problems(inner, wanted, f"{place}[{index}]")]


def _prefix_items(value: Any, wanted: list[dict[str, Any]], _: dict[str, Any], place: str) -> list[str]:
    listed = enumerate(zip(value, wanted, strict=False)) if isinstance(value, list) else ()
    return [told for index, (inner, one) in listed for told in problems(inner, one, f"{place}[{index}]")]


def _says(holds: Callable[[Any, Any], bool]) -> Callable[..., list[str]]:
    return lambda value, wanted, _, place: (
        [] if holds(value, wanted) else [f"{place}: {value!r:.40}, not {wanted!r:.40}"]
    )


def _is_instant(value: Any) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


WORDS: dict[str, Callable[..., list[str]]] = {
    **dict.fromkeys(("$schema", "$id", "$defs", "title", "description"), _says(lambda *_: True)),
    "type": _says(is_kind),
    "enum": _says(lambda value, wanted: value in wanted),
    "minimum": _says(lambda value, least: not is_kind(value, "number") or value >= least),
    "maximum": _says(lambda value, most: not is_kind(value, "number") or value <= most),
    "minItems": _says(lambda value, least: not isinstance(value, list) or len(value) >= least),
    "maxItems": _says(lambda value, most: not isinstance(value, list) or len(value) <= most),
    "required": _says(lambda value, wanted: not isinstance(value, dict) or set(wanted) <= set(value)),
    "format": _says(lambda value, _: _is_instant(value)),
    "anyOf": _any_of,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _prefix_items,
}


def test_every_field_of_the_report_is_in_the_json_under_its_name() -> None:
    content = to_json(defective_night())
    assert set(content) == {field.name for field in dataclasses.fields(SkewReport)} | {"schema", "exit_code"}
    assert (content["schema"], content["exit_code"], content["outcome"]) == (SCHEMA, 2, "fail")
    assert content["defects"][0]["cause"] == "materialization-gap"
    assert content["checked_at"] == "2026-03-15T03:07:00+00:00"


def test_instants_are_written_in_utc_whatever_zone_they_came_in() -> None:
    shanghai = timezone(timedelta(hours=8))
    report = ok_night(checked_at=datetime(2026, 3, 15, 11, 7, tzinfo=shanghai))
    assert to_json(report)["checked_at"] == "2026-03-15T03:07:00+00:00"
    assert (
        to_json(ok_night(checked_at=datetime(2026, 3, 15, 3, 7)))["checked_at"] == "2026-03-15T03:07:00+00:00"
    )


def test_numbers_of_numpy_are_numbers() -> None:
    row = EvidenceRow(
        "r", "u", "i", NIGHT, np.float32(0.5), np.array([1, 2], np.int32), at_watermark=np.float64("nan")
    )
    content = to_json(
        replace(defective_night(), defects=(replace(defective_night().defects[0], evidence=(row,)),))
    )
    written = content["defects"][0]["evidence"][0]
    assert (written["served"], written["offline"], written["at_watermark"]) == (0.5, [1, 2], {"float": "nan"})


def test_a_newer_report_is_read_as_far_as_it_is_known_here() -> None:
    content = {**to_json(defective_night()), "schema": SCHEMA + 1, "moon": "full"}
    content["defects"][0]["weight"] = 3
    assert same(from_json(content), defective_night())


def test_a_field_that_came_later_has_its_default_in_an_older_report() -> None:
    content = to_json(defective_night())
    for later in ("hourly", "parity", "manifest"):
        del content[later]
    assert same(from_json(content), replace(defective_night(), hourly=(), parity=(), manifest={}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"outcome": "splendid"},
            "report.outcome: 'splendid' is none of ok, warn, fail, not_enough, internal",
        ),
        ({"sentence": None}, r"report.sentence: expected str, found nothing \(null\)"),
        ({"checked_at": "yesterday"}, "report.checked_at: 'yesterday' is no ISO 8601 instant"),
        ({"volume": {"requests": True}}, "report.volume.requests: expected int, found bool"),
        ({"defects": [{"status": "fail"}]}, r"report.defects\[0\].cause is missing"),
        ({"schema": "one"}, "schema: expected a whole number"),
        ({"schema": 0}, "no skew report of any schema"),
    ],
)
def test_a_damaged_report_is_refused_with_the_place(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ReportError, match=told):
        from_json({**to_json(ok_night()), **change})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"schema": 1}'])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ReportError):
        loads(text)


FIRST_SCHEMA = {
    "checked_at": "2026-02-01T03:00:00+00:00",
    "outcome": "mismatches",
    "exit_code": 2,
    "window": {"start": "2026-01-31T00:00:00+00:00", "end": "2026-02-01T00:00:00+00:00", "sample": None},
    "requests": 30,
    "rows": 600,
    "values": 9000,
    "features": 21,
    "bundles": ["b1"],
    "notes": ["a note"],
    "changed_transforms": [],
    "findings": [
        {"feature": feature, "view": "user_activity", "bundle": "b1", "rows": 30, "mismatches": 6,
         "hint": "constant shift of +1", "follows": follows}
        for feature, follows in (("user_clicks_7d", False), ("user_click_rate", True))
    ],
}  # fmt: skip


def test_a_report_from_before_schemas_is_read_too() -> None:
    report = from_json(FIRST_SCHEMA)
    (defect,) = report.defects
    assert (report.outcome, report.volume.requests, report.notes) == (Outcome.FAIL, 30, ("a note",))
    assert (defect.features, defect.cause, defect.rate.share) == (("user_clicks_7d",), Cause.UNEXPLAINED, 0.2)
    assert "constant shift of +1" in defect.facts[0]


def cases(report: SkewReport) -> dict[str, list[xml.Element]]:
    """JUnit's test cases by what became of them."""
    root = xml.fromstring(junit(report))
    found: dict[str, list[xml.Element]] = {"failure": [], "error": [], "skipped": [], "passed": []}
    for case in root.iter("testcase"):
        inside = [child.tag for child in case if child.tag in found]
        found[inside[0] if inside else "passed"].append(case)
    for suite in root.iter("testsuite"):
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped"))
        assert int(suite.get("errors", "")) == len(suite.findall("testcase/error"))
    return found


@every_night
def test_junit_fails_exactly_when_the_night_does(make: Make) -> None:
    report = make()
    found = cases(report)
    judged = len(report.defects) + len(report.features) + len(report.freshness) + len(report.drift)
    assert sum(len(listed) for listed in found.values()) == 1 + judged
    drifted = any(one.status is Status.FAIL for one in (*report.drift, *report.freshness))
    assert bool(found["failure"]) is (report.outcome is Outcome.FAIL or drifted)
    assert bool(found["error"]) is (report.outcome is Outcome.INTERNAL)


def test_junit_tells_the_defect_whole() -> None:
    failure = next(
        case.find("failure")
        for case in cases(defective_night())["failure"]
        if case.get("classname") == "item_popularity"
    )
    assert failure is not None
    assert "26 hours old" in str(failure.get("message"))
    for words in ("cause: materialization-gap", "since: 2026-03-14 03:12 UTC", "replay: marquee skew check"):
        assert words in str(failure.text)


def test_too_little_data_is_skipped_in_junit_not_passed() -> None:
    found = cases(thin_night())
    assert not found["passed"]
    assert len(found["skipped"]) == 1 + len(thin_night().features)


def test_a_check_that_failed_itself_is_an_error_in_junit() -> None:
    found = cases(ok_night(outcome=Outcome.INTERNAL, sentence="The check itself failed: disk full."))
    assert [case.find("error").get("message") for case in found["error"]] == [
        "The check itself failed: disk full."
    ]  # type: ignore[union-attr]


def test_texts_that_xml_cannot_hold_are_replaced() -> None:
    hostile = f"\x00\x1b]0;\ud800\uffff {SCRIPT} ]]> & \" '"
    text = junit(ok_night(outcome=Outcome.FAIL, sentence=hostile))
    (case,) = (case for case in xml.fromstring(text).iter("testcase") if case.get("name") == "the night")
    assert case[0].text == f"��]0;�� {SCRIPT} ]]> & \" '"


def metrics(report: SkewReport) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Name to labels to value; fails for a series that stands twice."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(prometheus_text(report)):
        assert family.type == "gauge"
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in found.setdefault(sample.name, {}), (sample.name, labels)
            found[sample.name][labels] = sample.value
    return found


@every_night
def test_the_metrics_can_be_read_back(make: Make) -> None:
    report = make()
    found = metrics(report)
    assert found["marquee_skew_exit_code"][frozenset()] == report.exit_code
    assert found["marquee_skew_requests"][frozenset()] == report.volume.requests
    assert found["marquee_skew_dropped_share"][frozenset()] == report.volume.drop_share
    fails = sum(defect.status is Status.FAIL for defect in report.defects)
    assert found["marquee_skew_defects"][frozenset({("status", "fail")})] == fails
    named = {(one.view, one.feature, one.is_model_column) for one in report.features}
    assert len(found.get("marquee_skew_mismatch_share", {})) == len(named)


def test_metrics_keep_the_worst_of_a_feature_that_two_bundles_have() -> None:
    report = defective_night()
    wrong = report.features[0]
    better = replace(wrong, rate=replace(wrong.rate, bad=1), status=Status.WARN)
    found = metrics(replace(report, features=(better, wrong, better)))
    labels = frozenset({("view", wrong.view), ("feature", wrong.feature), ("kind", "stored")})
    assert found["marquee_skew_mismatch_share"] == {labels: wrong.rate.share}
    assert found["marquee_skew_feature_status"] == {labels: 2.0}


def test_labels_of_metrics_are_escaped() -> None:
    hostile = 'a"} 1\nmarquee_evil 7\\'
    feature = replace(ok_night().features[0], feature=hostile)
    found = metrics(ok_night(features=(feature,)))
    assert "marquee_evil" not in found
    ((labels, _),) = found["marquee_skew_mismatch_share"].items()
    assert dict(labels)["feature"] == hostile


def test_since_is_the_earliest_of_a_view_and_cause() -> None:
    (defect,) = defective_night().defects
    later = replace(defect, since=NIGHT + DAY)
    found = metrics(replace(defective_night(), defects=(later, defect, replace(defect, since=None))))
    assert defect.since is not None
    assert list(found["marquee_skew_defect_since_timestamp_seconds"].values()) == [defect.since.timestamp()]


@pytest.mark.parametrize(
    ("window", "wanted"),
    [
        (Window(NIGHT, NIGHT + DAY), "skew-2026-03-14"),
        (Window(NIGHT, NIGHT + DAY, 1000), "skew-2026-03-14-sample-1000"),
        (Window(NIGHT, NIGHT + 2 * DAY), "skew-2026-03-14T000000-to-2026-03-16T000000"),
        (Window(NIGHT + DAY / 2, NIGHT + 3 * DAY / 2), "skew-2026-03-14T120000-to-2026-03-15T120000"),
        (Window(NIGHT, None), "skew-2026-03-14T000000-to-2026-03-20"),
        (Window(None, NIGHT), "skew-log-to-2026-03-14T000000"),
        (Window(), "skew-log-to-2026-03-20"),
    ],
)
def test_files_are_named_after_the_window(window: Window, wanted: str) -> None:
    assert name(window, datetime(2026, 3, 20, 3, tzinfo=UTC)) == wanted
    assert set(wanted) <= set(string.ascii_letters + string.digits + "-")


def test_writing_leaves_four_whole_files_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    first = write(many_defects(), folder)
    again = write(ok_night(), folder)
    assert first == again, "one window, one set of files"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"skew-2026-03-14.{end}" for end in ("html", "json", "prom", "xml")
    ]
    assert same(loads(again.json.read_text()), ok_night())
    assert again.html.read_text().startswith("<!doctype html>")
    assert xml.parse(again.xml).getroot().tag == "testsuites"
    assert "marquee_skew_exit_code 0.0" in again.prom.read_text()


def test_a_folder_that_cannot_be_written_to_keeps_the_old_files(tmp_path: Path) -> None:
    written = write(ok_night(), tmp_path)
    before = written.json.read_text()
    (tmp_path / f".{written.html.name}.{os.getpid()}.partial").mkdir()
    with pytest.raises(OSError, match="partial"):
        write(many_defects(), tmp_path)
    assert written.json.read_text() == before


def test_infinite_bounds_do_not_stop_any_format(tmp_path: Path) -> None:
    wild = replace(defective_night().defects[0].rate, lower=math.nan, upper=math.inf, budget=-math.inf)
    report = replace(defective_night(), defects=(replace(defective_night().defects[0], rate=wild),))
    written = write(report, tmp_path)
    assert same(loads(written.json.read_text()), report)
