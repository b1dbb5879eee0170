"""Request-time transforms by hand, and their look-up against dictionaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.columns import Columns, Ragged
from feature_repo.transforms import (
    TRANSFORMS,
    Lookup,
    author_affinity,
    divide,
    genre_affinity,
    item_freshness,
    list_sum,
    logit,
    request_context,
    same,
    surface_fit,
    user_item_match,
)

NAN = math.nan
SATURDAY = datetime(2026, 3, 7, 18, 30, tzinfo=UTC).timestamp()


def text(*values: str) -> np.ndarray:
    return np.array(values, object)


def lists(*rows: Sequence[Any]) -> Ragged:
    return Ragged.from_lists(rows)


def weights(*rows: Sequence[float]) -> Ragged:
    return Ragged.from_lists(rows, np.float64)


def context(
    *, at: float = SATURDAY, surface: str = "home", device: str = "tv", position: float = 2.0
) -> Columns:
    return {
        "request_timestamp": np.array([at]),
        "surface": text(surface),
        "device": text(device),
        "session_position": np.array([position]),
    }


def test_the_request_says_when_and_where() -> None:
    found = {name: values[0] for name, values in request_context(context()).items()}
    assert found["context_hour"] == 18
    assert (found["context_weekday"], found["context_is_weekend"]) == (5, 1)
    assert (found["context_hour_sin"], found["context_hour_cos"]) == pytest.approx((-1, 0))
    assert (found["context_surface"], found["context_device"], found["context_session_position"]) == (
        "home",
        "tv",
        2,
    )


@pytest.mark.parametrize(("day", "weekday"), [(2, 0), (6, 4), (7, 5), (8, 6), (9, 0)])
def test_weekdays_begin_with_monday_at_midnight_utc(day: int, weekday: int) -> None:
    at = datetime(2026, 3, day, tzinfo=UTC).timestamp()
    found = request_context(context(at=at))
    assert (found["context_weekday"][0], found["context_hour"][0]) == (weekday, 0)
    assert request_context(context(at=at - 1e-6))["context_weekday"][0] == (weekday - 1) % 7


def test_ages_are_in_days_and_hours_and_unknown_stays_unknown() -> None:
    columns = {
        "request_timestamp": np.array([SATURDAY, SATURDAY]),
        "item_released_at": np.array([SATURDAY - 86_400, NAN]),
        "item_last_shown_at": np.array([SATURDAY - 1_800, NAN]),
        "user_last_seen_at": np.array([SATURDAY - 7_200, NAN]),
        "user_signed_up_at": np.array([SATURDAY - 864_000, NAN]),
        "pair_last_seen_at": np.array([SATURDAY + 3_600, NAN]),
    }
    found = item_freshness(columns)
    assert {name: values[0] for name, values in found.items()} == {
        "item_age_days": 1,
        "item_idle_hours": 0.5,
        "user_idle_hours": 2,
        "user_tenure_days": 10,
        "pair_idle_hours": -1,
    }
    assert all(np.isnan(values[1]) for values in found.values())


def genre_columns(
    genres: Ragged, names: Ragged, exposures: Ragged, long_views: Ragged, prior: float
) -> Columns:
    return {
        "item_genres": genres,
        "user_genre_names": names,
        "user_genre_exposures": exposures,
        "user_genre_long_views": long_views,
        "user_genre_likes": weights(*([1.0] * len(row) for row in names.to_lists())),
        "user_long_view_rate": np.full(len(genres), prior),
    }


def test_genre_affinity_by_hand() -> None:
    """drama 3 of 4 long, ドラマ 0 of 6; prior 0.5 counts as 4 exposures; the third item has no genre."""
    names, seen, long = ["drama", "x", "ドラマ"], [4.0, 2.0, 6.0], [3.0, 2.0, 0.0]
    genres = lists(["ドラマ", "drama"], ["unheard of"], [])
    found = genre_affinity(
        genre_columns(
            genres, lists(names, names, names), weights(seen, seen, seen), weights(long, long, long), 0.5
        )
    )
    assert found["affinity_genre_exposures"].tolist() == [10, 0, 0]
    assert found["affinity_genre_long_views"].tolist() == [3, 0, 0]
    assert found["affinity_genre_likes"].tolist() == [2, 0, 0]
    np.testing.assert_allclose(found["affinity_genre_rate"], [5 / 14, 0.5, 0.5])
    np.testing.assert_allclose(found["affinity_genre_best_rate"], [5 / 8, NAN, NAN])
    np.testing.assert_allclose(found["affinity_genre_worst_rate"], [2 / 10, NAN, NAN])
    np.testing.assert_allclose(found["affinity_genre_lift"], [math.log(5 / 9), 0, 0])
    np.testing.assert_allclose(found["affinity_genre_share"], [10 / 12, 0, 0])


def test_an_unknown_user_has_no_affinity_and_no_rate() -> None:
    found = genre_affinity(genre_columns(lists(["drama"]), lists([]), weights([]), weights([]), NAN))
    assert found["affinity_genre_exposures"].tolist() == [0]
    for name in ("rate", "best_rate", "worst_rate", "lift", "share"):
        assert np.isnan(found[f"affinity_genre_{name}"]).all()


def test_an_empty_slate_gives_empty_columns() -> None:
    found = genre_affinity(genre_columns(lists(), lists(), weights(), weights(), 0.5))
    assert {len(values) for values in found.values()} == {0}


def test_author_affinity_by_hand() -> None:
    columns = {
        "item_author_id": text("w1", "w12", "", "ü|'"),
        "user_author_ids": lists(*[["w1", "w2", "ü|'"]] * 4),
        "user_author_exposures": weights(*[[2.0, 5.0, 1.0]] * 4),
        "user_author_long_views": weights(*[[2.0, 1.0, 0.0]] * 4),
        "user_author_likes": weights(*[[1.0, 0.0, 0.0]] * 4),
        "user_long_view_rate": np.full(4, 0.25),
    }
    found = author_affinity(columns)
    assert found["affinity_author_exposures"].tolist() == [2, 0, 0, 1]
    assert found["affinity_author_likes"].tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(found["affinity_author_rate"], [2.5 / 4, 0.25, 0.25, 0.5 / 3])


def test_surface_fit_by_hand() -> None:
    columns = {
        "surface": text("home", "search"),
        "item_surface_names": lists(["home", "row"], ["home", "row"]),
        **{
            f"item_surface_{name}": weights([10.0, 1.0], [10.0, 1.0])
            for name in ("exposures", "clicks", "long_views")
        },
        "user_surface_names": lists(["home", "search"], ["home", "search"]),
        "user_surface_exposures": weights([6.0, 2.0], [6.0, 2.0]),
        "user_surface_long_views": weights([3.0, 0.0], [3.0, 0.0]),
        "item_click_rate": np.array([0.1, 0.1]),
        "item_long_view_rate": np.array([0.2, 0.2]),
        "user_long_view_rate": np.array([0.4, 0.4]),
        "user_usual_surface": text("home", ""),
    }
    found = surface_fit(columns)
    np.testing.assert_allclose(found["surface_item_click_rate"], [11 / 20, 0.1])
    np.testing.assert_allclose(found["surface_item_long_view_rate"], [12 / 20, 0.2])
    np.testing.assert_allclose(found["surface_user_long_view_rate"], [5 / 11, 2 / 7])
    np.testing.assert_allclose(found["surface_user_share"], [0.75, 0.25])
    np.testing.assert_allclose(found["surface_is_usual"], [1, NAN])


def test_plain_comparisons_by_hand() -> None:
    columns = {
        **context(at=SATURDAY, device="tv"),
        "user_language": text("fr"),
        "item_language": text("fr"),
        "user_country": text("DE"),
        "item_country": text("FR"),
        "user_device": text(""),
        "item_first_genre": text("ドラマ"),
        "user_favourite_genre": text("ドラマ"),
        "item_duration_seconds": np.array([90.0]),
        "user_long_view_duration_seconds": np.array([60.0]),
        "item_long_view_rate": np.array([0.5]),
        "user_long_view_rate": np.array([0.8]),
        "genre_long_view_rate": np.array([0.2]),
        "author_long_view_rate": np.array([NAN]),
        "user_mean_hour": np.array([1.0]),
    }
    found = {name: values[0] for name, values in user_item_match(columns).items()}
    assert (found["match_language"], found["match_country"], found["match_favourite_genre"]) == (1, 0, 1)
    assert np.isnan(found["match_device"])
    assert np.isnan(found["match_item_over_author"])
    assert found["match_duration_ratio"] == 1.5
    assert (found["match_rate_logit"], found["match_item_over_genre"]) == pytest.approx((math.log(4),) * 2)
    assert found["match_hour_distance"] == 7, "from 18 h to 1 h is seven hours around midnight"


names = st.sampled_from(["a", "b", "1", "12", "", "ü|'", "東京"])
few = st.lists(names, max_size=5)
unique = st.lists(names, max_size=5, unique=True)


@given(st.lists(st.tuples(few, unique), max_size=8), st.data())
def test_a_lookup_finds_what_dictionaries_find(
    rows: list[tuple[list[str], list[str]]], data: st.DataObject
) -> None:
    """Also when several rows share a user's lists."""
    keys, known = lists(*(row[0] for row in rows)), lists(*(row[1] for row in rows))
    order = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else [], np.int64)
    known, keys = known.take(order), keys.take(order)
    amounts = weights(*([float(place + 1) for place, _ in enumerate(row[1])] for row in rows)).take(order)
    found = Lookup(keys, known)
    sums, best = [], []
    for row in order:
        amount = {name: float(place + 1) for place, name in enumerate(rows[row][1])}
        hits = [amount[key] for key in rows[row][0] if key in amount]
        sums.append(sum(hits))
        best.append(max(hits, default=NAN))
    np.testing.assert_array_equal(found.sum(found.values(amounts)), sums)
    np.testing.assert_array_equal(found.max(found.values(amounts)), best)
    np.testing.assert_array_equal(list_sum(amounts), [sum(range(1, len(rows[row][1]) + 1)) for row in order])


