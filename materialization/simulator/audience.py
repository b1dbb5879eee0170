"""The users: where they live, when and on what they watch, and the tastes only the simulator knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from materialization.simulator.catalogue import LATENT, Floats, Indices
from materialization.simulator.clock import DAY, Period, Times
from materialization.simulator.names import COUNTRIES, GENRES

NEW_SHARE = 0.12
"""Share of the users who sign up during the period."""
DEVICES = ("tv", "phone", "tablet", "web")
DEVICE_SHARE = (0.38, 0.36, 0.10, 0.16)
LANGUAGES = tuple(sorted({country.language for country in COUNTRIES}))
ACTIVITY_DEGREES = ("low_active", "middle_active", "high_active", "full_active")
FAVOURITE_AUTHORS = 3
GENRE_SLOTS = 32
"""A user's genre preferences as a lottery: so many tickets, each a genre."""


@dataclass(frozen=True)
class Audience:
    """Arrays with one row per user."""

    country: Indices
    language: Indices
    """Rows of LANGUAGES."""
    device: Indices
    """Usual device, rows of DEVICES."""
    signup: Times
    activity: Floats
    """Probability to visit on an average day."""
    weekend: Floats
    """Factor on `activity` on Saturday and Sunday; below 1 for people who watch on weekdays."""
    peak_hour: Floats
    """Local hour most visits begin at."""
    taste: Floats
    """[users, genres], logit scale."""
    genre_tickets: Indices
    """[users, GENRE_SLOTS] genres drawn in proportion to exp(taste)."""
    favourite_authors: Indices
    """[users, FAVOURITE_AUTHORS]"""
    latent: Floats
    shuffled: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """In the arm of the experiment whose slates are in random order."""

    def __len__(self) -> int:
        return len(self.country)

    def visit_probability(self, weekday: int) -> Floats:
        """[users]: probability to visit on this day of the week (0 = Monday)."""
        factor = self.weekend if weekday >= 5 else (1.1 if weekday == 4 else 0.92)
        return np.minimum(self.activity * factor, 0.97)


def make_audience(rng: np.random.Generator, *, users: int, authors: int, period: Period) -> Audience:
    """`users` users, some of whom sign up during the period."""
    country = rng.choice(len(COUNTRIES), size=users, p=[country.user_share for country in COUNTRIES])
    native = np.array([LANGUAGES.index(home.language) for home in COUNTRIES])[country]
    taste = _tastes(rng, users)
    return Audience(
        country=country,
        language=np.where(rng.random(users) < 0.9, native, LANGUAGES.index("en")),
        device=rng.choice(len(DEVICES), size=users, p=DEVICE_SHARE),
        signup=_signups(rng, users, period),
        activity=rng.beta(1.6, 2.0, size=users),
        weekend=rng.uniform(0.7, 1.8, size=users),
        peak_hour=rng.choice([7.5, 13.0, 20.5, 23.0], size=users, p=(0.12, 0.15, 0.53, 0.2)),
        taste=taste,
        genre_tickets=_tickets(rng, taste),
        favourite_authors=rng.integers(authors, size=(users, FAVOURITE_AUTHORS)),
        latent=rng.standard_normal((users, LATENT)),
        shuffled=rng.random(users) < 0.1,
    )


def activity_degree(audience: Audience) -> Indices:
    """Rows of ACTIVITY_DEGREES: what the service calls its users, from coarse thresholds."""
    return np.digitize(audience.activity, [0.15, 0.4, 0.65])


def _tastes(rng: np.random.Generator, users: int) -> Floats:
    """Three favourite and two disliked genres each; the favourites of many are the same few."""
    fashion = np.linspace(1.2, 0.0, len(GENRES))
    order = np.argsort(-(fashion + rng.gumbel(size=(users, len(GENRES)))), axis=1)
    taste = 0.3 * rng.standard_normal((users, len(GENRES)))
    worth = np.array([1.9, 1.4, 1.0, -0.9, -0.9])
    chosen = np.concatenate([order[:, :3], order[:, -2:]], axis=1)
    rows = np.arange(users)[:, None]
    taste[rows, chosen] += worth
    return np.asarray(taste)


def _tickets(rng: np.random.Generator, taste: Floats) -> Indices:
    share = np.exp(taste)
    bounds = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    draws = (np.arange(GENRE_SLOTS) + rng.random((len(taste), 1))) / GENRE_SLOTS
    tickets = np.empty((len(taste), GENRE_SLOTS), np.int64)
    for slot in range(GENRE_SLOTS):
        tickets[:, slot] = (bounds < draws[:, slot, None]).sum(axis=1)
    return np.minimum(tickets, len(GENRES) - 1)


def _signups(rng: np.random.Generator, users: int, period: Period) -> Times:
    new = rng.random(users) < NEW_SHARE
    days = np.where(new, rng.uniform(0, period.days, size=users), -rng.exponential(500.0, size=users) - 1.0)
    days[0] = min(days[0], -1.0)
    return period.start + (days * DAY).astype(np.int64)
