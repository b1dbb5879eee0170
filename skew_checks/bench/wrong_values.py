"""Defects of the values in Redis: the right row, and something else in it than was computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skew_checks.bench.night import Entity, Night
from skew_checks.bench.partitions import keys_in, rows_of, with_columns
from skew_checks.bench.rows_changed import Touched, change_rows

Floats = npt.NDArray[np.float64]
HOUR, EIGHT_HOURS = 3600.0, 8 * 3600.0
MILLI = 1000.0
SLICED_BY = ("user_country", "user_activity_degree")


def default_fill(
    night: Night, share: float, *, view: str = "item_popularity", feature: str = "item_viewers_7d"
) -> Touched:
    """The writer puts the default 0 where there is a count."""
    return _each(night, view, feature, share, np.zeros_like)


def float16(
    night: Night, share: float, *, view: str = "item_popularity", feature: str = "item_play_seconds_7d"
) -> Touched:
    """A number goes through float16 on its way to Redis."""
    return _each(night, view, feature, share, lambda values: values.astype(np.float16).astype(np.float64))


def float32_instant(
    night: Night, share: float, *, view: str = "item_totals", feature: str = "item_last_shown_at"
) -> Touched:
    """An instant goes through float32: up to a minute off."""
    return _each(night, view, feature, share, lambda values: values.astype(np.float32).astype(np.float64))


def integer_wrap(
    night: Night, share: float, *, view: str = "item_genre", feature: str = "genre_exposures"
) -> Touched:
    """A count goes through a signed byte."""
    return _each(night, view, feature, share, lambda values: (values + 128) % 256 - 128)


def unit(
    night: Night,
    share: float,
    *,
    view: str = "item_attributes",
    feature: str = "item_duration_seconds",
    factor: float = MILLI,
) -> Touched:
    """Seconds become milliseconds, or another unit."""
    return _each(night, view, feature, share, lambda values: values * factor)


def missing_log(
    night: Night, share: float, *, view: str = "user_totals", feature: str = "user_exposures"
) -> Touched:
    """One side takes the logarithm of a count, the other does not."""
    return _each(night, view, feature, share, np.log1p)


def time_zone(
    night: Night,
    share: float,
    *,
    view: str = "user_totals",
    feature: str = "user_last_seen_at",
    seconds: float = EIGHT_HOURS,
) -> Touched:
    """An instant is read as local time, eight hours east, or elsewhere."""
    return _each(night, view, feature, share, lambda values: values - seconds)


def window_length(
    night: Night,
    share: float,
    *,
    view: str = "user_activity",
    feature: str = "user_long_views_7d",
    other: str = "user_long_views_3d",
) -> Touched:
    """Seven days' long views are those of three days."""
    return change_rows(
        night,
        view,
        share,
        lambda table, _step: with_columns(table, {feature: _array(table, other)}),
    )


def swapped_columns(
    night: Night,
    share: float,
    *,
    view: str = "item_popularity",
    one: str = "item_clicks_7d",
    other: str = "item_long_views_7d",
) -> Touched:
    """The query of the online rows names two columns the wrong way round."""
    return change_rows(
        night,
        view,
        share,
        lambda table, _step: with_columns(table, {one: _array(table, other), other: _array(table, one)}),
    )


def hash_collision(night: Night, share: float, *, view: str = "item_totals") -> Touched:
    """Two entities share a hashed key: one has the other's row."""

    def neighbours(table: pa.Table, _step: int) -> pa.Table:
        names = [name.name for name in night.view(view).fields]
        moved = np.roll(np.arange(len(table)), 1)
        return with_columns(table, {name: _array(table, name).take(pa.array(moved)) for name in names})

    return change_rows(night, view, share, neighbours)


def older_embedding(night: Night, share: float) -> Touched:
    """A vector of the version before: another basis, the same length."""
    return change_rows(
        night, "user_tastes", share, lambda table, _step: _vectors(table, _turned), only=_has_vector(night)
    )


