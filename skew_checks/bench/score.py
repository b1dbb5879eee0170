"""What all nights together say: the figures of the benchmark, with the bars they must reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from materialization.bench.figures import Bar, Figure, at_least, at_most
from skew_checks.bench.judged import A_A, UNTOUCHED, Judged

FOUND, PRECISION, CAUSES, VIEWS, SILENCE = "found", "precision", "causes", "views", "silence"
FOUND_AT_1, FOUND_AT_5, PRECISE, NAMED, RIGHT_VIEW, FALSE_NIGHTS = 0.95, 0.99, 0.95, 0.90, 1.0, 0.01
RULE_OF_THREE = 3.0


def figures(nights: Sequence[Judged]) -> tuple[Figure, ...]:
    """Every figure that the nights are enough for."""
    seeded = [night for night in nights if night.share is not None and night.outcome != UNTOUCHED]
    found = [night for night in seeded if night.found]
    told = [
        *_found(seeded),
        *_share(PRECISION, "fails that are right, of all", _precise(seeded, nights), at_least(PRECISE)),
        *_share(CAUSES, "cause in first place right, of those found", _mean(found, _named), at_least(NAMED)),
        *_share(VIEWS, "first fail on a right view", _mean(_failing(seeded), _right), at_least(RIGHT_VIEW)),
    ]
    controls = [night for night in nights if night.share is None and not night.name.startswith(A_A)]
    a_a = [night for night in nights if night.share is None and night.name.startswith(A_A)]
    told += _share(SILENCE, "controls that are not silent", _count(controls, _is_found), at_most(0))
    if a_a:
        false = sum(night.found for night in a_a)
        bar = at_most(FALSE_NIGHTS) if len(a_a) >= 1 / FALSE_NIGHTS else None
        told.append(Figure(SILENCE, f"false fails, share of {len(a_a)} A/A nights", false / len(a_a), bar))
    return tuple(told)


def _found(seeded: Sequence[Judged]) -> list[Figure]:
    """By share of rows, and over what the bars speak of."""
    told = []
    for share in sorted({night.share for night in seeded if night.share is not None}):
        here = [night for night in seeded if night.share == share]
        told += _share(FOUND, f"defects found at {share:.1%} of rows", _mean(here, _is_found), None)
    for least, bar in ((0.01, FOUND_AT_1), (0.05, FOUND_AT_5)):
        here = [night for night in seeded if night.share is not None and night.share >= least]
        told += _share(
            FOUND, f"defects found at {least:.0%} of rows and more", _mean(here, _is_found), at_least(bar)
        )
    return told


def _precise(seeded: Sequence[Judged], nights: Iterable[Judged]) -> float | None:
    right, wrong = sum(night.right for night in seeded), sum(night.wrong for night in nights)
    return right / (right + wrong) if right + wrong else None


def _failing(nights: Sequence[Judged]) -> list[Judged]:
    """Where anything at all failed that is not a mere consequence."""
    return [night for night in nights if night.right or night.wrong]


def _is_found(night: Judged) -> bool:
    return night.found


def _named(night: Judged) -> bool:
    return night.named


def _right(night: Judged) -> bool:
    return night.right_view


def _mean(nights: Sequence[Judged], is_so: Callable[[Judged], bool]) -> float | None:
    return float(np.mean([is_so(night) for night in nights])) if nights else None


def _count(nights: Sequence[Judged], is_so: Callable[[Judged], bool]) -> float | None:
    return float(sum(is_so(night) for night in nights)) if nights else None


def _share(measure: str, what: str, value: float | None, bar: Bar | None) -> list[Figure]:
    """Nothing where there is nothing to say it of."""
    return [] if value is None else [Figure(measure, what, value, bar)]
