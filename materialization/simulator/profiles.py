"""The catalogue and the audience as the service sees them: nothing that only the simulator knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from materialization.events.schemas import TIMESTAMP
from materialization.simulator.audience import ACTIVITY_DEGREES, DEVICES, LANGUAGES, Audience, activity_degree
from materialization.simulator.catalogue import MATURITIES, SIZES, TYPES, UPLOADS, Catalogue, Indices
from materialization.simulator.clock import Period, Times
from materialization.simulator.names import COUNTRIES, GENRES

COUNTRY_CODES = tuple(country.code for country in COUNTRIES)


def item_ids(count: int) -> pa.Array:
    """string [count]: `t000000` ..."""
    return pa.array([f"t{index:06d}" for index in range(count)])


def user_ids(count: int) -> pa.Array:
    """string [count]: `u000000` ..."""
    return pa.array([f"u{index:06d}" for index in range(count)])


def times(microseconds: Times) -> pa.Array:
    """UTC timestamps."""
    return pa.array(microseconds.astype(np.int64)).cast(TIMESTAMP)


def pick(values: Sequence[str] | npt.NDArray[Any], rows: Indices) -> pa.Array:
    """string [len(rows)]: the value at each row number."""
    return pa.array(values, pa.string()).take(pa.array(rows))


def items_table(catalogue: Catalogue, period: Period) -> pa.Table:
    """Titles known at the start are dated there; a new title becomes known at its release."""
    width, height = np.array(SIZES, np.int32)[catalogue.size].T
    languages = [country.language for country in COUNTRIES]
    return pa.table(
        {
            "item_id": item_ids(len(catalogue)),
            "created_timestamp": times(np.maximum(catalogue.release, period.start)),
            "author_id": pick(
                [f"a{index:05d}" for index in range(len(catalogue.author_name))], catalogue.author
            ),
            "title": pa.array(catalogue.title, pa.string()),
            "genres": _lists(GENRES, catalogue.genres),
            "language": pick(languages, catalogue.country),
            "countries": _lists(COUNTRY_CODES, _distinct(catalogue.country, catalogue.second_country)),
            "cast": _lists(catalogue.cast_name, catalogue.cast),
            "release_timestamp": times(catalogue.release),
            "duration_ms": catalogue.duration_ms,
            "item_type": pick(TYPES, catalogue.item_type),
            "upload_type": pick(UPLOADS, catalogue.upload_type),
            "width": np.ascontiguousarray(width),
            "height": np.ascontiguousarray(height),
            "maturity": pick(MATURITIES, catalogue.maturity),
        }
    )


def users_table(rng: np.random.Generator, audience: Audience, period: Period) -> pa.Table:
    """Users known at the start are dated there; a new user becomes known at sign-up."""
    count = len(audience)
    follows = rng.poisson(30 * audience.activity)
    return pa.table(
        {
            "user_id": user_ids(count),
            "created_timestamp": times(np.maximum(audience.signup, period.start)),
            "signup_timestamp": times(audience.signup),
            "country": pick(COUNTRY_CODES, audience.country),
            "language": pick(LANGUAGES, audience.language),
            "device": pick(DEVICES, audience.device),
            "activity_degree": pick(ACTIVITY_DEGREES, activity_degree(audience)),
            "is_low_active": audience.activity < 0.15,
            "is_author": rng.random(count) < 0.03,
            "follow_count": follows,
            "fan_count": rng.poisson(4.0, size=count),
            "friend_count": rng.binomial(follows, 0.2),
            "category_0": _survey(rng, audience),
            "category_1": np.digitize(audience.peak_hour, [10.0, 17.0, 22.0]).astype(np.int32),
            "category_2": rng.integers(7, size=count).astype(np.int32),
        }
    )


def _survey(rng: np.random.Generator, audience: Audience) -> npt.NDArray[np.int32]:
    """The genre named at sign-up: the favourite, or for a third of the users a random one."""
    favourite = audience.taste.argmax(axis=1)
    random = rng.integers(len(GENRES), size=len(audience))
    return np.where(rng.random(len(audience)) < 0.67, favourite, random).astype(np.int32)


def _distinct(first: Indices, second: Indices) -> Indices:
    return np.column_stack([first, np.where(second == first, -1, second)])


def _lists(values: Sequence[str] | npt.NDArray[Any], rows: Indices) -> pa.Array:
    """list<string> [rows]: values at the row numbers of each line, -1 left out."""
    present = rows >= 0
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pick(values, rows[present]))
