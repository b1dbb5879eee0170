"""Point-in-time joins against a naive implementation, and against the stock store where that one is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offline_world import (
    ITEM,
    STOCK,
    USER,
    Row,
    a_view,
    apply,
    at,
    naive_join,
    open_store,
    timely,
    write_rows,
)

SECONDS = st.integers(0, 6)
KEY = st.one_of(st.integers(1, 2), st.none())
TIME_TYPES = st.sampled_from(
    [
        pa.timestamp("us", tz="UTC"),
        pa.timestamp("ns", tz="UTC"),
        pa.timestamp("ns"),
        pa.timestamp("ms", tz="Asia/Tokyo"),
        pa.timestamp("s"),
    ]
)
TTLS = (None, 1, 2)
VIEWS = [
    (a_name, keys, ttl)
    for a_name, keys in (("none", ()), ("user", ("user_id",)), ("pair", ("user_id", "item_id")))
    for ttl in TTLS
]
"""Every view reads the same file."""
EACH = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def sources(draw: st.DrawFn, *, clean: bool = False) -> list[Row]:
    """Rows of a source, numbered by `value`; `clean` has neither null created times nor rows that tie."""
    rows = draw(
        st.lists(
            st.tuples(
                KEY, KEY, SECONDS, st.integers(0, 8) if clean else st.one_of(st.integers(0, 8), st.none())
            ),
            max_size=14,
            unique_by=(lambda row: row[2:]) if clean else None,
        )
    )
    return [
        {
            "user_id": user,
            "item_id": item,
            "event_timestamp": at(event),
            "created_timestamp": None if created is None else at(created),
            "value": number,
        }
        for number, (user, item, event, created) in enumerate(rows)
    ]


requests = st.lists(
    st.builds(
        lambda user, item, label: {"user_id": user, "item_id": item, "event_timestamp": at(label)},
        KEY,
        KEY,
        st.integers(-1, 9),
    ),
    max_size=10,
)


class World:
    """One store and the file all its views read; examples rewrite the file."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "source.parquet"
        write_rows(self.path, [], **SOURCE_TYPES)
        self.store = open_store(folder, **options)
        entities = {"user_id": USER, "item_id": ITEM}
        apply(
            self.store,
            USER,
            ITEM,
            *(
                a_view(f"{name}_{ttl}", self.path, entities=[entities[key] for key in keys], ttl=ttl)
                for name, keys, ttl in VIEWS
            ),
        )

    def write(self, rows: list[Row], kind: pa.DataType) -> None:
        write_rows(self.path, rows, **{**SOURCE_TYPES, "event_timestamp": kind, "created_timestamp": kind})

    def ask(self, frame: Any, **options: Any) -> pa.Table:
        return ask(self.store, frame, **options)


SOURCE_TYPES = {
    "user_id": pa.int64(),
    "item_id": pa.int64(),
    "event_timestamp": pa.timestamp("us", tz="UTC"),
    "created_timestamp": pa.timestamp("us", tz="UTC"),
    "value": pa.int64(),
}
REFERENCES = [f"{name}_{ttl}:value" for name, _, ttl in VIEWS]


def ask(store: FeatureStore, frame: Any, **options: Any) -> pa.Table:
    return store.get_historical_features(frame, REFERENCES, full_feature_names=True, **options).to_arrow()


def as_table(request: list[Row], kind: pa.DataType) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array([row["user_id"] for row in request], pa.int64()),
            "item_id": pa.array([row["item_id"] for row in request], pa.int64()),
            "event_timestamp": timely([row["event_timestamp"] for row in request], kind),
        }
    )


def expected(request: list[Row], source: list[Row], *, knowledge: bool) -> dict[str, list[int | None]]:
    answers = {}
    for name, keys, ttl in VIEWS:
        found = naive_join(request, source, {key: key for key in keys}, ttl=ttl, knowledge=knowledge)
        answers[f"{name}_{ttl}__value"] = [row and row["value"] for row in found]
    return answers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def unknowing(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("unknowing"), knowledge_time=False)


@EACH
@given(source=sources(), request_rows=requests, source_kind=TIME_TYPES, request_kind=TIME_TYPES)
def test_every_request_row_gets_what_was_valid_and_known_then(
    world: World,
    source: list[Row],
    request_rows: list[Row],
    source_kind: pa.DataType,
    request_kind: pa.DataType,
) -> None:
    world.write(source, source_kind)
    answer = world.ask(as_table(request_rows, request_kind))
    assert answer.select(["user_id", "item_id", "event_timestamp"]).to_pylist() == request_rows
    assert answer.drop_columns(["user_id", "item_id", "event_timestamp"]).to_pydict() == expected(
        request_rows, source, knowledge=True
    )


@EACH
@given(source=sources(), request_rows=requests)
def test_with_knowledge_time_off_rows_created_later_count_unless_the_call_filters(
    unknowing: World, source: list[Row], request_rows: list[Row]
) -> None:
    unknowing.write(source, SOURCE_TYPES["event_timestamp"])
    frame = as_table(request_rows, SOURCE_TYPES["event_timestamp"])
    for filtered in (False, True):
        answer = unknowing.ask(frame, filter_by_created_timestamp=filtered)
        names = list(expected([], [], knowledge=True))
        assert answer.select(names).to_pydict() == expected(request_rows, source, knowledge=filtered)


KEYED = [reference for reference in REFERENCES if not reference.startswith("none")]
"""The stock store cannot join a view without entity."""


@settings(EACH, max_examples=10)
@given(source=sources(clean=True), request_rows=requests.filter(len), filtered=st.booleans())
def test_the_stock_store_says_the_same_where_no_row_ties(
    unknowing: World, stock: FeatureStore, source: list[Row], request_rows: list[Row], filtered: bool
) -> None:
    unknowing.write(source, SOURCE_TYPES["event_timestamp"])
    frame = as_table(request_rows, SOURCE_TYPES["event_timestamp"]).to_pandas()
    frame = frame.astype({"user_id": "Int64", "item_id": "Int64"}).assign(row=range(len(frame)))
    names = [reference.replace(":", "__") for reference in KEYED]
    ours, theirs = (
        store.get_historical_features(
            frame, KEYED, full_feature_names=True, filter_by_created_timestamp=filtered
        ).to_df()
        for store in (unknowing.store, stock)
    )
    theirs = theirs.sort_values("row").reset_index(drop=True)
    pd.testing.assert_frame_equal(ours[names], theirs[names], check_dtype=False)


@pytest.fixture(scope="module")
def stock(unknowing: World) -> FeatureStore:
    """Feast's own DuckDB store on the same registry."""
    return open_store(unknowing.path.parent, type=STOCK)
