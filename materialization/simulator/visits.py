"""When users come, on what device, and which pages they open: the requests of one day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from materialization.simulator.audience import DEVICES, Audience
from materialization.simulator.catalogue import Floats, Indices
from materialization.simulator.clock import DAY, HOUR, SECOND, Period, Times
from materialization.simulator.names import COUNTRIES

SURFACES = ("home", "browse", "search", "detail", "continue")
HOME, CONTINUE = 0, SURFACES.index("continue")
SLATE_LENGTH = np.array([20, 16, 10, 10, 5])
FIRST_PAGE = (0.72, 0.07, 0.07, 0.0, 0.14)
LATER_PAGE = (0.34, 0.25, 0.14, 0.16, 0.11)
MOST_REQUESTS = 8
TRAVEL_SHARE = 0.02


@dataclass(frozen=True)
class Requests:
    """Arrays with one row per request, in time order."""

    user: Indices
    time: Times
    session_start: Times
    place_in_session: Indices
    """0 for the first request of the session."""
    surface: Indices
    device: Indices
    country: Indices
    local_hour: Floats

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Indices) -> Requests:
        """The requests of these rows, in that order."""
        return Requests(**{name: column[rows] for name, column in vars(self).items()})


def make_requests(rng: np.random.Generator, audience: Audience, *, period: Period, day: int) -> Requests:
    """Requests of the sessions that begin on this day; none before its user's sign-up or after the period."""
    user, start, local_hour = _sessions(rng, audience, period=period, day=day)
    device = _devices(rng, audience.device[user], local_hour)
    abroad = rng.random(len(user)) < TRAVEL_SHARE
    country = np.where(abroad, rng.integers(len(COUNTRIES), size=len(user)), audience.country[user])
    count = np.minimum(1 + rng.poisson(1.0, size=len(user)), MOST_REQUESTS)
    gaps = 20.0 + rng.exponential(240.0, size=(len(user), MOST_REQUESTS))
    gaps[:, 0] = 0.0
    session, place = np.nonzero(np.arange(MOST_REQUESTS) < count[:, None])
    time = start[session] + (np.cumsum(gaps, axis=1)[session, place] * SECOND).astype(np.int64)
    requests = Requests(
        user=user[session],
        time=time,
        session_start=start[session],
        place_in_session=place,
        surface=_surfaces(rng, place),
        device=device[session],
        country=country[session],
        local_hour=local_hour[session],
    )
    return requests.take(_possible(requests, audience, period))


def _sessions(
    rng: np.random.Generator, audience: Audience, *, period: Period, day: int
) -> tuple[Indices, Times, Floats]:
    """User, start (whole milliseconds) and local hour of each session."""
    weekday = period.weekday(day)
    visiting = np.flatnonzero(rng.random(len(audience)) < audience.visit_probability(weekday))
    user = np.repeat(visiting, 1 + rng.poisson(0.3, size=len(visiting)))
    other_hour = rng.uniform(7.0, 24.0, size=len(user))
    habit = audience.peak_hour[user] - (1.5 if weekday >= 5 else 0.0) + 1.8 * rng.standard_normal(len(user))
    local_hour = np.where(rng.random(len(user)) < 0.75, habit, other_hour) % 24.0
    offset = np.array([country.utc_offset_hours for country in COUNTRIES])[audience.country[user]]
    into_day = ((local_hour - offset) % 24.0 * HOUR).astype(np.int64) % DAY
    return user, period.midnight(day) + into_day // 1000 * 1000, local_hour


def _devices(rng: np.random.Generator, usual: Indices, local_hour: Floats) -> Indices:
    """Mostly the usual device; else the television in the evening and the phone by day."""
    evening = local_hour >= 18.0
    by_hour = np.where(evening, DEVICES.index("tv"), DEVICES.index("phone"))
    other = np.where(rng.random(len(usual)) < 0.7, by_hour, rng.integers(len(DEVICES), size=len(usual)))
    return np.where(rng.random(len(usual)) < 0.72, usual, other)


def _surfaces(rng: np.random.Generator, place: Indices) -> Indices:
    bounds = np.cumsum([FIRST_PAGE, LATER_PAGE], axis=1)[(place > 0).astype(int)]
    drawn = (bounds < rng.random((len(place), 1))).sum(axis=1)
    return np.asarray(np.minimum(drawn, len(SURFACES) - 1), np.int64)


def _possible(requests: Requests, audience: Audience, period: Period) -> Indices:
    """Rows in time order; of two requests of one user in one millisecond the first is kept."""
    in_time = (requests.time >= audience.signup[requests.user]) & (requests.time < period.end)
    rows = np.flatnonzero(in_time & (requests.session_start >= audience.signup[requests.user]))
    keys = np.column_stack([requests.user[rows], requests.time[rows] // 1000])
    _, first = np.unique(keys, axis=0, return_index=True)
    rows = rows[first]
    return rows[np.lexsort((requests.user[rows], requests.time[rows]))]
