"""Request-time transforms: plain numpy arithmetic, the same functions in training, serving and replay.

A transform takes the columns of a slate (stored features and request fields, defaults filled in) and returns its
outputs, float64 [rows] or text. Its name in `TRANSFORMS` is the name of its on-demand feature view.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Array, Columns, Ragged

Floats = npt.NDArray[np.float64]
DAY = 86_400.0
HOUR = 3_600.0


def request_context(columns: Columns) -> dict[str, Array]:
    """What the request itself says: surface, device, clock (UTC) and place in the session."""
    seconds = numbers(columns, "request_timestamp")
    hour = np.floor(seconds % DAY / HOUR)
    weekday = (np.floor(seconds / DAY) + 3) % 7
    angle = 2 * np.pi * hour / 24
    return {
        "context_surface": text(columns, "surface"),
        "context_device": text(columns, "device"),
        "context_hour": hour,
        "context_hour_sin": np.sin(angle),
        "context_hour_cos": np.cos(angle),
        "context_weekday": weekday,
        "context_is_weekend": (weekday >= 5).astype(np.float64),
        "context_session_position": numbers(columns, "session_position"),
    }


def item_freshness(columns: Columns) -> dict[str, Array]:
    """Ages at request time; NaN where the earlier instant is unknown."""
    now = numbers(columns, "request_timestamp")
    return {
        "item_age_days": (now - numbers(columns, "item_released_at")) / DAY,
        "item_idle_hours": (now - numbers(columns, "item_last_shown_at")) / HOUR,
        "user_idle_hours": (now - numbers(columns, "user_last_seen_at")) / HOUR,
        "user_tenure_days": (now - numbers(columns, "user_signed_up_at")) / DAY,
        "pair_idle_hours": (now - numbers(columns, "pair_last_seen_at")) / HOUR,
    }


def genre_affinity(columns: Columns) -> dict[str, Array]:
    """The user's record with the candidate's genres."""
    keys = ragged(columns, "item_genres")
    found = Lookup(keys, ragged(columns, "user_genre_names"))
    exposures, long_views, likes = (
        found.values(ragged(columns, f"user_genre_{name}")) for name in ("exposures", "long_views", "likes")
    )
    prior = numbers(columns, "user_long_view_rate")
    per_genre = smoothed(long_views, exposures, prior[found.row], 4.0)
    met, seen = found.sum(exposures), found.sum(long_views)
    total = list_sum(ragged(columns, "user_genre_exposures"))
    rate = smoothed(seen, met, prior, 4.0)
    return {
        "affinity_genre_exposures": met,
        "affinity_genre_long_views": seen,
        "affinity_genre_likes": found.sum(likes),
        "affinity_genre_rate": rate,
        "affinity_genre_best_rate": found.max(per_genre),
        "affinity_genre_worst_rate": -found.max(-per_genre),
        "affinity_genre_lift": logit(rate) - logit(prior),
        "affinity_genre_share": divide(met, total),
    }


def author_affinity(columns: Columns) -> dict[str, Array]:
    """The user's record with the candidate's author."""
    author = text(columns, "item_author_id")
    keys = Ragged(np.arange(len(author) + 1), author, np.arange(len(author)))
    found = Lookup(keys, ragged(columns, "user_author_ids"))
    exposures, long_views, likes = (
        found.sum(found.values(ragged(columns, f"user_author_{name}")))
        for name in ("exposures", "long_views", "likes")
    )
    prior = numbers(columns, "user_long_view_rate")
    rate = smoothed(long_views, exposures, prior, 2.0)
    return {
        "affinity_author_exposures": exposures,
        "affinity_author_long_views": long_views,
        "affinity_author_likes": likes,
        "affinity_author_rate": rate,
        "affinity_author_lift": logit(rate) - logit(prior),
    }


def surface_fit(columns: Columns) -> dict[str, Array]:
    """How the candidate, and the user, do on the surface of this request."""
    surface = text(columns, "surface")
    keys = Ragged(np.arange(len(surface) + 1), surface, np.arange(len(surface)))
    item = Lookup(keys, ragged(columns, "item_surface_names"))
    shown, clicks, long_views = (
        item.sum(item.values(ragged(columns, f"item_surface_{name}")))
        for name in ("exposures", "clicks", "long_views")
    )
    user = Lookup(keys, ragged(columns, "user_surface_names"))
    user_shown, user_long_views = (
        user.sum(user.values(ragged(columns, f"user_surface_{name}"))) for name in ("exposures", "long_views")
    )
    return {
        "surface_item_exposures": shown,
        "surface_item_click_rate": smoothed(clicks, shown, numbers(columns, "item_click_rate"), 10.0),
        "surface_item_long_view_rate": smoothed(
            long_views, shown, numbers(columns, "item_long_view_rate"), 10.0
        ),
        "surface_user_exposures": user_shown,
        "surface_user_long_view_rate": smoothed(
            user_long_views, user_shown, numbers(columns, "user_long_view_rate"), 5.0
        ),
        "surface_user_share": divide(user_shown, list_sum(ragged(columns, "user_surface_exposures"))),
        "surface_is_usual": same(surface, text(columns, "user_usual_surface")),
    }


def user_item_match(columns: Columns) -> dict[str, Array]:
    """Plain comparisons of the user with the candidate."""
    item_rate, user_rate = numbers(columns, "item_long_view_rate"), numbers(columns, "user_long_view_rate")
    hours_apart = np.abs(
        np.floor(numbers(columns, "request_timestamp") % DAY / HOUR) - numbers(columns, "user_mean_hour")
    )
    first_genre = text(columns, "item_first_genre")
    return {
        "match_language": same(text(columns, "user_language"), text(columns, "item_language")),
        "match_country": same(text(columns, "user_country"), text(columns, "item_country")),
        "match_device": same(text(columns, "device"), text(columns, "user_device")),
        "match_favourite_genre": same(first_genre, text(columns, "user_favourite_genre")),
        "match_duration_ratio": divide(
            numbers(columns, "item_duration_seconds"), numbers(columns, "user_long_view_duration_seconds")
        ),
        "match_rate_logit": logit(item_rate) + logit(user_rate),
        "match_item_over_genre": logit(item_rate) - logit(numbers(columns, "genre_long_view_rate")),
        "match_item_over_author": logit(item_rate) - logit(numbers(columns, "author_long_view_rate")),
        "match_hour_distance": np.minimum(hours_apart, 24 - hours_apart),
    }


TRANSFORMS: dict[str, Callable[[Columns], dict[str, Array]]] = {
    function.__name__: function
    for function in (
        request_context,
        item_freshness,
        genre_affinity,
        author_affinity,
        surface_fit,
        user_item_match,
    )
}


class Lookup:
    """Finds each row's few `keys` among the same row's `names`; ids compare as whole strings, row by row."""

    def __init__(self, keys: Ragged, names: Ragged) -> None:
        name_values, key_values = names.values.tolist(), keys.values.tolist()
        codes = {name: code for code, name in enumerate(dict.fromkeys(name_values))}
        name_codes = np.fromiter(map(codes.__getitem__, name_values), np.int64, len(name_values))
        self.row, position = keys.flat()
        key_codes = np.fromiter(map(codes.get, key_values, repeat(-1)), np.int64, len(key_values))[position]
        width = len(codes) + 1
        list_of_name = np.repeat(np.arange(len(names.offsets) - 1), np.diff(names.offsets))
        placed = list_of_name * width + name_codes
        order = np.argsort(placed, kind="stable")
        wanted = names.rows[self.row] * width + key_codes
        at = np.minimum(np.searchsorted(placed, wanted, sorter=order), max(len(placed) - 1, 0))
        hit = (placed[order[at]] == wanted) & (key_codes >= 0) if len(placed) else np.zeros(len(wanted), bool)
        self.rows = len(keys)
        self.row = self.row[hit]
        self.position = order[at[hit]] if len(placed) else np.zeros(0, np.int64)

    def values(self, column: Ragged) -> Floats:
        """float64 [hits]: the parallel list's entry at each hit."""
        return np.asarray(column.values[self.position], np.float64)

    def sum(self, values: Floats) -> Floats:
        """float64 [rows]; 0 for rows without a hit."""
        return np.bincount(self.row, weights=values, minlength=self.rows).astype(np.float64)

    def max(self, values: Floats) -> Floats:
        """float64 [rows]; NaN for rows without a hit."""
        result = np.full(self.rows, -np.inf)
        with np.errstate(invalid="ignore"):
            np.maximum.at(result, self.row, values)
        return np.where(np.isneginf(result), np.nan, result)