def unnormalized_embedding(night: Night, share: float) -> Touched:
    """A vector of another norm."""
    return change_rows(
        night, "user_tastes", share, lambda table, _step: _vectors(table, lambda row: row * 3.7)
    )


def one_slice(night: Night, share: float) -> Touched:
    """Milliseconds for seconds, for the users of one country only, or of one activity class where none is known."""
    profile = night.view("user_profile")
    profiles = night.partitions.at(profile, night.world.day)
    known = [name for name in SLICED_BY if profiles[name].null_count < len(profiles)]
    column = profiles[known[0]].to_pylist() if known else [None] * len(profiles)
    slices = dict(zip(keys_in(profiles, profile), column, strict=True))
    asked = [slices.get((arrival.request.user_id,)) for arrival in night.arrivals]
    most = max(sorted({text for text in asked if text}), key=asked.count, default=None)
    if most is None:
        return Touched(0, len(night.arrivals))
    return _each(
        night,
        "user_totals",
        "user_long_view_duration_seconds",
        share,
        lambda values: values * MILLI,
        only=lambda entity: slices.get(entity) == most,
    )


def clipping(
    night: Night, share: float, *, view: str = "item_popularity", feature: str = "item_watched_share_7d"
) -> Touched:
    """A number is cut off at the top, just so far down that the share of rows is over it."""
    plan = night.view(view)
    read = night.entities(plan)
    values = [
        _numbers(rows_of(night.partitions.at(plan, night.world.instants[step]), plan, set(seen)), feature)
        for step, seen in read.items()
    ]
    pool = np.sort(np.concatenate(values))
    pool = pool[~np.isnan(pool)]
    units = sum(map(len, read.values()))
    if not len(pool):
        return Touched(0, units)
    top = pool[max(0, len(pool) - max(1, round(share * units)) - 1)]
    return _each(night, view, feature, 1.0, lambda column: np.minimum(column, top))


def _each(
    night: Night,
    view: str,
    feature: str,
    share: float,
    change: Callable[[Floats], Floats],
    *,
    only: Callable[[Entity], bool] = lambda _entity: True,
) -> Touched:
    """One feature's number changed by the same rule in every chosen row; missing stays missing."""

    def changed(table: pa.Table, _step: int) -> pa.Table:
        values = _numbers(table, feature)
        present = ~np.isnan(values)
        values[present] = change(values[present])
        return with_columns(table, {feature: pa.array(values, mask=~present)})

    return change_rows(night, view, share, changed, only=only)


def _numbers(table: pa.Table, name: str) -> Floats:
    """float64 [rows]; NaN for null."""
    column = table[name].cast(pa.float64()).fill_null(np.nan)
    return np.array(column.to_numpy(), np.float64)


def _array(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


VECTOR = "user_genre_exposures"
"""The repository declares no embedding; a list of weights per genre is the vector that a user has."""


def _vectors(table: pa.Table, change: Callable[[Floats], Floats]) -> pa.Table:
    lists = [
        None if row is None else change(np.array(row, np.float64)).tolist()
        for row in table[VECTOR].to_pylist()
    ]
    return with_columns(table, {VECTOR: pa.array(lists, table.schema.field(VECTOR).type)})


def _turned(row: Floats) -> Floats:
    """By the orthogonal matrix of its length, always the same one."""
    draw = np.random.default_rng(len(row)).standard_normal((len(row), len(row)))
    turned: Floats = np.linalg.qr(draw)[0] @ row if len(row) else row
    return turned


def _has_vector(night: Night) -> Callable[[Entity], bool]:
    """A vector of one entry has no other basis."""
    view = night.view("user_tastes")
    table = night.partitions.at(view, night.world.day)
    lengths = dict(
        zip(keys_in(table, view), [len(row or ()) for row in table[VECTOR].to_pylist()], strict=True)
    )
    return lambda entity: lengths.get(entity, 0) > 1
