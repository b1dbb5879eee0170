"""Columns prepared when rows are read give the same matrix, bit for bit, as those filled and encoded per request."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.columns import Ragged
from feature_repo.transforms import TRANSFORMS
from materialization.data_plane.rows.layout import FIXED
from ranking_service.assemble import Prepared, assemble
from ranking_service.contract import Contract, Field, ModelFeature, TransformPlan, ViewPlan
from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.blocks import Blocks
from ranking_service.online.fetched import EntityRows, Fetched, Origin

AT = 1_700_000_000.0
NUMBERS = sorted(FIXED)
TYPES = [*NUMBERS, "FLOAT", "STRING", "STRING_LIST", "FLOAT_LIST"]
WORDS = ["", "de", "fr", "日本", "x" * 40]
NUMBER = st.floats(allow_nan=True) | st.sampled_from([0.1, 1e-40, -0.0, 1e39, 2.0**53 + 2, math.inf])
KEYS = (("user_id",), ("item_id",), ("user_id", "item_id"))
CONTEXT = tuple(
    Field(name, "STRING" if name in ("context_surface", "context_device") else "DOUBLE", math.nan)
    for name in (
        "context_surface",
        "context_device",
        "context_hour",
        "context_hour_sin",
        "context_hour_cos",
        "context_weekday",
        "context_is_weekend",
        "context_session_position",
    )
)
REQUEST = (
    Field("surface", "STRING", "home"),
    Field("device", "STRING", ""),
    Field("request_timestamp", "DOUBLE", math.nan),
    Field("session_position", "DOUBLE", 0.0),
)


def default(value_type: str) -> st.SearchStrategy[Any]:
    if value_type == "STRING":
        return st.sampled_from(WORDS)
    return NUMBER if "LIST" not in value_type else st.just("")


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """Views of every kind with fields of any type; stored fields may have the name of a transform's output."""
    taken = set(REQUEST_NAMES := [field.name for field in REQUEST])
    assert REQUEST_NAMES
    views = []
    for number, keys in enumerate(draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4))):
        fields = []
        for place in range(draw(st.integers(1, 5))):
            value_type = draw(st.sampled_from(TYPES))
            name = f"f{number}_{place}"
            if draw(st.integers(0, 5)) == 0:
                name = draw(st.sampled_from([field.name for field in CONTEXT]))
            if name not in taken:
                taken.add(name)
                fields.append(Field(name, value_type, draw(default(value_type))))
        ttl = draw(st.sampled_from([0.0, 100.0]))
        views.append(ViewPlan(f"view{number}", keys, tuple(fields), ttl, ""))
    with_transform = draw(st.booleans())
    transforms = (TransformPlan("request_context", CONTEXT, ""),) if with_transform else ()
    stored = {field.name: field for view in views for field in view.fields if not field.is_list}
    named = {**stored, **{field.name: field for field in REQUEST}}
    if with_transform:
        named |= {field.name: field for field in CONTEXT}
    chosen = draw(st.lists(st.sampled_from(sorted(named)), min_size=1, unique=True))
    features = tuple(
        ModelFeature(
            named[name],
            "somewhere",
            "",
            tuple(draw(st.lists(st.sampled_from(WORDS), unique=True))) if named[name].is_text else (),
        )
        for name in chosen
    )
    return Contract("rank", "ranker", tuple(views), REQUEST, transforms, features)


def drawn_blocks(draw: st.DrawFn, plan: BlockPlan, rows: int) -> Blocks:
    def table(width: int, values: st.SearchStrategy[Any], kind: Any) -> np.ndarray:
        result = np.empty((rows, width), kind)
        for row in range(rows):
            for column in range(width):
                result[row, column] = draw(values)
        return result

    texts = st.none() | st.sampled_from(WORDS)
    lists = tuple(
        Ragged.from_lists(
            [
                draw(st.lists(st.just("g" if kind == np.dtype(object) else 1.0), max_size=3))
                for _ in range(rows)
            ],
            kind,
        )
        for kind in plan.list_types
    )
    return Blocks(
        table(len(plan.floats), st.floats(width=32) | st.just(math.nan), np.float32),
        table(len(plan.numbers), NUMBER, np.float64),
        table(len(plan.texts), texts, object),
        lists,
        table(len(plan.views), st.sampled_from([0, 0, 1]), np.int8),
        table(len(plan.views), st.sampled_from([AT, AT - 99, AT - 101]), np.float64),
    )


