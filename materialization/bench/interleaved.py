"""Contenders take turns, so that whatever slows the machine for a while slows all of them."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from materialization.progress import Report

Task = TypeVar("Task")


@dataclass(frozen=True)
class Contender(Generic[Task]):
    """Something to time on a task that all contenders of a round share."""

    name: str
    run: Callable[[Task], object]
    every: int = 1
    """Takes part in every so-many-th round."""


def interleaved(
    contenders: Sequence[Contender[Task]],
    tasks: Callable[[int], Task],
    *,
    rounds: int,
    warm_up: int,
    random: np.random.Generator,
    report: Report,
) -> dict[str, list[float]]:
    """Seconds by name. `tasks` gives the task of a round; rounds below 0 warm up and are not counted.

    The order within a round is shuffled: who is first to touch the rows of a task pays for the cold caches. Slow
    contenders come last, and what they leave behind is collected before the next round.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    steady = [contender for contender in contenders if contender.every == 1]
    rare = [contender for contender in contenders if contender.every > 1]
    for number in range(-warm_up, rounds):
        report("rounds", number + warm_up + 1, warm_up + rounds)
        task = tasks(number)
        due = [contender for contender in rare if number % contender.every == 0]
        for contender in [*_shuffled(steady, random), *_shuffled(due, random)]:
            started = time.perf_counter()
            contender.run(task)
            elapsed = time.perf_counter() - started
            if number >= 0:
                seconds[contender.name].append(elapsed)
        if due:
            gc.collect()
            for contender in steady:
                contender.run(task)
    return seconds


def _shuffled(contenders: Sequence[Contender[Task]], random: np.random.Generator) -> list[Contender[Task]]:
    return [contenders[place] for place in random.permutation(len(contenders))]
