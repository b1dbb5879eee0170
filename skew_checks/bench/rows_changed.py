"""Changes of stored rows at a chosen share of what a night reads: the common part of all defects of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ranking_service.contract import ViewPlan
from skew_checks.bench.night import Entity, Night
from skew_checks.bench.partitions import changed_rows, keys_in, rows_of

Change = Callable[[pa.Table, int], pa.Table]
"""Rows of a view in their partition's columns and the step they belong to; the same rows as they shall be."""
Altered = dict[int, tuple[pa.Table, npt.NDArray[np.bool_]]]
"""By step: the rows that the night reads as they would be, and bool [rows] whether that is another value."""
Unit = tuple[object, ...]


@dataclass(frozen=True)
class Touched:
    """How much an injection changed, in what the check counts: requests, item rows or pair rows."""

    units: int
    of: int

    @property
    def share(self) -> float:
        return self.units / self.of if self.of else 0.0


@dataclass(frozen=True)
class Choice:
    """Rows to be changed: by step the entities."""

    entities: Mapping[int, set[Entity]]
    touched: Touched


def change_rows(
    night: Night,
    view_name: str,
    share: float,
    change: Change,
    *,
    late_by: timedelta = timedelta(0),
    only: Callable[[Entity], bool] = lambda _entity: True,
) -> Touched:
    """Write changed rows into Redis, for that share of the night's units, in every step that reads them.

    Units are chosen among those that the change alters, counting for each step only requests that come `late_by`
    after its instant.
    """
    view = night.view(view_name)
    changed = altered(night, view, change)
    possible = {
        step: {key for key, is_other in zip(keys_in(table, view), bad, strict=True) if is_other and only(key)}
        for step, (table, bad) in changed.items()
    }
    choice = choose(night, view, share, possible, late_by=late_by)
    for step, entities in choice.entities.items():
        night.rows.put(view, step, rows_of(changed[step][0], view, entities))
    return choice.touched


def altered(night: Night, view: ViewPlan, change: Change) -> Altered:
    """What the change would make of the night's rows."""
    found: Altered = {}
    for step, entities in night.entities(view).items():
        table = rows_of(night.partitions.at(view, night.world.instants[step]), view, set(entities))
        new = change(table, step)
        found[step] = new, changed_rows(table, new, view)
    return found


def choose(
    night: Night,
    view: ViewPlan,
    share: float,
    possible: Mapping[int, set[Entity]],
    *,
    late_by: timedelta = timedelta(0),
) -> Choice:
    """At random, until they make up the share of all units that the night reads; at least one."""
    weights, total = _weights(night, view, possible, late_by)
    units = sorted(weights, key=str)
    wanted, sum_so_far, chosen = max(share * total, 1e-9), 0, set()
    for place in night.random.permutation(len(units)).tolist():
        if sum_so_far >= wanted:
            break
        chosen.add(units[place])
        sum_so_far += weights[units[place]]
    by_step = {
        step: {entity for entity in entities if unit_of(view, step, entity) in chosen}
        for step, entities in possible.items()
    }
    return Choice(by_step, Touched(sum_so_far, total))


def _weights(
    night: Night, view: ViewPlan, possible: Mapping[int, set[Entity]], late_by: timedelta
) -> tuple[dict[Unit, int], int]:
    """Of each possible unit, and of all: requests for users, rows for items and pairs."""
    weights: dict[Unit, int] = {}
    for step, entities in night.entities(view, late_by=late_by).items():
        for entity, requests in entities.items():
            if entity in possible.get(step, set()):
                unit = unit_of(view, step, entity)
                weights[unit] = weights.get(unit, 0) + requests if _is_user(view) else 1
    if _is_user(view):
        return weights, len(night.arrivals)
    everything = night.entities(view).items()
    return weights, len({unit_of(view, step, entity) for step, seen in everything for entity in seen})


def unit_of(view: ViewPlan, step: int, entity: Entity) -> Unit:
    """Item rows are new with every run; the rows of users and pairs stand all day."""
    return entity if "user_id" in view.join_keys else (step, *entity)


def _is_user(view: ViewPlan) -> bool:
    return view.join_keys == ("user_id",)
