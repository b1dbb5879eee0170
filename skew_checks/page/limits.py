"""How much of a report the page shows, so that it stays one that opens at once; JSON has the rest."""

from __future__ import annotations

from dataclasses import dataclass, fields

LARGEST_PAGE = 5_000_000
"""Bytes."""


@dataclass(frozen=True)
class Limits:
    """Most of each kind; what is left out is counted on the page."""

    defects: int = 60
    features_of_a_defect: int = 12
    evidence: int = 12
    facts: int = 12
    features: int = 1500
    heat_rows: int = 40
    heat_parts: int = 24
    """Of one dimension."""
    plots: int = 24
    """Of one kind."""
    points: int = 400
    """Of one plot."""
    drift: int = 200
    notes: int = 40
    text: int = 160
    """Characters of one value or name."""
    manifest: int = 200

    def halved(self) -> Limits:
        """Half of each, at least 1."""
        return Limits(**{one.name: max(1, getattr(self, one.name) // 2) for one in fields(self)})
