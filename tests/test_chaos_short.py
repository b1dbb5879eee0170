"""The fault tests in brief: a few of `make chaos`'s scenarios, shorter and at a small fixed load.

What is asserted holds however slow the machine is: no wrong answer, no crash, no error that tells internals, answers
again after the fault. The figures (availability, recovery in seconds) are `make chaos`'s.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from chaos.lab import Lab
from chaos.network_faults import through_proxy
from chaos.outcome import Outcome
from chaos.proxy import Fault
from chaos.redis_faults import killed, stall
from chaos.scenario import Goals, Scenario
from chaos.server_faults import cancelled

CALLS_PER_SECOND = 60.0
LENIENT = Goals(availability=None, recovery_seconds=4.0)
SHORT = (
    replace(killed(1), seconds=8),
    replace(stall(2), seconds=9),
    through_proxy("dropped", "replies never come", Fault("drop", share=0.05), seconds=2),
    through_proxy("garbage", "replies are random bytes", Fault("garbage", share=0.05), seconds=2),
    cancelled(4),
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab.open(tmp_path_factory.mktemp("chaos"), candidates=100, rate=CALLS_PER_SECOND)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
def test_no_wrong_answer_no_crash_and_answers_again(lab: Lab, scenario: Scenario) -> None:
    outcome = observed(lab, replace(scenario, goals=replace(scenario.goals, availability=None)))
    assert outcome.requests > 30
    assert outcome.levels.get(0), "not one whole answer"


def observed(lab: Lab, scenario: Scenario) -> Outcome:
    """Its figures; fails where a goal is missed."""
    result = lab.run(scenario)
    assert not result.missed, result.to_json()
    assert result.outcome is not None, result.notes
    return result.outcome
