"""What a skew check allows and wants, in one place: printed into the report's manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """The defaults are those of `marquee skew check`."""

    min_requests: int = 100
    """Fewer are not enough to call serving right: a defect in every twentieth request might not be among them."""
    min_rows: int = 100
    """The same for candidate rows."""
    budget: float = 0.001
    """Largest share of units that may be wrong, where a view has no tag `skew_budget`."""
    drop_share: float = 0.001
    """Largest share of the log's requests that its writers may have dropped."""
    witnesses: int = 256
    """Values per feature at which the rules of cause look, drawn from the whole window."""
    witnesses_of_all: int = 4_000
    """Rows drawn from all, whether they differ or not: for ages, and for what healthy values look like."""
    seed: int = 0
    """Of that draw."""
