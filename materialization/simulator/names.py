"""Words of the invented world: genres, countries, and readable made-up names of titles and people."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

GENRES = (
    "drama", "comedy", "action", "thriller", "romance", "crime", "documentary", "animation", "family",
    "fantasy", "science fiction", "horror", "mystery", "adventure", "history", "music", "sport",
    "reality", "war", "western",
)  # fmt: skip


class Country(NamedTuple):
    """A market: where users live and titles are made."""

    code: str
    language: str
    utc_offset_hours: float
    user_share: float
    title_share: float


COUNTRIES = (
    Country("US", "en", -6, 0.28, 0.36),
    Country("GB", "en", 0, 0.10, 0.11),
    Country("IN", "hi", 5.5, 0.14, 0.11),
    Country("BR", "pt", -3, 0.10, 0.05),
    Country("MX", "es", -6, 0.08, 0.05),
    Country("ES", "es", 1, 0.06, 0.06),
    Country("FR", "fr", 1, 0.07, 0.08),
    Country("DE", "de", 1, 0.07, 0.06),
    Country("JP", "ja", 9, 0.06, 0.06),
    Country("KR", "ko", 9, 0.04, 0.06),
)
ADJECTIVES = (
    "Silent", "Crimson", "Broken", "Golden", "Hidden", "Last", "Wild", "Hollow", "Distant", "Burning",
    "Quiet", "Frozen", "Restless", "Pale", "Second", "Lucky", "Crooked", "Velvet", "Northern",
    "Endless", "Paper", "Bitter", "Gentle", "Electric", "Forgotten", "Stolen", "Midnight", "Summer",
    "Little", "Iron",
)  # fmt: skip
NOUNS = (
    "River", "Garden", "Witness", "Orchard", "Signal", "Harbour", "Promise", "Machine", "Winter",
    "Letter", "Kingdom", "Shadow", "Market", "Mountain", "Stranger", "Lighthouse", "Daughter",
    "Engine", "Bridge", "Island", "Mirror", "Season", "Detective", "Circus", "Voyage", "Neighbour",
    "Comet", "Kitchen", "Colony", "Song",
)  # fmt: skip
PLACES = (
    "Ardenne", "Bellmoor", "Calder", "Dunmare", "Estavar", "Fenwick", "Garrow", "Halden", "Ivrea",
    "Jorvale", "Kestrel", "Lorne", "Marisol", "Norwick", "Oakhollow", "Pellan", "Quarry Bay",
    "Rossmere", "Sorrel", "Tamarind",
)  # fmt: skip
GIVEN_NAMES = (
    "Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Keiko",
    "Luca", "Mira", "Noah", "Olga", "Priya", "Quentin", "Rosa", "Sanjay", "Tomas", "Uma", "Viktor",
    "Wren", "Ximena", "Yusuf", "Zoe", "Ana", "Ben", "Clara", "Daniel", "Eva", "Felix", "Hana", "Ivan",
    "Jun", "Leila", "Marco", "Nadia", "Omar", "Paula",
)  # fmt: skip
FAMILY_NAMES = (
    "Abara", "Bellini", "Castell", "Dahl", "Eklund", "Ferrant", "Gallo", "Hartwell", "Ishida",
    "Jansky", "Kowal", "Lindqvist", "Moreau", "Nakano", "Okafor", "Pereira", "Quist", "Rao",
    "Sandoval", "Takeda", "Ueda", "Varga", "Whitlock", "Xu", "Yilmaz", "Zamora", "Achterberg",
    "Brandao", "Choi", "Desai", "Engel", "Fontaine", "Grant", "Hollis", "Iyer", "Juarez", "Kimura",
    "Lopes", "Mbeki", "Novak",
)  # fmt: skip
PATTERNS = ("The {0} {1}", "{0} {1}", "The {1} of {2}", "{2}", "{0} {2}", "A {1} in {2}", "{1} and {3}")

Names = npt.NDArray[Any]


def titles(rng: np.random.Generator, count: int) -> Names:
    """object [count]: titles of films and series; a repeated one gets a number."""
    pattern = rng.integers(len(PATTERNS), size=count)
    words = [rng.choice(np.array(pool, object), size=count) for pool in (ADJECTIVES, NOUNS, PLACES, NOUNS)]
    made = (PATTERNS[index].format(*row) for index, *row in zip(pattern, *words, strict=True))
    return _numbered(made, count)


def people(rng: np.random.Generator, count: int) -> Names:
    """object [count]: names of persons; a repeated one gets a number."""
    given = rng.choice(np.array(GIVEN_NAMES, object), size=count)
    family = rng.choice(np.array(FAMILY_NAMES, object), size=count)
    return _numbered((f"{first} {last}" for first, last in zip(given, family, strict=True)), count)


def _numbered(made: Any, count: int) -> Names:
    seen: dict[str, int] = {}
    names = np.empty(count, object)
    for index, name in enumerate(made):
        seen[name] = seen.get(name, 0) + 1
        names[index] = name if seen[name] == 1 else f"{name} {seen[name]}"
    return names
