"""`marquee model compare`: how two bundles differ on the same requests, with intervals over users."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ranking_service.evaluation.evaluate import Interval
from ranking_service.evaluation.metrics import RankedLists
from ranking_service.models.agreement import TOP, kendall, overlap, spearman, top
from ranking_service.models.paired import Floats, Paired

ACTIVITY = ((20, "20 or more requests"), (5, "5 to 19 requests"), (2, "2 to 4 requests"), (1, "1 request"))
"""Users by how many of the compared requests are theirs: at least so many."""
UNKNOWN = "(unknown)"
SMALLEST_LIST = 2


@dataclass(frozen=True)
class Segment:
    """Requests that have something in common."""

    by: str
    value: str
    requests: int
    users: int
    mean_scores: tuple[float, float]
    shift: Interval
    """Mean score of the second minus that of the first."""
    overlap: Interval


@dataclass(frozen=True)
class Worth:
    """NDCG@10 on requests of which some shown items had the outcome and others had not; all other items are left out.

    `difference` is the second minus the first, on the same resampled users.
    """

    lists: int
    first: Interval
    second: Interval
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """Intervals are 95 %, by resampling users."""

    versions: tuple[str, str]
    source: str
    requests: int
    users: int
    candidates: int
    overlap: Interval
    """Of the top 10, 0 to 1."""
    same_first: Interval
    """Share of requests with the same best item."""
    kendall: Interval
    spearman: Interval
    shift: Interval
    micros: tuple[dict[str, float], dict[str, float]]
    """Median and p99 of scoring a request, by bundle; empty where unknown."""
    worth: Worth | None
    """None without outcomes."""
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; NaN as null."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def compare(paired: Paired, *, resamples: int = 200, seed: int = 0) -> Comparison:
    """All figures of two scorings; where no resampling has any of a segment's users, its intervals' ends are NaN."""
    names, user = np.unique(paired.requests["user_id"].to_numpy(), return_inverse=True)
    users = _Users.of(user, len(names), resamples=resamples, seed=seed)
    slices = [slice(*pair) for pair in zip(paired.starts[:-1], paired.starts[1:], strict=True)]
    pairs = [(paired.scores[0][rows], paired.scores[1][rows]) for rows in slices]
    overlaps = np.array([overlap(*pair) for pair in pairs])
    means = np.array([[scores.mean() for scores in pair] for pair in pairs])
    return Comparison(
        versions=paired.versions,
        source=paired.source,
        requests=paired.count,
        users=len(names),
        candidates=int(paired.starts[-1]),
        overlap=users.mean(overlaps),
        same_first=users.mean(np.array([float(top(a, 1)[0] == top(b, 1)[0]) for a, b in pairs])),
        kendall=users.mean(np.array([kendall(*pair) for pair in pairs])),
        spearman=users.mean(np.array([spearman(*pair) for pair in pairs])),
        shift=users.mean(means[:, 1] - means[:, 0]),
        micros=(_micros(paired.micros[0]), _micros(paired.micros[1])),
        worth=_worth(paired, users),
        segments=tuple(_segments(paired, users, overlaps, means)),
        notes=paired.notes,
    )


@dataclass(frozen=True)
class _Users:
    """Whose the requests are, and how often each user counts in each resampling."""

    user: npt.NDArray[np.int64]
    """int64 [requests]"""
    draws: Floats
    """float64 [resamples, users]"""

    @classmethod
    def of(cls, user: npt.NDArray[np.int64], count: int, *, resamples: int, seed: int) -> _Users:
        random = np.random.default_rng(seed)
        return cls(
            user, random.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
        )

    def mean(self, values: Floats, where: npt.NDArray[np.bool_] | None = None) -> Interval:
        """Of one value a request, NaN left out; NaN where nothing is left."""
        known = ~np.isnan(values) if where is None else ~np.isnan(values) & where
        count = self.draws.shape[1]
        sums = np.bincount(self.user[known], weights=values[known], minlength=count)
        counts = np.bincount(self.user[known], minlength=count)
        if not known.any():
            return Interval(float("nan"), float("nan"), float("nan"))
        weights = self.draws @ counts
        drawn = weights > 0
        resampled = (self.draws @ sums)[drawn] / weights[drawn]
        low, high = np.percentile(resampled, [2.5, 97.5]) if len(resampled) else (float("nan"),) * 2
        return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def _micros(taken: Floats) -> dict[str, float]:
    known = taken[~np.isnan(taken)]
    if not len(known):
        return {}
    return {"median": float(np.median(known)), "p99": float(np.percentile(known, 99))}


def _worth(paired: Paired, users: _Users) -> Worth | None:
    shown = ~np.isnan(paired.label)
    if not shown.any():
        return None
    label, lists = paired.label[shown], paired.request_of_row()[shown]
    ndcg = np.full((2, paired.count), np.nan)
    for side, scores in enumerate(paired.scores):
        ranked = RankedLists.of(label, scores[shown], lists, at_least=SMALLEST_LIST)
        if not len(ranked.codes):
            return None
        ndcg[side, ranked.codes] = ranked.ndcg(TOP)
    return Worth(
        lists=int((~np.isnan(ndcg[0])).sum()),
        first=users.mean(ndcg[0]),
        second=users.mean(ndcg[1]),
        difference=users.mean(ndcg[1] - ndcg[0]),
    )


def _segments(paired: Paired, users: _Users, overlaps: Floats, means: Floats) -> Iterator[Segment]:
    for by, values in _grouping(paired, users.user).items():
        named, counts = np.unique(values, return_counts=True)
        for value in named[np.argsort(-counts, kind="stable")]:
            where = values == value
            yield Segment(
                by=by,
                value=str(value),
                requests=int(where.sum()),
                users=len(np.unique(users.user[where])),
                mean_scores=(float(means[where, 0].mean()), float(means[where, 1].mean())),
                shift=users.mean(means[:, 1] - means[:, 0], where),
                overlap=users.mean(overlaps, where),
            )


def _grouping(paired: Paired, user: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.object_]]:
    """Each request's value of what they are grouped by."""
    columns = {name: paired.requests[name].fill_null(UNKNOWN).to_pylist() for name in ("surface", "device")}
    counts = np.bincount(user)[user]
    columns["user activity"] = [next(name for least, name in ACTIVITY if count >= least) for count in counts]
    return {
        name: np.array([value or UNKNOWN for value in values], object) for name, values in columns.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and np.isnan(value) else value
