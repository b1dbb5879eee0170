"""The truth: how likely a user clicks a title shown at a place, and watches it to the end.

    P(click)     = examined(surface, position) * sigmoid(attraction)
    P(completed) = P(click) * sigmoid(staying)

Genre taste, favourite authors, language, country, quality and the buzz around a release are there for
features to find; the latent part is what only co-watching reveals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from materialization.simulator.audience import DEVICES, LANGUAGES, Audience
from materialization.simulator.catalogue import Catalogue, Floats, Indices
from materialization.simulator.clock import Times
from materialization.simulator.memory import Memory
from materialization.simulator.names import COUNTRIES
from materialization.simulator.visits import SURFACES

POSITION_DECAY = np.array([0.10, 0.08, 0.22, 0.15, 0.15])
"""By surface: how fast attention falls along the slate; steepest for search results."""
SURFACE_ATTRACTION = dict(zip(SURFACES, (0.0, -0.1, 0.35, 0.1, 0.9), strict=True))
TITLE_LANGUAGE = np.array([LANGUAGES.index(country.language) for country in COUNTRIES])
LENGTH_WEIGHT = dict(zip(DEVICES, (0.20, 0.60, 0.35, 0.40), strict=True))
"""How much a long title costs in completions, by device; logit per factor e of length."""


@dataclass(frozen=True)
class Shown:
    """Arrays with one row per exposure."""

    user: Indices
    item: Indices
    time: Times
    surface: Indices
    position: Indices
    device: Indices
    country: Indices
    local_hour: Floats


@dataclass(frozen=True)
class Truth:
    """Probabilities with one row per exposure."""

    examined: Floats
    attraction: Floats
    """P(click | examined)"""
    staying: Floats
    """P(completed | clicked)"""
    match: Floats
    """Logit scale: how much this user likes this title, place and time aside."""

    @property
    def click(self) -> Floats:
        return self.examined * self.attraction

    @property
    def completed(self) -> Floats:
        return self.click * self.staying

    @property
    def completed_if_first(self) -> Floats:
        """Had it been shown at position 0 of its slate, where everything is examined."""
        return self.attraction * self.staying


def truth(shown: Shown, catalogue: Catalogue, audience: Audience, memory: Memory) -> Truth:
    """The probabilities of everything shown."""
    match = _match(shown, catalogue, audience)
    quality = catalogue.quality[shown.item]
    repeat = memory.has_completed(shown.user, shown.item)
    surface = np.array(list(SURFACE_ATTRACTION.values()))[shown.surface]
    buzz = catalogue.buzz(shown.item, shown.time)
    attraction = -1.35 + 1.1 * match + 0.55 * quality + 0.55 * buzz + surface - 1.6 * repeat
    staying = -0.45 + 0.8 * match + 0.6 * quality - _length_cost(shown, catalogue)
    return Truth(
        examined=np.asarray(1.0 / (1.0 + POSITION_DECAY[shown.surface] * shown.position), np.float64),
        attraction=_sigmoid(attraction),
        staying=_sigmoid(staying),
        match=match,
    )


def _match(shown: Shown, catalogue: Catalogue, audience: Audience) -> Floats:
    user, item = shown.user, shown.item
    genre = np.einsum("ij,ij->i", audience.taste[user], catalogue.genre_weight[item])
    favourite = (audience.favourite_authors[user] == catalogue.author[item, None]).any(axis=1)
    language = TITLE_LANGUAGE[catalogue.country[item]]
    own_language = language == audience.language[user]
    foreign = ~own_language & (language != LANGUAGES.index("en"))
    home = (catalogue.country[item] == shown.country) | (catalogue.second_country[item] == shown.country)
    latent = np.einsum("ij,ij->i", audience.latent[user], catalogue.latent[item]) / 2.0
    visible = 0.9 * genre + 1.2 * favourite + 0.35 * own_language - 0.45 * foreign + 0.3 * home
    return np.asarray(visible + 0.4 * latent)


def _length_cost(shown: Shown, catalogue: Catalogue) -> Floats:
    """Long titles are left early: more so on the phone, and late at night."""
    length = np.log(catalogue.duration_ms[shown.item] / (25 * 60_000))
    night = (shown.local_hour >= 23.0) | (shown.local_hour < 6.0)
    weight = np.array(list(LENGTH_WEIGHT.values()))[shown.device] + 0.25 * night
    return np.asarray(weight * length)


def _sigmoid(logit: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))
