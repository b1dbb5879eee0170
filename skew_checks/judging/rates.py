"""How sure a share is: the bounds of Clopper and Pearson."""

from __future__ import annotations

from scipy.special import betaincinv

from skew_checks.result.parts import Rate, Status

CONFIDENCE = 0.999
"""Of each bound."""


def rate_of(bad: int, units: int, *, budget: float, confidence: float = CONFIDENCE) -> Rate:
    """`bad` of `units` with one-sided bounds, each right with probability `confidence` at least.

    The bounds are the quantiles of beta distributions: C. J. Clopper, E. S. Pearson, "The use of confidence or
    fiducial limits illustrated in the case of the binomial", Biometrika 26 (1934). Nothing seen is [0, 1].
    """
    lower, upper = 0.0, 1.0
    if bad > 0:
        lower = float(betaincinv(bad, units - bad + 1, 1 - confidence))
    if bad < units:
        upper = float(betaincinv(bad + 1, units - bad, confidence))
    return Rate(bad, units, lower, upper, budget)


def status_of(rate: Rate) -> Status:
    """FAIL where the share exceeds the budget for sure, WARN where anything differs at all."""
    if not rate.units:
        return Status.INSUFFICIENT
    if rate.lower > rate.budget:
        return Status.FAIL
    return Status.WARN if rate.bad else Status.OK
