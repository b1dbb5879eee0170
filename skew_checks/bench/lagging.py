"""Defects of rows that are old, late, gone or under another key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from materialization.data_plane.rows.keys import ViewKeys
from materialization.declared import CREATED_TIMESTAMP
from ranking_service.contract import ViewPlan
from skew_checks.bench.night import Entity, Night
from skew_checks.bench.partitions import aligned, keys_in, later, rows_of, with_rows
from skew_checks.bench.redis_rows import Place
from skew_checks.bench.rows_changed import Altered, Touched, altered, change_rows, choose

MOMENT = timedelta(microseconds=1)
ITEM_TARGET, USER_TARGET = timedelta(minutes=90), timedelta(hours=6)
"""Freshness targets: a quarter of the views' cadence; a younger row's absence is legitimate lag."""
KNOWN_LATE = timedelta(hours=2)
CORRECTED = timedelta(minutes=30)
OLD_VERSION = 1
CORRECTIONS = {"user_exposures": 0.5, "user_long_views": 0.5, "user_click_rate": 0.8}


def stale_view(night: Night, share: float, *, view: str = "item_popularity") -> Touched:
    """Some rows are those of the run before."""
    plan = night.view(view)
    target = USER_TARGET if "user_id" in plan.join_keys else ITEM_TARGET
    return change_rows(night, view, share, _one_before(night, plan), late_by=target)


def half_materialization(night: Night, share: float) -> Touched:
    """A run goes through the users by key and stops: the rest keep yesterday's rows."""
    view = night.view("user_activity")
    changed = _today(night, altered(night, view, _one_before(night, view)))
    wrong = _wrong(view, changed)
    counts: dict[Entity, int] = {}
    for step, entities in night.entities(view, late_by=USER_TARGET).items():
        for entity in wrong.get(step, set()) & entities.keys():
            counts[entity] = counts.get(entity, 0) + entities[entity]
    units = 0
    cut: Entity = ("",)
    for entity in sorted(counts, reverse=True):
        cut, units = entity, units + counts[entity]
        if units >= share * len(night.arrivals):
            break
    for step, (table, _) in changed.items():
        night.rows.put(view, step, rows_of(table, view, {key for key in keys_in(table, view) if key >= cut}))
    return Touched(units, len(night.arrivals))


def late_data(night: Night, share: float, *, view: str = "item_author") -> Touched:
    """Some items' rows became known two hours after their instant, when the run had long been through."""
    plan = night.view(view)
    changed = altered(night, plan, _one_before(night, plan))
    choice = choose(night, plan, share, _wrong(plan, changed), late_by=KNOWN_LATE)
    for step, entities in choice.entities.items():
        night.rows.put(plan, step, rows_of(changed[step][0], plan, entities))
        instant = night.world.instants[step]
        built = night.partitions.at(plan, instant)
        known_late = later(rows_of(built, plan, entities), CREATED_TIMESTAMP, KNOWN_LATE)
        night.partitions.rewrite(night.partitions.instants(plan)[instant], with_rows(built, plan, known_late))
    return choice.touched


def correction(
    night: Night, share: float, *, view: str = "user_totals", factors: Mapping[str, float] = CORRECTIONS
) -> Touched:
    """Rows were corrected half an hour after their instant under the same event time; Redis has them as they were."""
    plan = night.view(view)

    def too_few(table: pa.Table, _step: int) -> pa.Table:
        return scaled(table, factors)

    changed = _today(night, altered(night, plan, too_few))
    choice = choose(night, plan, share, _wrong(plan, changed), late_by=CORRECTED)
    corrected = {entity for entities in choice.entities.values() for entity in entities}
    for step, (table, _) in changed.items():
        night.rows.put(plan, step, rows_of(table, plan, corrected))
    built = night.partitions.at(plan, night.world.day)
    mine = rows_of(built, plan, corrected)
    right = later(mine, CREATED_TIMESTAMP, CORRECTED)
    both = pa.concat_tables([with_rows(built, plan, too_few(mine, 0)), right.cast(built.schema)])
    night.partitions.rewrite(night.partitions.instants(plan)[night.world.day], both)
    return choice.touched


