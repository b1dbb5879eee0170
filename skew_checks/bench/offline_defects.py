"""Defects of the offline side, of ttl, and of what needs both sides arranged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa

from ranking_service.contract import Contract
from skew_checks.bench.night import Entity, Night
from skew_checks.bench.partitions import (
    TIMES,
    aligned,
    changed_rows,
    keys_in,
    rows_of,
    with_columns,
    with_rows,
)
from skew_checks.bench.rows_changed import Touched, choose
from skew_checks.bench.serving import Server

LOOSE_DAYS, DAY = 30.0, timedelta(days=1)


def offline_leakage(night: Night, share: float, *, view: str = "item_popularity") -> Touched:
    """The offline rows were computed with six hours of the future in them; Redis has the right ones."""
    plan = night.view(view)
    leaking: dict[int, pa.Table] = {}
    possible: dict[int, set[Entity]] = {}
    for step, read in night.entities(plan).items():
        instant = night.world.instants[step]
        built, future = night.partitions.at(plan, instant), night.partitions.after(plan, instant)
        if future is None:
            continue
        own = rows_of(built, plan, set(read))
        new = aligned(own, future, plan)
        for name in TIMES:
            new = new.set_column(new.schema.get_field_index(name), name, own[name])
        bad = changed_rows(own, new, plan)
        leaking[step] = new
        possible[step] = {key for key, is_bad in zip(keys_in(new, plan), bad, strict=True) if is_bad}
    choice = choose(night, plan, share, possible)
    for step, entities in choice.entities.items():
        instant = night.world.instants[step]
        path = night.partitions.instants(plan)[instant]
        built = night.partitions.at(plan, instant)
        night.partitions.rewrite(path, with_rows(built, plan, rows_of(leaking[step], plan, entities)))
    return choice.touched


def ttl_too_loose(night: Night, share: float, *, view: str = "item_surfaces") -> Touched:
    """Some items have had no new row for more than the ttl; the server's plan uses their old ones."""
    plan = night.view(view)
    old = night.partitions.at(plan, night.world.day - DAY)
    known = set(keys_in(old, plan))
    read = night.entities(plan)
    seen = sorted({entity for entities in read.values() for entity in entities} & known)
    total = sum(map(len, read.values()))
    count = min(len(seen), max(1, round(share * total)))
    gone = {seen[place] for place in night.random.choice(len(seen), count, replace=False).tolist()}
    for instant, path in night.partitions.instants(plan).items():
        if instant > night.world.day - DAY:
            night.partitions.rewrite(path, _without(night.partitions.at(plan, instant), view, gone, night))
    for step in read:
        night.rows.put(plan, step, rows_of(old, plan, gone))
    loose = with_ttl(night.world.bundle.contract, view, LOOSE_DAYS * DAY.total_seconds())
    night.served_by(Server(night.world.bundle, loose), range(len(night.arrivals)))
    return Touched(count, total)


def ttl_too_strict(night: Night, share: float, *, view: str = "item_genre") -> Touched:
    """The server's plan lets rows expire after so few hours that the share of requests finds them expired."""
    ages = [
        arrival.request.request_timestamp - night.world.instants[arrival.step].timestamp()
        for arrival in night.arrivals
    ]
    limit = max(1.0, float(np.quantile(ages, 1 - share)))
    strict = with_ttl(night.world.bundle.contract, view, limit)
    night.served_by(Server(night.world.bundle, strict), range(len(night.arrivals)))
    return Touched(int((np.array(ages) > limit).sum()), len(ages))


def new_category(night: Night, share: float, text: str) -> Touched:
    """Some items are of a type that no model has seen: the same in Redis and in the partitions. No defect yet."""
    view, name = night.view("item_attributes"), "item_type"
    possible = {
        step: set(
            keys_in(rows_of(night.partitions.at(view, night.world.instants[step]), view, set(read)), view)
        )
        for step, read in night.entities(view).items()
    }
    choice = choose(night, view, share, possible)
    for step, entities in choice.entities.items():
        instant = night.world.instants[step]
        built = night.partitions.at(view, instant)
        rows = rows_of(built, view, entities)
        rows = with_columns(rows, {name: pa.array([text] * len(rows))})
        night.rows.put(view, step, rows)
        night.partitions.rewrite(night.partitions.instants(view)[instant], with_rows(built, view, rows))
    return choice.touched


def with_ttl(contract: Contract, name: str, seconds: float) -> Contract:
    """The contract with another ttl of one view."""
    views = tuple(
        replace(view, ttl_seconds=seconds) if view.name == name else view for view in contract.views
    )
    return replace(contract, views=views)


def _without(table: pa.Table, view_name: str, gone: set[Entity], night: Night) -> pa.Table:
    view = night.view(view_name)
    kept = pa.array([key not in gone for key in keys_in(table, view)], pa.bool_())
    return table.filter(kept)
