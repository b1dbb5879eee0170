"""False-discovery control: of the features named, few may be named by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skew_checks.distributions.statistics import Floats


def adjusted(p_values: Sequence[float], *, arbitrary_dependence: bool = False) -> Floats:
    """q-values in the order given: naming all with q <= a makes at most a share of a false discoveries on average.

    Benjamini and Hochberg (1995), for features that are independent or vary together; with `arbitrary_dependence`
    Benjamini and Yekutieli (2001).
    """
    p = np.asarray(p_values, np.float64)
    if not len(p):
        return p
    order = np.argsort(p, kind="stable")
    ranks = np.arange(1, len(p) + 1)
    factor = len(p) * (float((1 / ranks).sum()) if arbitrary_dependence else 1.0)
    rising = np.minimum.accumulate((p[order] * factor / ranks)[::-1])[::-1]
    result = np.empty(len(p))
    result[order] = np.minimum(rising, 1.0)
    return result
