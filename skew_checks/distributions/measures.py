"""Which statistics a feature has, by what its bins are."""

from __future__ import annotations

from functools import partial

import numpy as np

from ranking_service.training.baseline.bins import (
    DEFAULT,
    MINUS_INFINITY,
    MISSING,
    PLUS_INFINITY,
    FeatureBins,
)
from skew_checks.distributions import statistics
from skew_checks.distributions.resampling import Distance
from skew_checks.distributions.statistics import Floats


def measures(bins: FeatureBins, reference: Floats) -> dict[str, Distance]:
    """Distances of (p, q) by name. `reference`, float64 [bins], gives the scale of Wasserstein's."""
    missing = partial(statistics.share_difference, bins=slice(MISSING, MISSING + 1))
    both: dict[str, Distance] = {"psi": statistics.psi, "jensen_shannon": statistics.jensen_shannon}
    if bins.is_text:
        return {**both, "l_infinity": statistics.l_infinity, "unseen_mass": missing}
    both |= {
        "null_rate": missing,
        "inf_rate": partial(statistics.share_difference, bins=slice(PLUS_INFINITY, MINUS_INFINITY + 1)),
    }
    if not np.isnan(bins.default):
        both["default_rate"] = partial(statistics.share_difference, bins=slice(DEFAULT, DEFAULT + 1))
    if np.isfinite(bins.places).sum() > 1:
        scale = statistics.spread(reference, bins.places)
        both["kolmogorov_smirnov"] = partial(statistics.kolmogorov_smirnov, places=bins.places)
        both["wasserstein"] = partial(statistics.wasserstein, places=bins.places, scale=scale)
    return both
