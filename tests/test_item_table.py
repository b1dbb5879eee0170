"""The table of item rows against a plain dictionary: whatever is put, taken, doubted and pushed out."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from feature_repo.columns import Ragged
from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan
from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.blocks import Blocks
from ranking_service.online.fetched import Origin
from ranking_service.online.item_table import ABSENT, ItemTable

FIELDS = (
    Field("popularity", "FLOAT", 0.5),
    Field("plays", "INT64", -1.0),
    Field("language", "STRING", "none"),
    Field("genres", "STRING_LIST", ""),
    Field("vector", "FLOAT_LIST", ""),
)
MORE = (Field("rate", "FLOAT", float("nan")),)
CONTRACT = Contract(
    "rank",
    "ranker",
    (ViewPlan("items", ("item_id",), FIELDS, 0.0, ""), ViewPlan("more", ("item_id",), MORE, 0.0, "")),
    (),
    (),
    (
        ModelFeature(FIELDS[0], "items", ""),
        ModelFeature(FIELDS[2], "items", "", ("de", "fr")),
        ModelFeature(MORE[0], "more", ""),
        ModelFeature(FIELDS[1], "items", ""),
    ),
)
PLAN = BlockPlan(CONTRACT, CONTRACT.views)
CAPACITY, AT_ONCE = 12, 8

ITEM = st.sampled_from([f"i{number}" for number in range(30)])
SOME = st.lists(ITEM, unique=True, max_size=AT_ONCE)
FLOAT = st.floats(width=32, allow_nan=True)
ROW = st.fixed_dictionaries(
    {
        "popularity": FLOAT,
        "rate": FLOAT,
        "plays": st.floats(allow_nan=True),
        "language": st.none() | st.sampled_from(["de", "fr", "ja", ""]),
        "genres": st.lists(st.text(max_size=3), max_size=60),
        "vector": st.lists(st.floats(allow_nan=False), max_size=200),
        "presence": st.tuples(*[st.sampled_from([Origin.FOUND, Origin.NOT_FOUND])] * 2),
        "events": st.tuples(*[st.floats(0, 2e9)] * 2),
    }
)
Row = dict[str, Any]
BLANK: Row = {
    "popularity": np.nan,
    "rate": np.nan,
    "plays": np.nan,
    "language": None,
    "genres": [],
    "vector": [],
    "presence": (Origin.UNREAD, Origin.UNREAD),
    "events": (np.nan, np.nan),
}


def blocks(rows: list[Row]) -> Blocks:
    count = len(rows)
    texts = np.empty((count, 1), object)
    texts[:, 0] = [row["language"] for row in rows]
    lists = {
        "genres": Ragged.from_lists([row["genres"] for row in rows], object),
        "vector": Ragged.from_lists([row["vector"] for row in rows], np.float64),
    }
    floats = [[row[name] for name in PLAN.floats] for row in rows]
    return Blocks(
        np.array(floats, np.float32).reshape(count, 2),
        np.array([[row["plays"]] for row in rows], np.float64).reshape(count, 1),
        texts,
        tuple(lists[name] for name in PLAN.lists),
        np.array([row["presence"] for row in rows], np.int8).reshape(count, 2),
        np.array([row["events"] for row in rows], np.float64).reshape(count, 2),
    )


def assert_same(found: Blocks, prepared: np.ndarray, rows: list[Row]) -> None:
    expected = blocks(rows)
    for name in ("floats", "numbers", "presence", "events"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.texts.tolist() == expected.texts.tolist()
    for one, other in zip(found.lists, expected.lists, strict=True):
        assert [list(entry) for entry in one.to_lists()] == [list(entry) for entry in other.to_lists()]
    np.testing.assert_array_equal(prepared, PLAN.prepared(expected))


class Table(RuleBasedStateMachine):
    """Beside it the model: the last row put of each item, and in which order items were used."""

    @initialize(first=st.integers(1, 4))
    def begin(self, first: int) -> None:
        """Small at first, so that it grows."""
        import ranking_service.online.item_table as module

        kept, module.FIRST_SLOTS = module.FIRST_SLOTS, first + 1
        self.table = ItemTable(PLAN, CAPACITY)
        module.FIRST_SLOTS = kept
        self.rows: dict[str, Row] = {}
        self.fresh: set[str] = set()
        self.confirmed: dict[str, float] = {}
        self.used: dict[str, int] = {}
        self.clock = 0
        self.taken: list[tuple[Blocks, np.ndarray, list[Row]]] = []

    def use(self, items: list[str]) -> None:
        self.clock += 1
        self.used |= {item: self.clock for item in items if item in self.rows}

    @rule(items=SOME, data=st.data())
    def put(self, items: list[str], data: st.DataObject) -> None:
        rows = [data.draw(ROW) for _ in items]
        fresh = np.array([data.draw(st.booleans()) for _ in items], np.bool_)
        before, slots, moves = dict(self.used), dict(self.table.slots), self.table.moves
        self.table.put(items, blocks(rows), now=float(self.clock), fresh=fresh)
        assert (moves == self.table.moves) == (slots == self.table.slots)
        gone = self.rows.keys() - self.table.slots.keys()
        assert not gone & set(items)
        if gone:
            stayed = self.rows.keys() - gone - set(items)
            assert max(before[item] for item in gone) <= min(
                (before[item] for item in stayed), default=self.clock
            ), "those not used for longest are pushed out"
        for item in gone:
            del self.rows[item], self.confirmed[item], self.used[item]
        self.fresh -= gone | set(items)
        self.rows |= dict(zip(items, rows, strict=True))
        self.confirmed |= dict.fromkeys(items, float(self.clock))
        self.fresh |= {item for item, is_fresh in zip(items, fresh, strict=True) if is_fresh}
        self.use(items)

    @rule(items=SOME)
    def take(self, items: list[str]) -> None:
        slots = self.table.find(items)
        self.use(items)
        assert [slot != ABSENT for slot in slots] == [item in self.rows for item in items]
        found, prepared = self.table.take(slots)
        rows = [self.rows.get(item, BLANK) for item in items]
        assert_same(found, prepared, rows)
        self.taken.append((found, prepared, rows))

    @rule(items=SOME)
    def doubt(self, items: list[str]) -> None:
        self.table.doubt(items)
        self.fresh -= set(items)

    @rule(since=st.integers(0, 50))
    def doubt_all(self, since: int) -> None:
        self.table.doubt_all(current_until=float(since))
        for item in self.fresh:
            self.confirmed[item] = max(self.confirmed[item], float(since))
        self.fresh.clear()

    @rule(most=st.integers(1, 14))
    def doubtful(self, most: int) -> None:
        named = self.table.doubtful(most)
        wanted = self.rows.keys() - self.fresh
        assert set(named) <= wanted
        assert len(set(named)) == len(named) <= most
        assert len(named) >= min(most, len(wanted)) - 1, "the row of nothing may have taken a place"
        left_out = wanted - set(named)
        if named and left_out:
            assert min(self.used[item] for item in named) >= max(self.used[item] for item in left_out)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "table"):
            return
        assert self.table.slots.keys() == self.rows.keys()
        assert len(self.table) <= CAPACITY
        slots = list(self.table.slots.values())
        assert len(set(slots)) == len(slots)
        assert ABSENT not in slots
        for item, slot in self.table.slots.items():
            assert self.table.fresh[slot] == (item in self.fresh)
            assert self.table.confirmed[slot] == self.confirmed[item]
        assert not self.table.fresh[ABSENT]
        assert self.table.confirmed[ABSENT] == -np.inf

    def teardown(self) -> None:
        """What was taken is a copy: nothing that came later has changed it."""
        for found, prepared, rows in getattr(self, "taken", []):
            assert_same(found, prepared, rows)


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_lists_that_change_for_ever_take_no_more_memory_than_twice_the_living_ones() -> None:
    table = ItemTable(PLAN, CAPACITY)
    items = [f"i{number}" for number in range(CAPACITY)]
    for number in range(400):
        rows = [{**BLANK, "vector": [float(number)] * 50, "genres": ["x"] * 10} for _ in items]
        table.put(items, blocks(rows), now=0.0, fresh=np.ones(CAPACITY, np.bool_))
    living = 50 * CAPACITY
    (vector,) = [store for store in table._lists if store.dtype == np.float64]
    assert len(vector.values) <= max(1024, 4 * living)
    found, _ = table.take(table.find(items))
    assert [list(one) for one in found.lists[list(PLAN.lists).index("vector")].to_lists()] == [
        [399.0] * 50
    ] * CAPACITY
