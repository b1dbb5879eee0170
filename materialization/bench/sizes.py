"""What a run of the benchmark measures, on how much data, and how often."""

from __future__ import annotations

from dataclasses import dataclass

MEASURES = {
    "fetch": "the ranker's read, and Feast's own read",
    "materialize": "the materialize call, the write alone, Redis memory",
    "growth": "materialization of up to two million rows",
    "join": "point-in-time join",
    "large-join": "point-in-time join larger than memory",
}
"""By the names a run can be asked for."""


@dataclass(frozen=True)
class Sizes:
    """The defaults are those of the bars."""

    users: int = 20_000
    items: int = 15_000
    active_users: int = 200
    """Users with a row for each of `candidates` items."""
    candidates: int = 500
    user_features: int = 60
    item_features: int = 110
    pair_features: int = 20
    fetches: int = 5_000
    stock_every: int = 50
    """Stock reads are so slow that they take part in every so-many-th round only."""
    loads: int = 5
    """Times ours materializes; a write alone is measured as often."""
    stock_loads: int = 2
    growth_rows: tuple[int, ...] = (500_000, 1_000_000, 2_000_000)
    growths: int = 2
    """Times each of `growth_rows` is materialized."""
    join_rows: int = 1_000_000
    snapshots: tuple[int, ...] = (30, 8)
    """Rows of each entity in the joined sources, a day apart; the bars are for the first, a month of features.
    Stock's cost grows with them."""
    joins: int = 5
    """Times ours joins, and the bare SQL; stock joins once."""
    large_join_rows: int = 10_000_000
    large_join_memory: str = "4GB"

    @property
    def online_rows(self) -> int:
        """Rows of the three views that are materialized and fetched."""
        return self.users + self.items + self.active_users * self.candidates

    @property
    def features(self) -> int:
        """Columns of the fetched matrix."""
        return self.user_features + self.item_features + self.pair_features


QUICK = Sizes(
    users=2_000,
    items=1_500,
    active_users=20,
    fetches=300,
    stock_every=30,
    loads=3,
    stock_loads=1,
    growth_rows=(100_000, 200_000, 400_000),
    growths=1,
    join_rows=100_000,
    snapshots=(30,),
    joins=3,
    large_join_rows=1_000_000,
    large_join_memory="1GB",
)
"""A first look: too small for the ratios to be those of the bars."""