def test_the_small_steps_at_their_edges() -> None:
    assert np.isnan(divide(np.array([1.0]), np.array([0.0]))).all()
    np.testing.assert_allclose(logit(np.array([0.0, 0.5, 1.0])), [-9.21024, 0, 9.21024], rtol=1e-5)
    np.testing.assert_array_equal(same(text("a", "a", "", ""), text("a", "b", "a", "")), [1, 0, NAN, NAN])


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_every_transform_leaves_its_inputs_as_they_are_and_names_its_outputs_like_its_view(name: str) -> None:
    from materialization.declared import on_demand_views

    view = next(view for view in on_demand_views() if view.name == name)
    sources = [*view.source_feature_view_projections.values()]
    fields = [field for source in sources for field in source.features]
    fields += [field for source in view.source_request_sources.values() for field in source.schema]
    columns: dict[str, Any] = {field.name: _sample(str(field.dtype)) for field in fields}
    before = {
        key: column.to_lists() if isinstance(column, Ragged) else column.copy()
        for key, column in columns.items()
    }
    outputs = TRANSFORMS[name](columns)
    assert list(outputs) == [field.name for field in view.features]
    assert {len(values) for values in outputs.values()} == {2}
    for key, column in columns.items():
        np.testing.assert_array_equal(
            column.to_lists() if isinstance(column, Ragged) else column, before[key]
        )


def _sample(dtype: str) -> Any:
    if dtype.startswith("Array"):
        return lists(["a"], ["b"]) if "String" in dtype else weights([1.0], [2.0])
    return text("a", "") if dtype == "String" else np.array([0.5, NAN])
