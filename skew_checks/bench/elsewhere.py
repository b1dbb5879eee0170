"""The same kinds of defects in other views and features, by other factors: drawn, so that no rule was made for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from ranking_service.contract import Contract, Field, ViewPlan
from skew_checks.bench import lagging, offline_defects, server_defects, wrong_values
from skew_checks.bench.defect import Defect
from skew_checks.bench.view_names import ITEM_VIEWS, USER_VIEWS

FACTORS = (1000.0, 1 / 1000, 100.0, 1 / 100, 60.0, 1 / 60, 3600.0)
SHIFTS = (-8 * 3600.0, 3600.0, -5.5 * 3600.0, 3 * 3600.0)
INSTANT, NUMBER = "DOUBLE", "FLOAT"
WINDOWS = ("_1d", "_3d", "_7d")
STORED = (*ITEM_VIEWS, *USER_VIEWS)
DRAWS = 40
"""Tried for each place: many are drawn more than once, or change nothing."""


@dataclass(frozen=True)
class Place:
    """Where a defect is put."""

    views: tuple[str, ...]
    features: tuple[str, ...]
    """Those that are wrong; empty where all of the views are."""
    arguments: Mapping[str, Any]
    """Of the injection."""


Draw = Callable[[Contract, np.random.Generator], Place]


def elsewhere(defect: Defect, contract: Contract, seed: int = 0) -> Iterator[Defect]:
    """The defect in other places than its usual one, each once, always in the same order; some dozens at most.

    None for a defect that has no place of its own: of a request, the log, the model.
    """
    if defect.name not in PLACES:
        return
    inject, draw = PLACES[defect.name]
    random = np.random.default_rng([seed, *defect.name.encode()])
    told: set[str] = set()
    for _ in range(DRAWS):
        place = draw(contract, random)
        text = ", ".join(map(_told, place.arguments.values()))
        is_usual = {*place.views} == {*defect.views} and {*place.features} == {*defect.features}
        if is_usual or text in told:
            continue
        told.add(text)
        yield replace(
            defect,
            name=f"{defect.name}: {text}",
            views=place.views,
            features=place.features,
            inject=partial(inject, **place.arguments),
        )


def _told(argument: Any) -> str:
    if isinstance(argument, float):
        return f"{argument:.4g}"
    return str(argument) if isinstance(argument, str) else " and ".join(argument)


def _one(random: np.random.Generator, among: Sequence[Any]) -> Any:
    return among[int(random.integers(len(among)))]


def _view(names: Sequence[str]) -> Draw:
    def draw(_contract: Contract, random: np.random.Generator) -> Place:
        name = _one(random, names)
        return Place((name,), (), {"view": name})

    return draw


def _field(fits: Callable[[Field], bool], names: Sequence[str], **more: Sequence[Any]) -> Draw:
    """A feature that fits, of one of these views; and one of each of what else the injection takes."""

    def draw(contract: Contract, random: np.random.Generator) -> Place:
        places = [
            (view.name, field.name)
            for view in _views(contract, names)
            for field in view.fields
            if fits(field)
        ]
        view, feature = _one(random, places)
        drawn = {name: _one(random, values) for name, values in more.items()}
        return Place((view,), (feature,), {"view": view, "feature": feature, **drawn})

    return draw


def _views(contract: Contract, names: Sequence[str]) -> list[ViewPlan]:
    return [contract.view(name) for name in names]


def _is_count(field: Field) -> bool:
    return field.value_type == NUMBER and field.default == 0.0


def _is_number(field: Field) -> bool:
    return field.value_type == NUMBER


def _is_instant(field: Field) -> bool:
    return field.value_type == INSTANT


def _windows(contract: Contract, random: np.random.Generator) -> Place:
    """Two windows of one feature."""
    places = [
        (view.name, field.name, field.name.removesuffix(own) + other)
        for view in _views(contract, STORED)
        for field in view.fields
        for own, other in permutations(WINDOWS, 2)
        if field.name.endswith(own)
    ]
    names = {field.name for view in contract.views for field in view.fields}
    view, feature, other = _one(random, [place for place in places if place[2] in names])
    return Place((view,), (feature,), {"view": view, "feature": feature, "other": other})


def _two_columns(contract: Contract, random: np.random.Generator) -> Place:
    view = _one(random, [view for view in _views(contract, STORED) if sum(map(_is_number, view.fields)) > 1])
    one, other = random.choice([field.name for field in view.fields if _is_number(field)], 2, replace=False)
    names = (str(one), str(other))
    return Place((view.name,), names, {"view": view.name, "one": names[0], "other": names[1]})


def _corrected(contract: Contract, random: np.random.Generator) -> Place:
    view = _one(
        random, [view for view in _views(contract, USER_VIEWS) if sum(map(_is_number, view.fields)) > 2]
    )
    chosen = random.choice(
        [field.name for field in view.fields if _is_number(field)], 3, replace=False
    ).tolist()
    factors = dict(zip(chosen, random.uniform(0.4, 0.9, 3).tolist(), strict=True))
    return Place((view.name,), tuple(chosen), {"view": view.name, "factors": factors})


def _default(contract: Contract, random: np.random.Generator) -> Place:
    """Of pairs: most requests read none of them, so that defaults are filled."""
    name = _one(random, [field.name for field in contract.view("user_item").fields if _is_number(field)])
    return Place(("user_item",), (name,), {"name": name})


def _category(contract: Contract, random: np.random.Generator) -> Place:
    stored = {view.name for view in contract.views}
    feature = _one(
        random, [one for one in contract.features if len(one.categories) > 1 and one.origin in stored]
    )
    return Place((feature.origin,), (feature.name,), {"name": feature.name})


def _two_of_the_model(contract: Contract, random: np.random.Generator) -> Place:
    stored = {view.name for view in contract.views}
    numbers = [one for one in contract.features if not one.field.is_text and one.origin in stored]
    one, other = (numbers[place] for place in random.choice(len(numbers), 2, replace=False).tolist())
    names = (one.name, other.name)
    return Place((one.origin, other.origin), names, {"names": names})


PLACES: dict[str, tuple[Callable[..., Any], Draw]] = {
    "stale-view": (lagging.stale_view, _view((*ITEM_VIEWS, "user_activity", "user_totals", "user_tastes"))),
    "late-data": (lagging.late_data, _view(ITEM_VIEWS)),
    "correction": (lagging.correction, _corrected),
    "ttl-too-loose": (offline_defects.ttl_too_loose, _view(ITEM_VIEWS)),
    "ttl-too-strict": (offline_defects.ttl_too_strict, _view(ITEM_VIEWS)),
    "key-serialization": (lagging.key_serialization, _view(STORED)),
    "eviction": (lagging.eviction, _view(STORED)),
    "default-fill": (wrong_values.default_fill, _field(_is_count, STORED)),
    "float16": (wrong_values.float16, _field(_is_number, STORED)),
    "float32-instant": (wrong_values.float32_instant, _field(_is_instant, STORED)),
    "integer-wrap": (wrong_values.integer_wrap, _field(_is_count, STORED)),
    "unit": (wrong_values.unit, _field(_is_number, STORED, factor=FACTORS)),
    "missing-log": (wrong_values.missing_log, _field(_is_count, STORED)),
    "time-zone": (wrong_values.time_zone, _field(_is_instant, STORED, seconds=SHIFTS)),
    "window-length": (wrong_values.window_length, _windows),
    "swapped-columns": (wrong_values.swapped_columns, _two_columns),
    "hash-collision": (wrong_values.hash_collision, _view(STORED)),
    "clipping": (wrong_values.clipping, _field(_is_number, STORED)),
    "altered-default": (server_defects.altered_default, _default),
    "dictionary-off-by-one": (server_defects.dictionary_off_by_one, _category),
    "column-order": (server_defects.column_order, _two_of_the_model),
    "offline-leakage": (offline_defects.offline_leakage, _view(ITEM_VIEWS)),
}
"""By name: the injection, and how its place is drawn."""
