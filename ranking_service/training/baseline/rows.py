"""Whose each counted row is: requests, users and items by stable hashes of their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Array

GROUPS = 32
"""Users, items and pairs fall into so many groups by hash; what differs between groups says how sure a figure is."""
CELL_SECONDS = 6 * 3600
Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
_ODD = np.uint64(0x9E3779B97F4A7C15)


def hash_texts(ids: Array) -> Hashes:
    """uint64 of each text, the same on every machine and in every version; the empty text for None."""
    names, place = np.unique(np.where(ids == np.array(None), "", ids).astype(str), return_inverse=True)
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names.tolist()]
    hashes = np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)
    return np.asarray(hashes.take(place))


def mix(left: Hashes, right: Hashes) -> Hashes:
    """One hash of two."""
    mixed = (left ^ (right * _ODD)) * _ODD
    return (mixed ^ (mixed >> np.uint64(29))) * _ODD


def hash_rows(block: npt.NDArray[np.float32]) -> Hashes:
    """uint64 of each row's values to the bit; any two NaNs are the same."""
    rng = np.random.default_rng(1)
    odd: Hashes = np.array(rng.integers(1, 2**63, block.shape[1]), np.uint64) | np.uint64(1)
    result = np.zeros(len(block), np.uint64)
    for place in range(block.shape[1]):
        bits = np.where(np.isnan(block[:, place]), np.float32(np.nan), block[:, place]).view(np.uint32)
        result += (bits + np.uint64(1)) * odd[place]
    return result ^ (result >> np.uint64(31))


@dataclass(frozen=True)
class RowKeys:
    """Of candidate rows; requests are numbered from 0 and each has at least one row."""

    request: Rows
    """int64 [rows]."""
    user: Hashes
    """uint64 [requests]."""
    item: Hashes
    """uint64 [rows]."""
    seconds: npt.NDArray[np.float64]
    """Unix seconds [requests]."""
    slices: Mapping[str, Array] = field(default_factory=dict)
    """Text [requests] by dimension; None is in no part."""

    @cached_property
    def first(self) -> Rows:
        """int64 [requests]: a row of each request."""
        return np.unique(self.request, return_index=True)[1].astype(np.int64)

    @cached_property
    def cell(self) -> Rows:
        """int64 [requests]: quarters of days since 1970, UTC."""
        return (self.seconds // CELL_SECONDS).astype(np.int64)

    def take(self, rows: Rows) -> RowKeys:
        """Some of the rows, with the requests they belong to."""
        kept, request = np.unique(self.request[rows], return_inverse=True)
        return RowKeys(
            request.astype(np.int64),
            self.user[kept],
            self.item[rows],
            self.seconds[kept],
            {name: values[kept] for name, values in self.slices.items()},
        )


def group(hashes: Hashes) -> Rows:
    """int64: the group of each; the low bits of a hash that was mixed again, so that sampling by hash is no bias."""
    return (mix(hashes, _ODD * np.ones(1, np.uint64)) >> np.uint64(40)).astype(np.int64) % GROUPS
