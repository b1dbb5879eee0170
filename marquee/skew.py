"""`marquee skew`: is what was served what the offline path gives?"""

from __future__ import annotations

from marquee.lazy import LazyGroup, Verb

skew = LazyGroup(
    "skew",
    verbs={
        "check": Verb(
            "marquee.skew_check:check", "Replay the serving log through the training join and compare."
        ),
        "calibrate": Verb(
            "marquee.skew_calibrate:calibrate", "How often the drift checks would cry wolf here."
        ),
        "history": Verb("marquee.skew_history:history", "Nights side by side: when did it start?"),
    },
    help="Prove that what was served equals what the offline path gives.",
)
