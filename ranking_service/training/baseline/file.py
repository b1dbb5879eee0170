"""The baseline in a bundle: `baseline.npz`, arrays and one JSON text, nothing that runs when it is read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.errors import BundleError
from ranking_service.contract import without_nan
from ranking_service.training.baseline.bins import FeatureBins, Kind, Over
from ranking_service.training.baseline.frozen import Frozen
from ranking_service.training.baseline.rows import GROUPS
from ranking_service.training.baseline.sample import Sample

BASELINE_FILE = "baseline.npz"
FORMAT = 2
SAMPLE = ("order", "user", "item", "cell", "matrix")
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Baseline:
    """Counts over a training's rows, with what is needed to count others alike."""

    counts: Frozen
    sample: Sample
    dimensions: Mapping[str, int]
    """Length of each embedding; its columns lie behind the model's, in this order."""

    @property
    def fingerprint(self) -> str:
        """The same for baselines whose counts can be compared: those with the same bins."""
        return fingerprint(self.counts.bins)

    def to_bytes(self) -> bytes:
        return to_bytes(self.counts, sample=self.sample, dimensions=self.dimensions)


def fingerprint(bins: tuple[FeatureBins, ...]) -> str:
    return sha256(_bins_text(bins).encode()).hexdigest()[:16]


def read_baseline(folder: Path) -> Baseline | None:
    """The baseline of the bundle in `folder`; None for one that was trained without, or in another format.

    Raises BundleError for a damaged one.
    """
    path = folder / BASELINE_FILE
    found = read_counts(path) if path.is_file() else None
    if found is None:
        return None
    counts, arrays, header = found
    return Baseline(counts, Sample(*(arrays[f"sample_{name}"] for name in SAMPLE)), header["dimensions"])


def to_bytes(
    counts: Frozen, *, sample: Sample | None = None, dimensions: Mapping[str, int] | None = None
) -> bytes:
    """A compressed npz."""
    header = {
        "format": FORMAT,
        "bins": json.loads(_bins_text(counts.bins)),
        "dimensions": dict(dimensions or {}),
        "groups": GROUPS,
        "slices": [list(part) for part in counts.slices],
        "slice_units": [counts.units.get(part, 0) for part in counts.slices],
        "feature_units": list(counts.feature_units),
        "users": counts.users,
        "requests": counts.requests,
        "rows": counts.rows,
    }
    width = counts.layout.width
    arrays: dict[str, npt.NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header, allow_nan=False).encode(), np.uint8),
        "cells": np.array(sorted(counts.cells), np.int64),
        "cell_counts": _stacked([counts.cells[cell] for cell in sorted(counts.cells)], width),
        "slice_counts": _stacked(list(counts.slices.values()), width),
        **{f"by_{over}": counts.by[over].astype(np.int32) for over in Over},
        **({f"sample_{name}": getattr(sample, name) for name in SAMPLE} if sample else {}),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_counts(path: Path) -> tuple[Frozen, Arrays, dict[str, Any]] | None:
    """What `to_bytes` wrote: counts, all arrays, header; None in another format. Raises BundleError if damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays["header"].tobytes())
        if (header["format"], header["groups"]) != (FORMAT, GROUPS):
            return None
        return _frozen(arrays, header), arrays, header
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} holds no counts ({error!r}); write it again, or move it away") from error


def _frozen(arrays: Arrays, header: dict[str, Any]) -> Frozen:
    parts = [(str(dimension), str(name)) for dimension, name in header["slices"]]
    wide = {name: arrays[name].astype(np.int64) for name in ("cell_counts", "slice_counts")}
    return Frozen(
        bins=tuple(_bins(raw) for raw in header["bins"]),
        by={over: arrays[f"by_{over}"].astype(np.int64) for over in Over},
        cells=dict(zip(arrays["cells"].tolist(), wide["cell_counts"], strict=True)),
        slices=dict(zip(parts, wide["slice_counts"], strict=True)),
        units=dict(zip(parts, header["slice_units"], strict=True)),
        feature_units=tuple(header["feature_units"]),
        users=header["users"],
        requests=header["requests"],
        rows=header["rows"],
    )


def _bins_text(bins: tuple[FeatureBins, ...]) -> str:
    names = ("feature", "origin", "kind", "default", "atoms", "edges", "centres", "categories")
    rows = [{name: without_nan(getattr(each, name)) for name in names} for each in bins]
    return json.dumps(rows, allow_nan=False)


def _bins(raw: dict[str, Any]) -> FeatureBins:
    lists = {name: tuple(raw[name]) for name in ("atoms", "edges", "centres", "categories")}
    default = np.nan if raw["default"] is None else raw["default"]
    return FeatureBins(raw["feature"], raw["origin"], Kind(raw["kind"]), default, **lists)


def _stacked(counts: list[npt.NDArray[np.int64]], width: int) -> npt.NDArray[np.int32]:
    return np.array(counts, np.int32).reshape(len(counts), width)