def numbers(columns: Columns, name: str) -> Floats:
    column = columns[name]
    assert not isinstance(column, Ragged), f"{name} is a list"
    return column.astype(np.float64)


def text(columns: Columns, name: str) -> Array:
    """Object [rows]; empty where all is missing, as numbers."""
    column = columns[name]
    assert not isinstance(column, Ragged), f"{name} is a list"
    return np.full(len(column), "", object) if _all_missing(column) else column


def ragged(columns: Columns, name: str) -> Ragged:
    """A list column; empty lists where all is missing, as numbers."""
    column = columns[name]
    if not isinstance(column, Ragged) and _all_missing(column):
        return Ragged.from_lists([None] * len(column))
    assert isinstance(column, Ragged), f"{name} is not a list"
    return column


def _all_missing(column: Array) -> bool:
    """A frame's column without any value does not say what it would hold: it comes as NaN (see `frames`)."""
    return column.dtype.kind == "f" and bool(np.isnan(column).all())


def list_sum(column: Ragged) -> Floats:
    """float64 [rows]: sum of each row's list; 0 for an empty one."""
    lists = np.repeat(np.arange(len(column.offsets) - 1), np.diff(column.offsets))
    weights = column.values.astype(np.float64)
    sums = np.bincount(lists, weights=weights, minlength=len(column.offsets) - 1)
    return np.asarray(sums[column.rows], np.float64)


def smoothed(hits: Floats, trials: Floats, prior: Floats, weight: float) -> Floats:
    """A rate shrunk toward `prior` as if `weight` further trials had shown it."""
    return (hits + weight * prior) / (trials + weight)


def divide(part: Floats, whole: Floats) -> Floats:
    """NaN where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole != 0), np.float64)


def logit(rate: Floats) -> Floats:
    clipped = np.clip(rate, 1e-4, 1 - 1e-4)
    return np.log(clipped) - np.log1p(-clipped)


def same(left: Array, right: Array) -> Floats:
    """1 equal, 0 different, NaN where either is unknown (empty)."""
    unknown = (left == "") | (right == "")
    return np.where(unknown, np.nan, (left == right).astype(np.float64))
