"""Skew reports from before they had a schema version, as version 1: read for history, never written."""

from __future__ import annotations

from typing import Any

from feature_repo.errors import ReportError
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Status, Unit

OUTCOMES = {"clean": "ok", "mismatches": "fail", "too_little": "not_enough"}
SENTENCES = {
    "clean": "Everything that was served is what the training join gives.",
    "mismatches": "Served values differ from what the training join gives.",
    "too_little": "There was not enough data to judge.",
}
NOT_KNOWN = "a report from before causes were told; its hint: "


def from_first_schema(content: dict[str, Any]) -> dict[str, Any]:
    """Findings become defects without a cause; bounds and budgets were not known then.

    Raises ReportError where it is no such report either.
    """
    try:
        findings = [finding for finding in content["findings"] if not finding["follows"]]
        return {
            "schema": 1,
            "window": content["window"],
            "checked_at": content["checked_at"],
            "outcome": OUTCOMES[content["outcome"]],
            "sentence": SENTENCES[content["outcome"]],
            "volume": {name: content[name] for name in ("requests", "rows", "values", "features")},
            "bundles": content["bundles"],
            "defects": [_defect(finding) for finding in findings],
            "notes": content["notes"],
            "manifest": {"schema": 0},
        }
    except (KeyError, TypeError) as error:
        raise ReportError(f"no skew report of any schema: {error!r:.80}") from error


def _defect(finding: dict[str, Any]) -> dict[str, Any]:
    bad, units = finding["mismatches"], finding["rows"]
    return {
        "status": Status.FAIL.value,
        "cause": Cause.UNEXPLAINED.value,
        "headline": f"{finding['feature']} of {finding['view']} differs",
        "view": finding["view"],
        "features": [finding["feature"]],
        "bundle": finding["bundle"],
        "unit": Unit.REQUESTS.value,
        "rate": {"bad": bad, "units": units, "lower": 0.0, "upper": 1.0, "budget": 0.0},
        "causes": [],
        "since": None,
        "last": None,
        "command": "marquee skew check",
        "facts": [NOT_KNOWN + finding["hint"]],
    }
