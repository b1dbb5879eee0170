"""The same nights by who looks at them: what each tool finds, and what it cries wolf at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skew_checks.bench.controls import CONTROLS
from skew_checks.bench.judged import A_A, Judged
from skew_checks.bench.others import OtherNight

OURS = "marquee skew check"


@dataclass(frozen=True)
class Compared:
    """One tool on one kind of nights."""

    tool: str
    nights: str
    found: int
    """Defects found, by a right view or column; of healthy nights, those with any alarm."""
    of: int
    columns: float | None
    """Columns that it names, on average; ours names views."""


def compared(nights: Sequence[Judged], others: Sequence[OtherNight]) -> list[Compared]:
    """On those nights only that the other tools were asked about."""
    asked = {(other.name, other.share) for other in others}
    ours = [
        (OURS, name, night.share, night.found, None)
        for name, night in _numbered(nights)
        if (name, night.share) in asked
    ]
    theirs = [
        (
            other.tool,
            other.name,
            other.share,
            other.is_right if other.share else bool(other.columns),
            len(other.columns),
        )
        for other in others
    ]
    drifting = {control.name for control in CONTROLS if control.may_drift}
    told: dict[tuple[str, str], list[tuple[bool, int | None]]] = {}
    for tool, name, share, found, columns in (*ours, *theirs):
        kind = f"defects at {share:.1%}" if share else "A/A nights" if name.startswith(A_A) else "controls"
        if name not in drifting:
            told.setdefault((tool, kind), []).append((found, columns))
    return [_compared(tool, kind, nights_of) for (tool, kind), nights_of in sorted(told.items())]


def _compared(tool: str, kind: str, nights: Sequence[tuple[bool, int | None]]) -> Compared:
    columns = [named for _, named in nights if named is not None]
    mean = sum(columns) / len(columns) if columns else None
    return Compared(tool, kind, sum(found for found, _ in nights), len(nights), mean)


def _numbered(nights: Sequence[Judged]) -> Iterator[tuple[str, Judged]]:
    """A/A nights by their numbers, as the other tools know them."""
    number = 0
    for night in nights:
        if night.name == A_A:
            yield f"{A_A}-{number}", night
            number += 1
        else:
            yield night.name, night