def eviction(night: Night, share: float, *, view: str = "item_genre") -> Touched:
    """Redis evicted some rows."""
    return _moved(night, view, share, lambda _places: None)


def key_serialization(night: Night, share: float, *, view: str = "user_profile") -> Touched:
    """Some rows were written under the keys of another version of the view."""
    keys = night.rows.view_keys(night.view(view))
    versioned = ViewKeys(keys.project, keys.view, keys.join_keys, version=OLD_VERSION)
    return _moved(night, view, share, lambda place: versioned.prefix + place[1].removeprefix(keys.prefix))


def key_padding(night: Night, share: float) -> Touched:
    """Some callers send the user's id without its zeros, `u12` for `u000012`; or with some, where it has none."""
    numbered = [
        number
        for number, arrival in enumerate(night.arrivals)
        if otherwise_padded(arrival.request.user_id) != arrival.request.user_id
    ]
    chosen = night.some(share, numbered) if numbered else []
    for number in chosen:
        arrival = night.arrivals[number]
        padded = otherwise_padded(arrival.request.user_id)
        night.arrivals[number] = replace(arrival, request=replace(arrival.request, user_id=padded))
    return Touched(len(chosen), len(night.arrivals))


def otherwise_padded(user_id: str) -> str:
    """The id with the zeros before its first number removed, or with two where there are none."""

    def other(number: re.Match[str]) -> str:
        bare = number[0].lstrip("0") or "0"
        return bare if bare != number[0] else f"00{bare}"

    return re.sub(r"[0-9]+", other, user_id, count=1)


def _moved(night: Night, view_name: str, share: float, target: Callable[[Place], bytes | None]) -> Touched:
    """Rows of some entities vanish from their keys, to the `target` key if there is one."""
    view = night.view(view_name)
    possible = {
        step: set(
            keys_in(rows_of(night.partitions.at(view, night.world.instants[step]), view, set(read)), view)
        )
        for step, read in night.entities(view).items()
    }
    choice = choose(night, view, share, possible)
    for step, entities in choice.entities.items():
        places = night.rows.places(view, step, sorted(entities))
        rows = night.rows.read(places)
        night.rows.write(dict.fromkeys(places))
        elsewhere = {
            (place[0], key, place[2]): row
            for place, row in zip(places, rows, strict=True)
            if (key := target(place)) is not None
        }
        night.rows.write(elsewhere)
    return choice.touched


def _one_before(night: Night, view: ViewPlan) -> Callable[[pa.Table, int], pa.Table]:
    """Each row as the snapshot before its own has it, times included."""

    def older(table: pa.Table, step: int) -> pa.Table:
        instant = night.world.instants[step]
        own = max(built for built in night.partitions.instants(view) if built <= instant)
        return aligned(table, night.partitions.at(view, own - MOMENT), view)

    return older


def _today(night: Night, changed: Altered) -> Altered:
    """Without the run of the evening before, whose rows serve the first minutes."""
    return {step: rows for step, rows in changed.items() if night.world.instants[step] >= night.world.day}


def _wrong(view: ViewPlan, changed: Altered) -> dict[int, set[Entity]]:
    return {
        step: {key for key, bad in zip(keys_in(table, view), is_bad, strict=True) if bad}
        for step, (table, is_bad) in changed.items()
    }


def scaled(table: pa.Table, factors: Mapping[str, float]) -> pa.Table:
    """These numbers times their factors."""
    for name, factor in factors.items():
        field = table.schema.field(name)
        values = pc.multiply(table[name].cast(pa.float64()), factor).cast(field.type, safe=False)
        table = table.set_column(table.schema.get_field_index(name), field, values)
    return table
