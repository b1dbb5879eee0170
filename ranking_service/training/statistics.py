"""Training statistics on frozen bin edges: the baseline a later drift check counts against."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ranking_service.contract import Contract

BINS = 20


def baseline(matrix: npt.NDArray[np.float32], contract: Contract) -> dict[str, dict[str, Any]]:
    """For each feature: rows, share missing, mean, spread, and counts between frozen quantile edges.

    Bin i holds edges[i-1] < x <= edges[i], with open ends; text features count their dictionary codes.
    """
    return {
        feature.name: _numbers(matrix[:, index])
        if not feature.categories
        else _codes(matrix[:, index], len(feature.categories))
        for index, feature in enumerate(contract.features)
    }


def _numbers(column: npt.NDArray[np.float32]) -> dict[str, Any]:
    known = column[~np.isnan(column)].astype(np.float64)
    summary: dict[str, Any] = {"rows": len(column), "missing": float(1 - len(known) / max(len(column), 1))}
    if len(known):
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
        counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
        summary |= {
            "mean": float(known.mean()),
            "deviation": float(known.std()),
            "edges": edges.tolist(),
            "counts": counts.tolist(),
        }
    return summary


def _codes(column: npt.NDArray[np.float32], categories: int) -> dict[str, Any]:
    known = column[~np.isnan(column)].astype(np.int64)
    counts = np.bincount(known, minlength=categories)
    return {
        "rows": len(column),
        "missing": float(1 - len(known) / max(len(column), 1)),
        "counts": counts.tolist(),
    }
