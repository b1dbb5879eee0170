"""The checksum at the end of a row's fixed part: a row altered at equal length is not taken for values.

The fixed part is hashed as Multilinear (Carter and Wegman 1979, "Universal classes of hash functions"; with words of
32 bits and sums mod 2^64: Lemire and Kaser 2014, "Strongly universal string hashing is fast"): the sum of its uint32
words, each times a weight of its own, of which the upper 32 bits are kept. Of all choices of the weights, one in 2^32
gives two different rows the same checksum. Ours are chosen once and known to everybody, so this guards against
accidents, not against intent. Of these weights a test shows besides that a change within one byte is always seen, and
so are any two flipped bits of a fixed part of up to 4 KB. The CRC-32 of what follows is joined by exclusive or.

Multilinear, because numpy makes it for all rows in one pass, where CRC-32 takes a Python call for each row.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SEED = b"packed row"
"""The weights are SHAKE-128 of this, eight bytes each, little-endian: the same in every language."""


def checksums(fixed: npt.NDArray[np.void], tails: Sequence[bytes] = ()) -> npt.NDArray[np.uint32]:
    """uint32 [n] of rows, [n] of `Layout.dtype`, whatever their last four bytes; `tails`, [n] or none at all, is what
    follows their fixed parts."""
    words = fixed.view("<u4").reshape(len(fixed), fixed.dtype.itemsize // 4)
    products = np.einsum("ij,j->i", words, weights(words.shape[1]))
    sums: npt.NDArray[np.uint32] = (products >> np.uint64(32)).astype(np.uint32)
    if len(tails):
        sums ^= np.fromiter(map(zlib.crc32, tails), np.uint32, len(tails))
    return sums


def checksum(fixed: bytes, tail: bytes) -> int:
    """The same of one row, by its bytes."""
    words = np.frombuffer(fixed, "<u4")
    return int(words.astype(np.uint64) @ weights(len(words))) >> 32 ^ zlib.crc32(tail)


@lru_cache(maxsize=256)
def weights(words: int) -> npt.NDArray[np.uint64]:
    """uint64 [words]; the last is 0, for there the checksum lies."""
    found = np.frombuffer(hashlib.shake_128(SEED).digest(8 * words), "<u8").astype(np.uint64)
    found[-1:] = 0
    return found
