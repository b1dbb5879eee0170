"""What lies between the server and Redis fails: the proxy does it, Redis is well."""

from __future__ import annotations

from .proxy import Fault
from .scenario import Scenario, Step

BEGINS = 3.0


def through_proxy(name: str, what: str, fault: Fault, seconds: float = 5.0) -> Scenario:
    """The fault for so long, then a network that works again."""
    return Scenario(
        name=name,
        what=f"{what}, for {seconds:g} s",
        seconds=BEGINS + seconds + 5,
        steps=(
            Step(BEGINS, lambda stage: stage.proxy.set(fault)),
            Step(BEGINS + seconds, lambda stage: stage.proxy.heal()),
        ),
    )


SLOW_FEW = through_proxy("slow-5", "5 % of replies 50 ms late", Fault("delay", share=0.05, seconds=0.05))
SLOW_ALL = through_proxy("slow-100", "every reply 50 ms late", Fault("delay", seconds=0.05))
HALF_OPEN = through_proxy("half-open", "connections accepted, nothing ever comes back", Fault("swallow"))
TRUNCATED = through_proxy(
    "truncated", "2 % of replies end in the middle, with their connection", Fault("truncate", share=0.02)
)
GARBAGE = through_proxy("garbage", "2 % of replies are random bytes", Fault("garbage", share=0.02))
HALF_GARBAGE = through_proxy(
    "half-garbage", "2 % of replies are random bytes from their middle on", Fault("half-garbage", share=0.02)
)
ALTERED = through_proxy(
    "altered", "bits flipped in what 10 % of replies hold, lengths kept", Fault("alter", share=0.1)
)
DROPPED = through_proxy(
    "dropped", "1 % of replies never come, the next one does in their place", Fault("drop", share=0.01)
)
REFUSED = through_proxy("refused", "connections reset, new ones refused", Fault("refuse"))
ONE_LEFT = through_proxy(
    "one-connection", "one connection at most, others closed at once", Fault("limit", connections=1)
)

SCENARIOS = (
    SLOW_FEW,
    SLOW_ALL,
    HALF_OPEN,
    TRUNCATED,
    GARBAGE,
    HALF_GARBAGE,
    ALTERED,
    DROPPED,
    REFUSED,
    ONE_LEFT,
)
