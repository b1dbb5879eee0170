"""What is remembered of a user, against a plain dictionary of the last whole read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan
from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.blocks import Blocks
from ranking_service.online.fetched import Origin
from ranking_service.online.last_known import LastKnownUsers

FIELD = Field("plays", "FLOAT", 0.0)
CONTRACT = Contract(
    "rank",
    "ranker",
    (ViewPlan("pairs", ("user_id", "item_id"), (FIELD,), 0.0, ""),),
    (),
    (),
    (ModelFeature(FIELD, "pairs", ""),),
)
PLAN = BlockPlan(CONTRACT, CONTRACT.views)
ITEM = st.sampled_from([f"i{number}" for number in range(8)])
READ = st.dictionaries(ITEM, st.none() | st.just(0.0) | st.floats(1, 9, width=32), min_size=1)
"""Value by item; None where the pair has no row."""


def pairs(read: dict[str, float | None]) -> Blocks:
    blank = PLAN.blank.take(np.zeros(len(read), np.intp))
    values = np.array([[np.nan if value is None else value] for value in read.values()], np.float32)
    presence = np.where(np.isnan(values), np.int8(Origin.NOT_FOUND), np.int8(Origin.FOUND))
    return replace(blank, floats=values, presence=presence)


def unread(blocks: Blocks) -> Blocks:
    return replace(blocks, presence=np.full_like(blocks.presence, Origin.UNREAD))


def told(users: LastKnownUsers, asked: list[str]) -> list[tuple[int, float | None]]:
    """Origin and value of the user's row with each item."""
    found = users.pairs(users.known("ann", since=1.0), asked)
    return [
        (int(origin), None if np.isnan(value) else float(value))
        for origin, value in zip(found.presence[:, 0], found.floats[:, 0], strict=True)
    ]


@given(st.lists(READ, max_size=3), st.lists(ITEM, min_size=1))
def test_the_last_read_is_remembered_and_nothing_else(
    reads: list[dict[str, float | None]], asked: list[str]
) -> None:
    users = LastKnownUsers(PLAN, most=2)
    for read in reads:
        users.keep("ann", pairs(read), list(read), pairs(read), now=1.0)
    expected: list[tuple[int, float | None]] = []
    for item in asked:
        if not reads or item not in reads[-1]:
            expected.append((Origin.UNREAD, None))
        else:
            value = reads[-1][item]
            expected.append((Origin.NOT_FOUND if value is None else Origin.FOUND, value))
    assert told(users, asked) == expected


def test_a_damaged_read_is_not_kept_and_those_read_longest_ago_go_first() -> None:
    users, whole = LastKnownUsers(PLAN, most=2), pairs({"i1": 4.0})
    users.keep("ann", whole, ["i1"], whole, now=1.0)
    users.keep("ann", unread(whole), ["i1"], whole, now=2.0)
    users.keep("ann", whole, ["i1"], unread(whole), now=2.0)
    assert told(users, ["i1"]) == [(Origin.FOUND, 4.0)]
    assert users.known("ann", since=1.5) is None
    for user in ("bob", "ann", "cid"):
        users.keep(user, whole, ["i1"], whole, now=1.0)
    assert (len(users), users.known("bob", since=0.0)) == (2, None)
    assert users.known("ann", since=0.0)
    nobody = LastKnownUsers(PLAN, most=0)
    nobody.keep("ann", whole, ["i1"], whole, now=1.0)
    assert len(nobody) == 0
