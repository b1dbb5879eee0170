"""What the service shows: candidates from several pools, and a policy that knows less than the truth.

The policy draws the slate without replacement in proportion to exp(score) (Plackett-Luce, by Gumbel noise).
So the probability of each exposure is known exactly, given the candidates and the titles above it: its
propensity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from materialization.simulator.audience import GENRE_SLOTS, Audience
from materialization.simulator.catalogue import Catalogue, Floats, Indices
from materialization.simulator.clock import DAY
from materialization.simulator.memory import UNFINISHED, Memory
from materialization.simulator.names import GENRES
from materialization.simulator.visits import CONTINUE, SLATE_LENGTH, Requests

CANDIDATES = 48
POOL_SHARE = np.array([[0.4, 0.4], [0.3, 0.3], [0.1, 0.85], [0.2, 0.7], [0.0, 0.0]])
"""By surface: share of popular and of taste-matched candidates; the rest is random."""
NOTHING = -np.inf


@dataclass(frozen=True)
class Slates:
    """Arrays with one row per exposure, by request and position."""

    request: Indices
    position: Indices
    item: Indices
    propensity: Floats


@dataclass(frozen=True)
class Shelf:
    """The titles of one day, arranged for drawing in proportion to their popularity at noon."""

    log_popularity: Floats
    by_genre: Indices
    """Released titles, ordered by main genre."""
    cumulative: Floats
    """Popularity summed along `by_genre`, from 0."""
    genre_start: Indices
    """[genres + 1] where each genre begins in `by_genre`."""

    @classmethod
    def of(cls, catalogue: Catalogue, midnight: int) -> Shelf:
        """What is released by the end of the day."""
        log_popularity = catalogue.log_popularity(midnight + DAY // 2)
        released = np.flatnonzero(catalogue.release < midnight + DAY)
        by_genre = released[np.argsort(catalogue.genres[released, 0], kind="stable")]
        weight = np.exp(log_popularity[by_genre])
        start = np.searchsorted(catalogue.genres[by_genre, 0], np.arange(len(GENRES) + 1))
        return cls(log_popularity, by_genre, np.concatenate([[0.0], np.cumsum(weight)]), start)

    def popular(self, draws: Floats) -> Indices:
        """Titles for uniform draws in [0, 1)."""
        return self._at(draws * self.cumulative[-1])

    def of_genre(self, genres: Indices, draws: Floats) -> Indices:
        """Titles of the given main genres; of any genre where a genre has none."""
        low, high = self.cumulative[self.genre_start[genres]], self.cumulative[self.genre_start[genres + 1]]
        return np.where(high > low, self._at(low + draws * (high - low)), self.popular(draws))

    def any(self, draws: Floats) -> Indices:
        """Titles for uniform draws in [0, 1), each as likely."""
        return self.by_genre[(draws * len(self.by_genre)).astype(np.int64)]

    def _at(self, weight: Floats) -> Indices:
        place = np.searchsorted(self.cumulative, weight, side="right") - 1
        return self.by_genre[np.minimum(place, len(self.by_genre) - 1)]


def make_slates(
    rng: np.random.Generator,
    requests: Requests,
    *,
    shelf: Shelf,
    catalogue: Catalogue,
    audience: Audience,
    memory: Memory,
) -> Slates:
    """Fill the slate of every request."""
    candidates = _candidates(rng, requests, shelf=shelf, audience=audience, memory=memory)
    showable = (candidates >= 0) & (catalogue.release[candidates] <= requests.time[:, None])
    showable &= _first_in_row(candidates)
    score = np.where(showable, _score(requests, candidates, shelf, catalogue, audience), NOTHING)
    noisy = score + rng.gumbel(size=score.shape)
    order = np.argsort(-noisy, axis=1, kind="stable")[:, : SLATE_LENGTH.max()]
    chosen = np.take_along_axis(score, order, axis=1)
    fits = (chosen > NOTHING) & (np.arange(order.shape[1]) < SLATE_LENGTH[requests.surface][:, None])
    request, position = np.nonzero(fits)
    return Slates(
        request=request,
        position=position,
        item=np.take_along_axis(candidates, order, axis=1)[fits],
        propensity=_propensity(score, chosen)[fits],
    )


def _candidates(
    rng: np.random.Generator, requests: Requests, *, shelf: Shelf, audience: Audience, memory: Memory
) -> Indices:
    """[requests, CANDIDATES] titles, some repeated; -1 where there is none."""
    shape = (len(requests), CANDIDATES)
    pool, draws = rng.random(shape), rng.random(shape)
    bounds = np.cumsum(POOL_SHARE, axis=1)[requests.surface]
    popular, matched = pool < bounds[:, :1], (pool >= bounds[:, :1]) & (pool < bounds[:, 1:])
    candidates = shelf.any(draws)
    candidates[popular] = shelf.popular(draws[popular])
    row = np.nonzero(matched)[0]
    tickets = rng.integers(GENRE_SLOTS, size=len(row))
    candidates[matched] = shelf.of_genre(audience.genre_tickets[requests.user[row], tickets], draws[matched])
    unfinished = requests.surface == CONTINUE
    candidates[unfinished] = -1
    candidates[unfinished, :UNFINISHED] = memory.unfinished[requests.user[unfinished]]
    return candidates


def _first_in_row(candidates: Indices) -> npt.NDArray[np.bool_]:
    """False where the same title stands earlier in the row."""
    order = np.argsort(candidates, axis=1, kind="stable")
    ordered = np.take_along_axis(candidates, order, axis=1)
    first = np.ones(candidates.shape, bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    result = np.empty_like(first)
    np.put_along_axis(result, order, first, axis=1)
    return result


def _score(
    requests: Requests, candidates: Indices, shelf: Shelf, catalogue: Catalogue, audience: Audience
) -> Floats:
    """Popularity and the main genre only; nothing in the arm with shuffled slates."""
    main = catalogue.genres[candidates, 0]
    score = 0.5 * shelf.log_popularity[candidates] + 0.5 * audience.taste[requests.user[:, None], main]
    return np.where(audience.shuffled[requests.user][:, None], 0.0, score)


def _propensity(score: Floats, chosen: Floats) -> Floats:
    """P(this title at this position | the candidates, the titles above)."""
    weight = np.exp(chosen)
    above = np.cumsum(weight, axis=1) - weight
    remaining = np.exp(score).sum(axis=1, keepdims=True) - above
    return np.asarray(np.minimum(weight / np.maximum(remaining, 1e-12), 1.0))