def usable(plan: BlockPlan, blocks: Blocks) -> Blocks:
    """As the reader does: what was not found has no values, what is expired loses them."""
    blocks = plan.without(blocks, blocks.presence == Origin.NOT_FOUND, Origin.NOT_FOUND)
    return plan.without(blocks, plan.expired(blocks, AT), Origin.EXPIRED)


@st.composite
def fetches(draw: st.DrawFn) -> tuple[Contract, Fetched, dict[str, Any]]:
    contract, count = draw(contracts()), draw(st.integers(1, 6))
    rows: list[EntityRows] = []
    prepared = []
    for keys, many in zip(KEYS, (1, count, count), strict=True):
        views = tuple(view for view in contract.views if view.join_keys == keys)
        plan = BlockPlan(contract, views)
        blocks = plan.blank.take(np.zeros(many, np.intp))
        if views:
            blocks = usable(plan, drawn_blocks(draw, plan, many))
        values = plan.prepared(blocks)
        prepared.append(Prepared(plan.matrix_places, np.broadcast_to(values, (count, values.shape[1]))))
        rows.append(plan.entity_rows(blocks))
    surface = np.full(count, draw(st.none() | st.sampled_from(WORDS)), object)
    context = {
        "surface": surface,
        "device": np.full(count, None, object),
        "request_timestamp": np.full(count, AT),
        "session_position": np.full(count, draw(st.sampled_from([math.nan, 3.0]))),
    }
    return contract, Fetched(count, *rows, prepared=tuple(prepared)), context


@given(fetches())
@settings(max_examples=300, deadline=None)
def test_the_matrix_is_the_same_with_prepared_columns_and_without(
    drawn: tuple[Contract, Fetched, dict[str, Any]],
) -> None:
    assert "request_context" in TRANSFORMS
    contract, fetched, context = drawn
    with np.errstate(over="ignore"):
        plain = assemble(fetched.slate(context), contract)
        prepared = assemble(fetched.slate(context), contract, fetched.prepared)
        some = assemble(fetched.slate(context), contract, fetched.prepared[1:2])
    for found in (prepared, some):
        assert found.dtype == plain.dtype == np.float32
        assert found.shape == plain.shape == (fetched.candidate_count, len(contract.features))
        missing = np.isnan(plain)
        assert (np.isnan(found) == missing).all()
        assert found[~missing].tobytes() == plain[~missing].tobytes()


def test_a_transform_that_writes_over_a_stored_feature_wins_over_what_is_prepared() -> None:
    stored = Field("context_hour", "FLOAT", 7.0)
    contract = Contract(
        "rank",
        "ranker",
        (ViewPlan("items", ("item_id",), (stored, Field("kept", "FLOAT", 5.0)), 0.0, ""),),
        REQUEST,
        (TransformPlan("request_context", CONTEXT, ""),),
        (ModelFeature(stored, "request_context", ""), ModelFeature(Field("kept", "FLOAT", 5.0), "items", "")),
    )
    plan = BlockPlan(contract, contract.views)
    assert plan.model_places.tolist() == [1]
    blocks = replace(plan.blank, floats=np.array([[99.0, 2.0]], np.float32))
    fetched = Fetched(1, item=plan.entity_rows(blocks))
    context = {
        "surface": np.full(1, None, object),
        "device": np.full(1, None, object),
        "request_timestamp": np.full(1, 3 * 3600.0),
        "session_position": np.full(1, math.nan),
    }
    prepared = (Prepared(plan.matrix_places, plan.prepared(blocks)),)
    assert assemble(fetched.slate(context), contract, prepared).tolist() == [[3.0, 2.0]]
