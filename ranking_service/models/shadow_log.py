"""What two bundles made of the same requests, as parquet files of a row per candidate.

request_id, user_id, surface, device, request_timestamp (Unix seconds), level
bundle_version, shadow_version           who answered, and who scored beside
item_id, position                        in the request
score, rank, shadow_score, shadow_rank   rank 0 is best; equal scores keep the request's order
assemble_micros, score_micros, shadow_assemble_micros, shadow_score_micros    of the whole request
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ranking_service.online.ranker import Ranking

MOST_ROWS = 100_000
"""Candidate rows kept in memory before they are written."""
NAME_TIME = "%Y%m%dT%H%M%S"
STAGES = ("assemble", "score")


@dataclass(frozen=True)
class ShadowedRanking:
    """One request, scored twice."""

    ranking: Ranking
    shadow_version: str
    scores: npt.NDArray[np.float32]
    """float32 [candidates], in the request's order."""
    micros: Mapping[str, int]
    """By stage."""
    at: float
    """Unix seconds when it was scored."""


@dataclass
class ShadowLog:
    """Belongs to one thread; any number of processes may write to one folder."""

    folder: Path
    segment_seconds: float
    keep_days: float
    """Older files are deleted; 0 keeps them."""
    _waiting: list[pa.Table] = field(default_factory=list)
    _rows: int = 0
    _since: float = 0.0

    @property
    def waiting(self) -> int:
        """Requests not yet written."""
        return len(self._waiting)

    def take(self, entry: ShadowedRanking) -> None:
        """Keep a request for the next file."""
        if not self._waiting:
            self._since = entry.at
        self._waiting.append(table_of(entry))
        self._rows += len(entry.scores)

    def is_due(self, now: float) -> bool:
        """Whether what waits should be written; `now` in Unix seconds."""
        return bool(self._waiting) and (
            self._rows >= MOST_ROWS or now - self._since >= self.segment_seconds or now < self._since
        )

    def write(self, now: float) -> Path | None:
        """A file with all that waits, which then waits no longer; None when nothing does.

        Raises OSError or pa.ArrowException; what waited is then gone.
        """
        tables, self._waiting, self._rows = self._waiting, [], 0
        if not tables:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        begun = datetime.fromtimestamp(now, UTC)
        path = self.folder / f"{begun:{NAME_TIME}}-{os.getpid()}-{secrets.token_hex(4)}.parquet"
        partial = path.with_suffix(".partial")
        try:
            pq.write_table(pa.concat_tables(tables), partial, compression="zstd")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self._delete_older(now)
        return path

    def _delete_older(self, now: float) -> None:
        if not self.keep_days:
            return
        limit = f"{datetime.fromtimestamp(now - self.keep_days * 86_400, UTC):{NAME_TIME}}"
        for path in self.folder.glob("*.parquet"):
            if path.name < limit:
                with suppress(OSError):
                    path.unlink()


def table_of(entry: ShadowedRanking) -> pa.Table:
    """A row per candidate, in the request's order."""
    ranking, request = entry.ranking, entry.ranking.request
    count = len(entry.scores)
    once: dict[str, tuple[object, pa.DataType]] = {
        "request_id": (request.request_id, pa.string()),
        "user_id": (request.user_id, pa.string()),
        "surface": (request.surface, pa.string()),
        "device": (request.device, pa.string()),
        "request_timestamp": (request.request_timestamp, pa.float64()),
        "level": (ranking.level, pa.int8()),
        "bundle_version": (ranking.bundle_version, pa.string()),
        "shadow_version": (entry.shadow_version, pa.string()),
    }
    for name, micros in (("", ranking.micros), ("shadow_", entry.micros)):
        once |= {f"{name}{stage}_micros": (micros.get(stage), pa.int32()) for stage in STAGES}
    columns = {name: pa.repeat(pa.scalar(value, kind), count) for name, (value, kind) in once.items()}
    columns |= {
        "item_id": pa.array(request.candidate_ids, pa.string()),
        "position": pa.array(np.arange(count, dtype=np.int32)),
        "score": pa.array(ranking.scores, pa.float32()),
        "rank": pa.array(ranks(ranking.order)),
        "shadow_score": pa.array(entry.scores, pa.float32()),
        "shadow_rank": pa.array(ranks(np.argsort(-entry.scores, kind="stable"))),
    }
    return pa.table(columns)


def ranks(order: Sequence[int] | npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """int32 [candidates]: the place of each in `order`."""
    found = np.empty(len(order), np.int32)
    found[order] = np.arange(len(order), dtype=np.int32)
    return found
