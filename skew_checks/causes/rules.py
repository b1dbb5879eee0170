"""The table of rules, in order, and how a cause is chosen by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skew_checks.causes import (
    of_assembly,
    of_clocks,
    of_columns,
    of_defaults,
    of_numbers,
    of_offline,
    of_other_rows,
    of_replicas,
    of_rows,
    of_vectors,
)
from skew_checks.causes.case import Case, Seen
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Share

Rule = Callable[[Case], Seen | None]

RULES: tuple[tuple[Cause, Rule], ...] = (
    (Cause.ONE_REPLICA, of_replicas.one_replica),
    (Cause.OTHER_ROW, of_other_rows.row_of_the_matrix),
    (Cause.ASSEMBLY, of_assembly.assembly),
    (Cause.CATEGORY_DICTIONARY, of_assembly.category_dictionary),
    (Cause.TRANSFORM_CODE, of_assembly.transform_code),
    (Cause.SWAPPED_COLUMNS, of_columns.swapped_columns),
    (Cause.DEFAULT_FILL, of_defaults.default_fill),
    (Cause.OFFLINE_LEAKAGE, of_offline.offline_leakage),
    (Cause.OTHER_ROW, of_other_rows.other_row),
    (Cause.NEVER_MATERIALIZED, of_rows.never_materialized),
    (Cause.MATERIALIZATION_GAP, of_rows.materialization_gap),
    (Cause.LATE_DATA, of_rows.late_data),
    (Cause.CORRECTION_NOT_APPLIED, of_rows.correction_not_applied),
    (Cause.TTL, of_rows.ttl),
    (Cause.CLOCK, of_clocks.clock),
    (Cause.PRECISION, of_numbers.precision),
    (Cause.UNIT, of_numbers.unit),
    (Cause.CLIPPING, of_numbers.clipping),
    (Cause.WINDOW_LENGTH, of_columns.window_length),
    (Cause.EMBEDDING_VERSION, of_vectors.embedding_version),
)
LAST_RULES: tuple[tuple[Cause, Rule], ...] = (
    (Cause.SWAPPED_COLUMNS, of_columns.other_column),
    (Cause.CORRECTION_NOT_APPLIED, of_offline.rewritten_since),
    (Cause.DEFAULT_FILL, of_assembly.stayed_missing),
    (Cause.TRANSFORM_CODE, of_assembly.transform_inputs),
)
"""Tried where none of RULES explains most: what they see is weaker."""
"""Duplicates, keys, request clocks and models are seen without a mismatch: `skew_checks.causes.findings`."""
MOST = 0.5
"""A cause has to explain more than this share of the mismatches looked at."""


@dataclass(frozen=True)
class Explanation:
    """Of one feature's mismatches."""

    cause: Cause
    shares: tuple[Share, ...]
    """Of the mismatches looked at, each by the cause that explains most; most first."""
    facts: tuple[str, ...]


def _seen(case: Case, rules: tuple[tuple[Cause, Rule], ...]) -> list[tuple[Cause, Seen]]:
    """What each rule explains; most first, rules that explain as much in their order."""
    seen = [(cause, found) for cause, rule in rules if (found := rule(case)) is not None and found.mask.any()]
    return sorted(seen, key=lambda one: -int(one[1].mask.sum()))


def explain(case: Case) -> Explanation:
    """The cause that explains most of the case's witnesses; of several, the first in the table."""
    seen = _seen(case, RULES)
    if not seen or seen[0][1].mask.mean() <= MOST:
        last = _seen(case, LAST_RULES)
        seen = [*last, *seen] if last and last[0][1].mask.mean() > MOST else [*seen, *last]
    left = np.ones(len(case), bool)
    counts: dict[Cause, int] = {}
    for cause, found in seen:
        counts[cause] = counts.get(cause, 0) + int((found.mask & left).sum())
        left &= ~found.mask
    counts[Cause.UNEXPLAINED] = int(left.sum())
    shares = [Share(cause.value, count, len(case)) for cause, count in counts.items() if count]
    shares.sort(key=lambda share: -share.bad)
    if not seen or seen[0][1].mask.mean() <= MOST:
        facts = [fact for _, found in seen[:2] for fact in found.facts]
        return Explanation(Cause.UNEXPLAINED, tuple(shares), tuple(facts))
    return Explanation(seen[0][0], tuple(shares), seen[0][1].facts)
