"""Embeddings as columns that can be counted: their norm, and their projections on fixed directions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Ragged

PROJECTIONS = 8
SHORTEST = 4
"""A list of fewer numbers is no embedding."""
MARK = "#"
Matrix = npt.NDArray[np.float32]


def dimension_of(column: Ragged) -> int | None:
    """The one length that 99 % of the lists have that are not empty; None where the lists are no embeddings."""
    lengths = column.lengths[column.lengths > 0]
    if not len(lengths):
        return None
    usual = int(np.bincount(lengths).argmax())
    return usual if usual >= SHORTEST and (lengths == usual).mean() >= 0.99 else None


def names_of(feature: str) -> tuple[str, ...]:
    """The columns that `projected` makes."""
    return (
        f"{feature}{MARK}norm",
        *(f"{feature}{MARK}projection-{number}" for number in range(PROJECTIONS)),
    )


def projected(column: Ragged, feature: str, dimension: int) -> Matrix:
    """float32 [rows, 1 + PROJECTIONS]: Euclidean norm, and inner products with unit vectors that hang on the feature's
    name and the dimension alone. NaN for a list of another length.
    """
    result = np.full((len(column), 1 + PROJECTIONS), np.nan, np.float32)
    fits = np.flatnonzero(column.lengths == dimension)
    vectors = column.values[column.take(fits).flat()[1]].astype(np.float64).reshape(len(fits), dimension)
    rng = np.random.default_rng(zlib.crc32(f"{feature}:{dimension}".encode()))
    directions = rng.normal(size=(dimension, PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    result[fits, 0] = np.linalg.norm(vectors, axis=1)
    result[fits, 1:] = vectors @ directions
    return result


def with_embeddings(
    matrix: Matrix, embeddings: Mapping[str, Ragged], dimensions: Mapping[str, int]
) -> Matrix:
    """The matrix with the columns of every embedding in `dimensions` behind it; all NaN for one that is not there."""
    blocks = [
        projected(embeddings[name], name, dimension)
        if name in embeddings
        else np.full((len(matrix), 1 + PROJECTIONS), np.nan, np.float32)
        for name, dimension in dimensions.items()
    ]
    return np.concatenate([matrix, *blocks], axis=1) if blocks else matrix
