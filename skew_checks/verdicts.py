"""From defects to one outcome and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from skew_checks.result.parts import Outcome, Status, Volume
from skew_checks.result.population import Drift
from skew_checks.result.report import Defect
from skew_checks.thresholds import Thresholds


def by_harm(defects: Sequence[Defect]) -> list[Defect]:
    """FAIL before WARN, then what changed the ranking most, then the largest share."""
    return sorted(
        defects,
        key=lambda one: (
            one.status is not Status.FAIL,
            -(one.effect.harm if one.effect else 0.0),
            -one.rate.lower,
            -one.rate.share,
            one.view,
            one.features,
        ),
    )


def outcome_of(
    defects: Sequence[Defect], drift: Sequence[Drift], volume: Volume, thresholds: Thresholds
) -> Outcome:
    """What fails counts however little was compared; nothing found in too little is no clean bill. Drift is news."""
    if any(defect.status is Status.FAIL for defect in defects):
        return Outcome.FAIL
    if _too_little(volume, thresholds) is not None:
        return Outcome.NOT_ENOUGH
    return Outcome.WARN if defects or drifted(drift) else Outcome.OK


def drifted(drift: Sequence[Drift]) -> list[str]:
    """Features whose population changed."""
    changed = (Status.WARN, Status.FAIL)
    return list(dict.fromkeys(each.feature for each in drift if each.status in changed))


def sentence_of(
    outcome: Outcome,
    defects: Sequence[Defect],
    drift: Sequence[Drift],
    *,
    volume: Volume,
    thresholds: Thresholds,
) -> str:
    """The verdict for somebody just woken up."""
    if outcome is Outcome.NOT_ENOUGH:
        return f"Not enough to judge: {_too_little(volume, thresholds)}."
    if not defects:
        extent = f"{volume.values:,} values of {volume.requests:,} requests"
        equal = f"What was served is what the training join gives, in {extent}"
        names = drifted(drift)
        return f"{equal}; distributions of {len(names)} features changed." if names else f"{equal}."
    failing = [defect for defect in defects if defect.status is Status.FAIL]
    counted = failing or list(defects)
    kind = "defect" if failing else "suspicion"
    many = f"{len(counted)} {kind}{'s' if len(counted) > 1 else ''}"
    return f"{many}; worst: {defects[0].headline}."


def _too_little(volume: Volume, thresholds: Thresholds) -> str | None:
    if volume.requests < thresholds.min_requests or volume.rows < thresholds.min_rows:
        return (
            f"{volume.requests:,} requests with {volume.rows:,} candidate rows, wanted are "
            f"{thresholds.min_requests:,} and {thresholds.min_rows:,}"
        )
    if volume.drop_share > thresholds.drop_share:
        return f"{volume.drop_share:.2%} of the log was dropped, allowed are {thresholds.drop_share:.2%}"
    return None
