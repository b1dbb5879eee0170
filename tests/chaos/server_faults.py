"""The server itself is hit: workers killed, too many calls, calls cancelled or short of time, clocks, a full disk."""

from __future__ import annotations

import contextlib

from .scenario import Goals, Scenario, Step, Surge
from .stage import Stage

DAY = 86_400.0


def cancelled(seconds: float) -> Scenario:
    """At random moments; who stays must not see another's rows."""
    return Scenario(
        name="cancelled",
        what="30 % of calls cancelled at random moments",
        seconds=seconds,
        cancel_share=0.3,
        goals=Goals(recovery_seconds=None),
    )


def _restart(stage: Stage) -> None:
    stage.server.kill()
    stage.server.start()


def _fill_disk(stage: Stage) -> None:
    with contextlib.suppress(OSError), (stage.disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4_096))


def _free_disk(stage: Stage) -> None:
    (stage.disk / "filler").unlink()


WORKER_KILLED = Scenario(
    name="worker-killed",
    what="one of two workers SIGKILLed",
    seconds=12,
    steps=(Step(4, lambda stage: stage.server.kill_a_worker()),),
    workers=2,
    goals=Goals(availability=0.99),
)
SERVER_KILLED = Scenario(
    name="server-killed",
    what="the whole server SIGKILLed and started again at once: a cold start",
    seconds=15,
    steps=(Step(4, lambda stage: stage.server.kill()), Step(4, lambda stage: stage.server.start())),
    fault_ends=0,
    goals=Goals(availability=None, recovery_seconds=5.0),
)
PAUSED = Scenario(
    name="server-paused",
    what="the server stands still (SIGSTOP) for 0.4 s, six times",
    seconds=15,
    steps=tuple(Step(3 + number, lambda stage: stage.server.pause(0.4)) for number in range(6)),
    goals=Goals(availability=None),
)
OVERLOAD = Scenario(
    name="overload",
    what="8 s of three times the capacity",
    seconds=17,
    surge=Surge(3, 8, 3.0),
    goals=Goals(availability=None, goodput_share=0.9, whole_share=0.6),
)
RETRY_STORM = Scenario(
    name="retry-storm",
    what="6 s of 1.5 times the capacity from callers that retry four times at once",
    seconds=16,
    surge=Surge(3, 6, 1.5),
    retries=4,
    goals=Goals(availability=None),
)
SHORT_OF_TIME = Scenario(
    name="short-deadlines",
    what="two calls in three have 1 or 4 ms only; counted is the third",
    seconds=10,
    deadlines=(0.001, 0.004, 0.1),
    goals=Goals(recovery_seconds=None),
)
REQUEST_TIMES = Scenario(
    name="request-times",
    what="request times ten years off, either way, among others",
    seconds=10,
    time_offsets=(None, -3_650 * DAY, 3_650 * DAY),
    goals=Goals(recovery_seconds=None),
)
CLOCK = Scenario(
    name="clock-jump",
    what="the server's clock jumps an hour ahead, then two hours back, then to the true time",
    seconds=16,
    steps=(
        Step(3, lambda stage: stage.clock.jump_to(3_600.0)),
        Step(6, lambda stage: stage.clock.jump_to(-3_600.0)),
        Step(9, lambda stage: stage.clock.jump_to(0.0)),
    ),
    with_own_clock=True,
)
FULL_DISK = Scenario(
    name="log-disk-full",
    what="the serving log's disk is full for 5 s",
    seconds=14,
    steps=(Step(3, _fill_disk), Step(8, _free_disk)),
    log_on_small_disk=True,
)

SCENARIOS = (
    WORKER_KILLED,
    SERVER_KILLED,
    PAUSED,
    OVERLOAD,
    RETRY_STORM,
    cancelled(12),
    SHORT_OF_TIME,
    REQUEST_TIMES,
    CLOCK,
    FULL_DISK,
)
