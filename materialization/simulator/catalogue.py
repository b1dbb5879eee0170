"""The titles: what everybody can see of them, and the qualities only the simulator knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from materialization.simulator.clock import DAY, Period, Times
from materialization.simulator.names import COUNTRIES, GENRES, people, titles

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

LATENT = 4
"""Dimensions of taste that no visible attribute explains."""
NEW_SHARE = 0.12
"""Share of the titles released during the period."""
RECENT_SHARE = 0.12
"""Share of the titles released in the 30 days before it."""
OLDEST_DAYS = 9000.0
SECONDARY_GENRE_WEIGHT = 0.5

TYPES = ("short", "series", "film", "special")
TYPE_SHARE = (0.45, 0.30, 0.18, 0.07)
TYPE_MINUTES = ((2.0, 14.0), (18.0, 55.0), (78.0, 150.0), (40.0, 80.0))
MATURITIES = ("0", "6", "12", "16", "18")
UPLOADS = ("licensed", "original", "partner")
SIZES = ((1280, 720), (1920, 1080), (3840, 2160))


@dataclass(frozen=True)
class Catalogue:
    """Arrays with one row per title; indices are row numbers, -1 where there is none."""

    title: npt.NDArray[Any]
    author: Indices
    author_name: npt.NDArray[Any]
    cast: Indices
    """[items, 5] rows of `cast_name`."""
    cast_name: npt.NDArray[Any]
    genres: Indices
    """[items, 3] rows of GENRES, main genre first."""
    genre_weight: Floats
    """[items, genres], rows sum to 1."""
    country: Indices
    second_country: Indices
    release: Times
    duration_ms: Indices
    item_type: Indices
    upload_type: Indices
    maturity: Indices
    size: Indices
    quality: Floats
    """Logit scale: how good the title is, for anybody."""
    fame: Floats
    """Log scale: how well known it is long after its release."""
    buzz_height: Floats
    buzz_days: Floats
    """e-folding time of the attention after release."""
    latent: Floats

    def __len__(self) -> int:
        return len(self.title)

    def buzz(self, items: Indices, times: Times) -> Floats:
        """Attention around the release: rises within a day, then decays; 0 before release and long after."""
        age = np.maximum((times - self.release[items]) / DAY, 0.0)
        rise = 1.0 - np.exp(-age / 0.7)
        return np.asarray(self.buzz_height[items] * rise * np.exp(-age / self.buzz_days[items]))

    def log_popularity(self, time: int) -> Floats:
        """[items]: log of how often each title is looked for at one time."""
        everything = np.arange(len(self))
        buzz = self.buzz(everything, np.full(len(self), time))
        return np.asarray(self.fame + 0.5 * self.quality + buzz)


def make_catalogue(rng: np.random.Generator, *, items: int, period: Period) -> Catalogue:
    """`items` titles, some of them released during the period."""
    authors = max(1, items // 4)
    author = _long_tail(rng, authors, size=items)
    genres = _genres(rng, author, main_of_author=rng.integers(len(GENRES), size=authors))
    item_type = rng.choice(len(TYPES), size=items, p=TYPE_SHARE)
    shortest, longest = np.array(TYPE_MINUTES)[item_type].T
    country = rng.choice(len(COUNTRIES), size=items, p=[country.title_share for country in COUNTRIES])
    cast_pool = max(5, items // 3)
    return Catalogue(
        title=titles(rng, items),
        author=author,
        author_name=people(rng, authors),
        cast=np.where(np.arange(5) < rng.integers(2, 6, size=(items, 1)), _casts(rng, cast_pool, items), -1),
        cast_name=people(rng, cast_pool),
        genres=genres,
        genre_weight=_genre_weight(genres),
        country=country,
        second_country=np.where(rng.random(items) < 0.2, rng.integers(len(COUNTRIES), size=items), -1),
        release=_releases(rng, items, period),
        duration_ms=(rng.uniform(shortest, longest) * 60_000).astype(np.int64),
        item_type=item_type,
        upload_type=rng.choice(len(UPLOADS), size=items, p=(0.6, 0.25, 0.15)),
        maturity=rng.choice(len(MATURITIES), size=items, p=(0.2, 0.2, 0.3, 0.2, 0.1)),
        size=rng.choice(len(SIZES), size=items, p=(0.2, 0.6, 0.2)),
        quality=0.5 * rng.standard_normal(authors)[author] + 0.6 * rng.standard_normal(items),
        fame=0.9 * rng.standard_normal(items),
        buzz_height=rng.uniform(1.0, 3.2, size=items),
        buzz_days=6.0 * np.exp(0.5 * rng.standard_normal(items)),
        latent=rng.standard_normal((items, LATENT)),
    )


def _long_tail(rng: np.random.Generator, kinds: int, *, size: int) -> Indices:
    """A few kinds are common, most are rare."""
    weight = 1.0 / np.arange(1, kinds + 1) ** 0.6
    return rng.choice(kinds, size=size, p=weight / weight.sum())


def _genres(rng: np.random.Generator, author: Indices, *, main_of_author: Indices) -> Indices:
    items = len(author)
    own = rng.random(items) < 0.7
    main = np.where(own, main_of_author[author], _long_tail(rng, len(GENRES), size=items))
    others = (main[:, None] + rng.integers(1, len(GENRES), size=(items, 2))) % len(GENRES)
    others[others[:, 0] == others[:, 1], 1] = -1
    count = rng.choice(3, size=(items, 1), p=(0.3, 0.45, 0.25))
    return np.column_stack([main, np.where(np.arange(2) < count, others, -1)])


def _genre_weight(genres: Indices) -> Floats:
    weight = np.zeros((len(genres), len(GENRES)))
    for place, worth in enumerate((1.0, SECONDARY_GENRE_WEIGHT, SECONDARY_GENRE_WEIGHT)):
        rows = np.flatnonzero(genres[:, place] >= 0)
        weight[rows, genres[rows, place]] += worth
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _casts(rng: np.random.Generator, pool: int, items: int) -> Indices:
    """[items, 5] distinct persons per row, common persons often."""
    first = _long_tail(rng, pool, size=items)
    step = rng.integers(1, max(2, pool // 5), size=(items, 1))
    return np.asarray((first[:, None] + step * np.arange(5)) % pool)


def _releases(rng: np.random.Generator, items: int, period: Period) -> Times:
    kind = rng.random(items)
    ahead = rng.uniform(0, period.days, size=items)
    recent = -rng.uniform(0, 30, size=items)
    old = -(30 * (OLDEST_DAYS / 30) ** rng.random(items))
    days = np.where(kind < NEW_SHARE, ahead, np.where(kind < NEW_SHARE + RECENT_SHARE, recent, old))
    days[np.argmin(days)] = -OLDEST_DAYS
    return period.start + (days * DAY).astype(np.int64)
