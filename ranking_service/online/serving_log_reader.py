"""Reads the serving log back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.errors import MissingInputError
from ranking_service.online.serving_log import CANDIDATES, REQUESTS


def read_log(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Requests and candidates of every whole segment, oldest first; columns as `serving_log_tables` says.

    Segments of different bundles may differ in columns; those a segment lacks are null there. Raises
    MissingInputError when there is no segment.
    """
    names = sorted(path.name for path in (folder / REQUESTS).glob("*.parquet"))
    if not names:
        raise MissingInputError(f"no serving log in {folder}; `marquee serve` writes one")
    requests, candidates = (
        pa.concat_tables([pq.read_table(folder / kind / name) for name in names], promote_options="default")
        for kind in (REQUESTS, CANDIDATES)
    )
    return requests, candidates


def read_bundle_log(folder: Path, bundle_version: str) -> tuple[pa.Table, pa.Table]:
    """The same, of one bundle's requests only."""
    requests, candidates = read_log(folder)
    kept = requests.filter(pc.equal(requests["bundle_version"], bundle_version))
    return kept, candidates.filter(pc.is_in(candidates["served_id"], kept["served_id"].combine_chunks()))
