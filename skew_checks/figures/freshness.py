"""How old each view's rows were, beside how old they may be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skew_checks.causes.evidence import Evidence
from skew_checks.figures.ages import AgeCounts
from skew_checks.judging.accumulate import Judging
from skew_checks.judging.rates import rate_of, status_of
from skew_checks.judging.witnesses import EVERY
from skew_checks.replay.lag import CLOSE_SECONDS
from skew_checks.result.population import Freshness


def freshness_of(judging: Judging, evidence: Evidence) -> Iterator[Freshness]:
    """Of each view: ages of all rows read; late ones of the rows drawn from all."""
    every = np.isin(evidence.witnesses.hashes, judging.pool.draws[EVERY].kept)
    for view in judging.judge.views:
        rows, facts = evidence.rows(view.name), judging.judge.facts[view.name]
        newest = rows.newest.event
        is_due = ~np.isnan(newest) & ~((view.ttl_seconds > 0) & (evidence.at - newest > view.ttl_seconds))
        late = every & is_due & ~(rows.own >= newest - CLOSE_SECONDS) & ~rows.lags
        budget = judging.thresholds.budget if facts.budget is None else facts.budget
        rate = rate_of(int(late.sum()), int((every & is_due).sum()), budget=budget)
        ages = judging.ages.by_view.get(view.name, AgeCounts())
        yield Freshness(
            view.name, facts.target_seconds, status_of(rate), rate, ages.quantiles(), ages.curve()
        )
