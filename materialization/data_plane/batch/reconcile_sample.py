"""A sample of entities by hash: the same on both sides, of a size known in advance, in one pass."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Sample:
    """The encoded entities whose salted hash is at most `limit`."""

    limit: int
    salt: int

    @property
    def share(self) -> float:
        """Of all entities, about."""
        return (self.limit + 1) / 2**32

    def has(self, entity: bytes) -> bool:
        """Whether an entity belongs to it."""
        return zlib.crc32(entity, self.salt) <= self.limit


EVERYTHING = Sample(2**32 - 1, 0)


def choose(
    batches: Iterable[tuple[Sequence[bytes | None], npt.NDArray[np.int64]]], *, size: int, salt: int
) -> tuple[Sample, npt.NDArray[np.int64]]:
    """The `size` entities of the smallest hashes, and the places of their rows; all where there are no more.

    Each batch has the entity and the place of every row; entities may come several times.
    """
    salt &= 2**32 - 1
    hashes, places, limit = np.zeros(0, np.int64), np.zeros(0, np.int64), EVERYTHING.limit
    for entities, at in batches:
        new = [-1 if entity is None else zlib.crc32(entity, salt) for entity in entities]
        new_hashes = np.array(new, np.int64)
        kept = (new_hashes >= 0) & (new_hashes <= limit)
        hashes, places = np.concatenate([hashes, new_hashes[kept]]), np.concatenate([places, at[kept]])
        distinct = np.unique(hashes)
        if len(distinct) > size:
            limit = int(distinct[size - 1])
            hashes, places = hashes[hashes <= limit], places[hashes <= limit]
    return (EVERYTHING if limit == EVERYTHING.limit else Sample(limit, salt)), places
