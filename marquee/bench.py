"""`marquee bench`: what is measured, next to what it could cost at least."""

from __future__ import annotations

from marquee.lazy import LazyGroup, Verb

bench = LazyGroup(
    "bench",
    verbs={
        "rank": Verb(
            "marquee.bench_rank:bench_rank",
            "Rank next to its floors and stock Feast, for one client and under load.",
        ),
        "serving-log": Verb(
            "marquee.bench_log:bench_log", "What the serving log costs the requests beside it."
        ),
        "data-plane": Verb(
            "marquee.bench_data_plane:bench_data_plane",
            "Our Feast plug-ins next to the stock stores and to the floor.",
        ),
        "skew": Verb(
            "marquee.bench_skew:bench_skew",
            "Seeded defects and silent controls: what the skew check finds, and what others do.",
        ),
    },
    help="Measure, next to the floor.",
)
