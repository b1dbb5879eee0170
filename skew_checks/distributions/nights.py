"""What the nights before said: a change that lasts fails although it is small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NIGHTS = 2
"""Before tonight."""


@dataclass(frozen=True)
class EarlierNights:
    """JSON reports, newest first (`skew_checks.result.report.SkewReport` by its field names)."""

    reports: Sequence[Mapping[str, Any]] = ()

    def beyond(self, feature: str, *, against: str, statistic: str) -> int:
        """On how many of the two nights before tonight the statistic was beyond its tolerance."""
        return sum(
            any(
                (drift.get("feature"), drift.get("against")) == (feature, against)
                and any(
                    test.get("statistic") == statistic and test.get("status") in ("warn", "fail")
                    for test in drift.get("tests", ())
                )
                for drift in report.get("drift", ())
            )
            for report in self.reports[:NIGHTS]
        )
