"""The fault tests in brief: faults of `make chaos`, shorter, several in one run, at a small fixed load.

What is asserted holds however slow the machine is: no wrong answer, no crash, no error that tells internals, and
whole answers again after the last fault. The figures are `make chaos`'s.
"""

from __future__ import annotations

import pytest
from chaos.canary import CanaryWorld
from chaos.lab import Lab
from chaos.proxy import Fault
from chaos.scenario import Goals, Scenario, Step

CALLS_PER_SECOND = 60.0
GOALS = Goals(availability=None, recovery_seconds=4.0)
SHORT = (
    Scenario(
        name="redis-gone",
        what="stalled for 1.5 s, then killed, and back after a second",
        seconds=11,
        steps=(
            Step(1.0, lambda stage: stage.redis.stall()),
            Step(2.5, lambda stage: stage.redis.go_on()),
            Step(3.5, lambda stage: stage.redis.save()),
            Step(4.0, lambda stage: stage.redis.kill()),
            Step(5.0, lambda stage: stage.redis.start()),
        ),
        goals=GOALS,
    ),
    Scenario(
        name="broken-replies",
        what="replies dropped, replaced by random bytes, then altered, while a third of the calls is cancelled",
        seconds=11.5,
        steps=(
            Step(1.0, lambda stage: stage.proxy.set(Fault("drop", share=0.05))),
            Step(2.5, lambda stage: stage.proxy.set(Fault("garbage", share=0.05))),
            Step(4.0, lambda stage: stage.proxy.set(Fault("alter", share=0.1))),
            Step(5.5, lambda stage: stage.proxy.heal()),
        ),
        cancel_share=0.3,
        goals=GOALS,
    ),
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    world = CanaryWorld(users=40, items=400, trees=40)
    return Lab.open(tmp_path_factory.mktemp("chaos"), world, candidates=80, rate=CALLS_PER_SECOND)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
def test_no_wrong_answer_and_no_crash_and_whole_answers_again(lab: Lab, scenario: Scenario) -> None:
    result = lab.run(scenario)
    assert not result.missed, result.to_json()
    assert result.outcome is not None, result.notes
    assert result.outcome.requests > 100
    assert result.outcome.levels.get(0), "not one whole answer"
