"""What a load saw, in figures: availability, latency, levels, recovery, goodput."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .calls import CANCELLED_BY_CALLER, OK, Call
from .checker import Complaint

RECOVERED_SHARE = 0.99
WINDOW_SECONDS = 1.0
STEP_SECONDS = 0.1
UNTYPED = ("INTERNAL", "UNKNOWN")
TRACE_MARKS = ("Traceback", 'File "', ".py", "Exception")


@dataclass(frozen=True)
class Outcome:
    """Of one scenario."""

    requests: int
    """Without those that the caller cancelled or gave less time than the longest deadline."""
    availability: float
    """Share of the requests answered within their deadline, at any level."""
    p50_millis: float
    """Of answered requests, from the intended time of sending."""
    p99_millis: float
    levels: dict[int, int]
    errors: dict[str, int]
    told: list[str]
    """What the errors said, one of each kind and text, at most ten."""
    wrong: list[str]
    """Wrong answers, the first ones told."""
    wrong_count: int
    leaks: list[str]
    """Errors without a proper status, or with internals in their text."""
    crashes: list[str]
    recovery_seconds: float | None
    """From the fault's end to the first second in which 99 % are of level 0 again; None if there is none."""
    goodput_share: float
    """Answered in time, at any level, per second of the fault, as a share of capacity."""
    whole_share: float
    """The same of answers at level 0."""
    capacity: float
    """Requests per second that the server answers without a fault."""
    sender_p99_millis: float
    """How late the load itself sent: what is above some milliseconds is the machine's, not the server's."""
    capacity_after: float = 0.0
    """The same once the load has ended: much less than `capacity` means a machine, or a server, that slowed."""
    seconds: list[dict[str, Any]] = field(default_factory=list)
    """Second by second: sent, answered, levels."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Window:
    """The fault, in monotonic time."""

    began: float
    ended: float


def measure(
    calls: Sequence[Call],
    *,
    complaints: Sequence[Complaint],
    crashes: Sequence[str],
    window: Window,
    capacity: float,
) -> Outcome:
    counted = _counted(calls)
    answered = [call for call in counted if call.is_answered]
    latencies = [(call.finished - call.intended) * 1e3 for call in answered] or [float("nan")]
    lateness = [(call.sent - call.intended) * 1e3 for call in calls] or [float("nan")]
    return Outcome(
        requests=len(counted),
        availability=sum(call.is_in_time for call in counted) / max(len(counted), 1),
        p50_millis=float(np.percentile(latencies, 50)),
        p99_millis=float(np.percentile(latencies, 99)),
        levels=dict(sorted(Counter(call.level for call in calls if call.is_answered).items())),
        errors=dict(Counter(call.status for call in calls if call.status not in (OK, CANCELLED_BY_CALLER))),
        told=sorted({f"{call.status}: {call.details[:200]}" for call in calls if call.details})[:10],
        wrong=[str(complaint) for complaint in complaints[:5]],
        wrong_count=len(complaints),
        leaks=leaks(calls),
        crashes=list(crashes),
        recovery_seconds=recovery(counted, window.ended),
        goodput_share=_goodput(counted, window) / capacity if capacity else 0.0,
        whole_share=_goodput([call for call in counted if call.level == 0], window) / capacity
        if capacity
        else 0.0,
        capacity=capacity,
        sender_p99_millis=float(np.percentile(lateness, 99)),
        seconds=_by_second(calls),
    )


def recovery(calls: Sequence[Call], end: float) -> float | None:
    """Seconds from `end` to the first second in which 99 % of the calls were answered at level 0."""
    times = np.array([call.intended for call in calls])
    whole = np.array([call.is_in_time and call.level == 0 for call in calls], np.float64)
    last = times.max(initial=end) - WINDOW_SECONDS
    for start in np.arange(end, last + STEP_SECONDS / 2, STEP_SECONDS):
        inside = (times >= start) & (times < start + WINDOW_SECONDS)
        if inside.any() and whole[inside].mean() >= RECOVERED_SHARE:
            return float(start - end)
    return None


def leaks(calls: Sequence[Call]) -> list[str]:
    """The first few errors that a client should never see."""
    found = {
        f"{call.status}: {call.details[:200]}"
        for call in calls
        if call.status in UNTYPED
        or (call.status and call.status != OK and any(mark in call.details for mark in TRACE_MARKS))
    }
    return sorted(found)[:5]


def _counted(calls: Sequence[Call]) -> list[Call]:
    longest = max((call.deadline for call in calls), default=0.0)
    return [call for call in calls if call.status != CANCELLED_BY_CALLER and call.deadline == longest]


def _goodput(calls: Sequence[Call], window: Window) -> float:
    inside = [call for call in calls if window.began <= call.intended < window.ended]
    return sum(call.is_in_time for call in inside) / max(window.ended - window.began, 1e-9)


def _by_second(calls: Sequence[Call]) -> list[dict[str, Any]]:
    if not calls:
        return []
    begin = min(call.intended for call in calls)
    grouped: dict[int, list[Call]] = {}
    for call in calls:
        grouped.setdefault(int(call.intended - begin), []).append(call)
    return [
        {
            "second": second,
            "sent": len(group),
            "in_time": sum(call.is_in_time for call in group),
            "levels": dict(sorted(Counter(call.level for call in group if call.is_answered).items())),
            "errors": dict(Counter(call.status for call in group if call.status != OK)),
        }
        for second, group in sorted(grouped.items())
    ]
