"""Where a change sits: by surface, device, country, user age, replica, hour. Looked at only where there is a change."""

from __future__ import annotations

from ranking_service.training.baseline.frozen import EVERYTHING, Frozen
from skew_checks.distributions.settings import DriftSettings
from skew_checks.distributions.statistics import shares, total_variation
from skew_checks.result.parts import Share, Slice


def slices_of(
    current: Frozen, reference: Frozen, place: int, *, settings: DriftSettings
) -> tuple[Slice, ...]:
    """By dimension the parts with enough requests, most changed first.

    `units` of a part are its requests, `bad` so many of them as would have to move to another bin to agree (total
    variation) with the same part of the reference; with all of the reference where that has no such part. An
    item's feature is counted over rows here.
    """
    found: dict[str, list[Share]] = {}
    for part, units in current.units.items():
        if part != EVERYTHING and units >= settings.slice_minimum:
            found.setdefault(part[0], []).append(_share(current, reference, part, place, units, settings))
    return tuple(
        Slice(dimension, tuple(sorted(parts, key=lambda part: (-part.share, part.name))))
        for dimension, parts in sorted(found.items())
    )


def _share(
    current: Frozen,
    reference: Frozen,
    part: tuple[str, str],
    place: int,
    units: int,
    settings: DriftSettings,
) -> Share:
    has_part = reference.units.get(part, 0) >= settings.slice_minimum
    here = current.slice_counts(part, place)
    there = reference.slice_counts(part if has_part else EVERYTHING, place)
    moved = 0.0
    if here is not None and there is not None and here.any() and there.any():
        moved = float(total_variation(shares(here), shares(there)))
    return Share(part[1], round(moved * units), units)
