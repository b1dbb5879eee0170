"""`marquee model evaluate`: the model against baselines on the test days, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from materialization.progress import Report, silent
from ranking_service.evaluation.metrics import (
    Codes,
    Floats,
    RankedLists,
    auc,
    calibration,
    calibration_error,
    list_aucs,
)

METRICS = ("auc", "gauc_user", "gauc_user_day", "ndcg@10", "precision@5", "recall@10")
SMALLEST_LIST = 5


@dataclass(frozen=True)
class TestRows:
    """The rows a ranking is judged on."""

    label: Floats
    user: Codes
    """0-based, dense."""
    user_day: Codes
    """0-based, dense: the lists."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval over users."""

    value: float
    low: float
    high: float


Figures = dict[str, dict[str, Interval]]
"""Intervals by ranker, then by metric."""


def evaluate(
    rows: TestRows,
    scores: Mapping[str, Floats],
    *,
    resamples: int = 200,
    seed: int = 0,
    progress: Report = silent,
) -> Figures:
    """Every ranker's metrics. Missing scores (NaN) rank as that ranker's mean.

    The intervals resample users with replacement (percentile bootstrap), the same users for every ranker.
    """
    users = int(rows.user.max()) + 1
    draws = np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), size=resamples)
    figures: Figures = {}
    for done, (name, score) in enumerate(scores.items()):
        judged = _Judged.of(rows, np.where(np.isnan(score), np.nanmean(score), score))
        values = judged.metrics(np.ones(users))
        resampled = [judged.metrics(draw.astype(np.float64)) for draw in draws]
        figures[name] = {
            metric: Interval(values[metric], *_percentiles([one[metric] for one in resampled]))
            for metric in METRICS
        }
        progress("resampling users", done + 1, len(scores))
    return figures


@dataclass(frozen=True)
class _Judged:
    """One ranker's scores reduced to what a resampling of users needs."""

    rows: TestRows
    score: Floats
    per_user: dict[str, tuple[Floats, Floats]]
    """Metric to (sum of weighted values, sum of weights) of each user."""

    @classmethod
    def of(cls, rows: TestRows, score: Floats) -> _Judged:
        users = int(rows.user.max()) + 1
        owner = np.zeros(int(rows.user_day.max()) + 1, np.int64)
        owner[rows.user_day] = rows.user
        ranked = RankedLists.of(rows.label, score, rows.user_day, at_least=SMALLEST_LIST)
        list_owner = owner[ranked.codes]
        ones = np.ones(len(list_owner))
        by_user = list_aucs(rows.label, score, rows.user)
        by_day = list_aucs(rows.label, score, rows.user_day)
        sizes = np.bincount(rows.user_day).astype(np.float64)
        per_user = {
            "gauc_user": _by_user(
                by_user, np.bincount(rows.user).astype(np.float64), np.arange(users), users
            ),
            "gauc_user_day": _by_user(by_day, sizes, owner, users),
            "ndcg@10": _by_user(ranked.ndcg(10), ones, list_owner, users),
            "precision@5": _by_user(ranked.precision(5), ones, list_owner, users),
            "recall@10": _by_user(ranked.recall(10), ones, list_owner, users),
        }
        order = np.argsort(score, kind="stable")
        sorted_rows = TestRows(rows.label[order], rows.user[order], rows.user_day[order])
        return cls(sorted_rows, score[order], per_user)

    def metrics(self, weight: Floats) -> dict[str, float]:
        """All metrics with each user counted `weight` times."""
        result = {"auc": auc(self.rows.label, self.score, weight[self.rows.user])}
        for name, (total, count) in self.per_user.items():
            counted = (weight * count).sum()
            result[name] = float((weight * total).sum() / counted) if counted else float("nan")
        return result


def _by_user(
    value: Floats, weight: Floats, owner: npt.NDArray[np.int64], users: int
) -> tuple[Floats, Floats]:
    known = ~np.isnan(value)
    total = np.bincount(owner[known], weights=(value * weight)[known], minlength=users)
    count = np.bincount(owner[known], weights=weight[known], minlength=users)
    return total.astype(np.float64), count.astype(np.float64)


def _percentiles(values: list[float]) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def calibration_report(label: Floats, score: Floats) -> dict[str, Any]:
    """Expected calibration error and the reliability table behind it."""
    table = calibration(label, score)
    return {"expected_calibration_error": calibration_error(table), "bins": table}
