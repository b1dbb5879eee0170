"""What is counted as one: a request, a row of an item, a row of a pair. One wrong row shown 500 times is one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from skew_checks.judging.compare import Mask

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def text_hashes(column: pa.ChunkedArray) -> Hashes:
    """uint64 per row, the same in every run; 2^-64 that two texts share one."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = np.asarray(encoded.dictionary.to_pandas(), object)
    hashes: Hashes = pd.util.hash_array(texts, categorize=False)[encoded.indices.to_numpy()]
    return hashes


def matrix_hashes(matrix: npt.NDArray[np.float32], request: npt.NDArray[np.int64]) -> Hashes:
    """uint64 [rows]: the same for equal rows of the same request; all NaN are one, and so are both zeros."""
    plain = np.where(np.isnan(matrix), np.float32(np.nan), matrix + np.float32(0))
    bits = np.ascontiguousarray(plain, np.float32).view(np.uint32).astype(np.uint64)
    hashes = request.astype(np.uint64)
    for column in bits.T:
        hashes = mixed(hashes, column)
    return hashes


def mixed(left: Hashes, right: npt.NDArray[np.uint64]) -> Hashes:
    """One hash of two (the finalizer of splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        value = left * GOLDEN + right
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def instant_bits(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Microseconds as uint64; a missing instant has a value of its own."""
    known = ~np.isnan(seconds)
    micros = np.round(np.where(known, seconds, 0) * 1e6).astype(np.int64)
    return np.where(known, micros.view(np.uint64), np.uint64(2**63))


@dataclass
class Register:
    """A number for each unit met so far, in the order of meeting; 16 bytes a unit."""

    _known: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    _numbers: Rows = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self._known)

    def numbers(self, hashes: Hashes) -> Rows:
        """int64 per row, counted from 0; units not met before get the next ones."""
        units, row = np.unique(hashes, return_inverse=True)
        places = np.searchsorted(self._known, units)
        padded = np.append(self._known, np.uint64(0))
        fresh = (places == len(self._known)) | (padded[places] != units)
        self._numbers = np.insert(self._numbers, places[fresh], len(self._known) + np.arange(fresh.sum()))
        self._known = np.insert(self._known, places[fresh], units[fresh])
        found: Rows = self._numbers[np.searchsorted(self._known, units)[row]]
        return found

    @staticmethod
    def together(registers: Iterable[Register]) -> int:
        """How many different units they have met."""
        known = [register._known for register in registers]
        return len(np.unique(np.concatenate(known))) if known else 0


@dataclass
class Marks:
    """Which units are marked; one byte a unit, none until the first mark."""

    _hit: Mask = field(default_factory=lambda: np.zeros(0, bool))

    def mark(self, numbers: Rows) -> None:
        if not len(numbers):
            return
        most = int(numbers.max()) + 1
        if most > len(self._hit):
            self._hit = np.concatenate(
                (self._hit, np.zeros(max(most, 2 * len(self._hit)) - len(self._hit), bool))
            )
        self._hit[numbers] = True

    @property
    def count(self) -> int:
        return int(self._hit.sum())
