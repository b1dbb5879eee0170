"""The statistics that TensorFlow Data Validation documents for skew and drift, computed plainly.

Categories: the L-infinity distance, the largest difference of a category's share. Numbers: the Jensen-Shannon
divergence in bits over ten buckets of equal width on the common range of both sides, values that are there only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BUCKETS = 10
Values = npt.NDArray[np.float32]
Shares = npt.NDArray[np.float64]


def text_distance(reference: Values, served: Values) -> float:
    """Of dictionary codes, NaN being one more category; in [0, 1]."""
    codes = np.unique(np.concatenate([reference, served]))
    return float(max(abs(_share(reference, code) - _share(served, code)) for code in codes))


def numeric_distance(reference: Values, served: Values) -> float:
    """In [0, 1]; 0 where both sides have no value, 1 where one has none."""
    left, right = (side[np.isfinite(side)].astype(np.float64) for side in (reference, served))
    if not len(left) or not len(right):
        return float(len(left) != len(right))
    low, high = min(left.min(), right.min()), max(left.max(), right.max())
    if low == high:
        return 0.0
    counts = (np.histogram(side, BUCKETS, (low, high))[0] for side in (left, right))
    return jensen_shannon(*(count / count.sum() for count in counts))


def jensen_shannon(left: Shares, right: Shares) -> float:
    """Of two distributions over the same buckets, in bits."""
    middle = (left + right) / 2
    return (_divergence(left, middle) + _divergence(right, middle)) / 2


def _divergence(shares: Shares, middle: Shares) -> float:
    there = shares > 0
    return float((shares[there] * np.log2(shares[there] / middle[there])).sum())


def _share(values: Values, code: float) -> float:
    same = np.isnan(values) if np.isnan(code) else values == code
    return float(same.mean()) if len(values) else 0.0
