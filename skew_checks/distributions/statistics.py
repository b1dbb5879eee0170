"""Distances between two distributions over the same bins: their exact definitions.

Everywhere p and q are shares over bins, float64 [..., bins], each summing to 1: p of what is judged, q of what it is
judged against. Leading axes broadcast, one distance for each. An empty side (all NaN) gives NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FLOOR = 1e-4
"""Added to every share before a logarithm is taken, and the shares scaled to 1 again."""


def shares(counts: npt.NDArray[Any]) -> Floats:
    """Counts as shares over the last axis; NaN where there are none."""
    total = counts.sum(axis=-1, keepdims=True, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, counts / total, np.nan), np.float64)


def psi(p: Floats, q: Floats) -> Floats:
    """Population stability index: sum over bins of (p' - q') * ln(p' / q'), natural logarithm.

    p' = (p + FLOOR) / (1 + bins * FLOOR), q' alike. Twice the symmetric Kullback-Leibler (Jeffreys) mean; no upper end.
    """
    p, q = _floored(p), _floored(q)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def jensen_shannon(p: Floats, q: Floats) -> Floats:
    """Jensen-Shannon divergence, base 2: (KL(p, m) + KL(q, m)) / 2 with m = (p + q) / 2, so in [0, 1].

    The divergence, not its square root, which is `scipy.spatial.distance.jensenshannon(p, q, 2)`.
    """
    middle = (p + q) / 2
    return np.asarray((_entropy_terms(p, middle) + _entropy_terms(q, middle)).sum(axis=-1) / 2)


def kolmogorov_smirnov(p: Floats, q: Floats, places: Floats) -> Floats:
    """Greatest difference of the distribution functions at the bins' places, of values that have a place, so in [0, 1].

    `places` is float64 [bins] (`FeatureBins.places`). Never more than the statistic over the values themselves.
    """
    left, right, _ = _placed(p, q, places)
    return np.asarray(np.abs(np.cumsum(left, axis=-1) - np.cumsum(right, axis=-1)).max(axis=-1, initial=0.0))


def wasserstein(p: Floats, q: Floats, places: Floats, scale: float) -> Floats:
    """First Wasserstein distance of the values that have a place, each taken to lie at its bin's place, over `scale`.

    Equal to `scipy.stats.wasserstein_distance(places, places, p, q) / scale`; 0 where scale is 0.
    """
    left, right, line = _placed(p, q, places)
    if scale == 0:
        return np.zeros(left.shape[:-1])
    apart = np.abs(np.cumsum(left, axis=-1) - np.cumsum(right, axis=-1))[..., :-1]
    return np.asarray((apart * np.diff(line)).sum(axis=-1) / scale)


def spread(q: Floats, places: Floats) -> float:
    """Standard deviation of the values that have a place: the scale of `wasserstein`. `q` is float64 [bins]."""
    _, weights, line = _placed(q, q, places)
    if not len(line) or not np.isfinite(weights).all():
        return 0.0
    mean = (weights * line).sum()
    return float(np.sqrt((weights * (line - mean) ** 2).sum()))


def l_infinity(p: Floats, q: Floats) -> Floats:
    """Greatest difference of one bin's share, so in [0, 1]."""
    return np.asarray(np.abs(p - q).max(axis=-1))


def share_difference(p: Floats, q: Floats, bins: slice) -> Floats:
    """|share of `bins` in p - share in q|: of missing values, defaults, infinities, unseen categories."""
    return np.asarray(np.abs(p[..., bins].sum(axis=-1) - q[..., bins].sum(axis=-1)))


def total_variation(p: Floats, q: Floats) -> Floats:
    """Half the sum of |p - q|: the share that would have to move to another bin, so in [0, 1]."""
    return np.asarray(np.abs(p - q).sum(axis=-1) / 2)


def _floored(share: Floats) -> Floats:
    return np.asarray((share + FLOOR) / (1 + share.shape[-1] * FLOOR))


def _entropy_terms(p: Floats, middle: Floats) -> Floats:
    """p * log2(p / middle), 0 where p is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = p * np.log2(p / middle)
    return np.asarray(np.where(p == 0, 0.0, terms), np.float64)


def _placed(p: Floats, q: Floats, places: Floats) -> tuple[Floats, Floats, Floats]:
    """Shares among the bins that have a place, in the places' order, and those places."""
    order = np.argsort(places, kind="stable")[: int(np.isfinite(places).sum())]
    return shares(p[..., order]), shares(q[..., order]), places[order]
