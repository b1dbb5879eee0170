"""A transform's fingerprint changes with the code it runs, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ranking_service.compile_contract import compile_declared
from ranking_service.transform_code import changed_transforms, code_of

FREE = """
import numpy as np
from feature_repo.lists import first, unused

DAY = 86_400.0
HOUR = 3_600.0

def age(columns: dict) -> dict:
    '''The age in days.'''
    return {"age": halved(first(columns["seconds"]) / DAY)}

def halved(value: float) -> float:
    return np.multiply(value, 0.5)

def other(columns: dict) -> dict:
    return {"other": columns["x"] + HOUR}
"""
LISTS = """
def first(values): return values[START]
START = 0
def unused(values): return None
"""


def code(free: str = FREE, lists: str = LISTS) -> object:
    return code_of("feature_repo.free", "age", {"feature_repo.free": free, "feature_repo.lists": lists}.get)


def test_a_transforms_code_is_all_it_reaches_and_no_more() -> None:
    reached = code()
    assert isinstance(reached, dict)
    assert list(reached) == [
        "feature_repo.free:DAY",
        "feature_repo.free:age",
        "feature_repo.free:first",
        "feature_repo.free:halved",
        "feature_repo.free:np",
        "feature_repo.lists:START",
        "feature_repo.lists:first",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("86_400.0", "86_401.0"),
        ("value, 0.5", "value, 0.25"),
        ("/ DAY", "* DAY"),
        ('"age":', '"years":'),
        ("first, unused", "unused as first"),
        ("np.multiply", "np.divide"),
    ],
)
def test_what_it_computes_counts(old: str, new: str) -> None:
    assert old in FREE
    assert code(FREE.replace(old, new)) != code()


def test_a_change_in_another_module_counts() -> None:
    assert code(lists=LISTS.replace("START = 0", "START = 1")) != code()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("The age in days.", "How old."),
        ("DAY = ", "# seconds\nDAY = "),
        ("(columns: dict) -> dict:", "(columns: object) -> object:"),
        ("value, 0.5)", "\n        value,\n        0.5,\n    )"),
        ("86_400.0", "86400.0"),
        ("def other", "def further(columns: dict) -> dict:\n    return {}\n\ndef other"),
        ("3_600.0", "3_601.0"),
        ('columns["x"]', 'columns["y"]'),
        ("first, unused", "first"),
    ],
)
def test_wording_layout_and_others_do_not_count(old: str, new: str) -> None:
    assert old in FREE
    assert code(FREE.replace(old, new)) == code()


def test_every_changed_transform_of_a_contract_is_named() -> None:
    today = compile_declared("marquee", "ranker_v1")
    assert changed_transforms(today) == ()
    old = tuple(
        replace(plan, fingerprint="of other code") if plan.name in ("surface_fit", "item_freshness") else plan
        for plan in today.transforms
    )
    assert set(changed_transforms(replace(today, transforms=old))) == {"surface_fit", "item_freshness"}
