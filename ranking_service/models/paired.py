"""Two bundles' scores of the same requests, from the shadow log or by replaying the serving log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.errors import EventDataError

Floats = npt.NDArray[np.float64]
KEYS = ("request_id", "user_id", "item_id")


@dataclass(frozen=True)
class Paired:
    """Rows are candidates, those of a request side by side in its order."""

    versions: tuple[str, str]
    source: str
    """For a person: where the scores come from."""
    starts: npt.NDArray[np.int64]
    """int64 [requests + 1]: the rows of request i are starts[i]:starts[i + 1]."""
    requests: pa.Table
    """A row per request: request_id, user_id, surface, device."""
    item_ids: pa.ChunkedArray
    """[rows]"""
    scores: tuple[Floats, Floats]
    """float64 [rows] each."""
    micros: tuple[Floats, Floats]
    """Microseconds each took to score a request; float64 [requests], NaN where unknown."""
    label: Floats
    """The outcome, 0 or 1; NaN where the item was not shown. float64 [rows]."""
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Requests."""
        return len(self.requests)

    def request_of_row(self) -> npt.NDArray[np.int64]:
        """int64 [rows]"""
        return np.repeat(np.arange(self.count), np.diff(self.starts))

    def with_labels(self, exposures: pa.Table) -> Paired:
        """With the outcomes of `exposures` (request_id, user_id, item_id, label) that belong to these requests."""
        ids = self.requests.select(["request_id", "user_id"]).take(pa.array(self.request_of_row()))
        rows = ids.append_column("item_id", self.item_ids).append_column(
            "row", pa.array(np.arange(self.starts[-1]))
        )
        found = exposures.group_by(list(KEYS)).aggregate([("label", "max")])
        joined = rows.join(found, list(KEYS)).sort_by("row")
        label = joined["label_max"].cast(pa.float64()).to_numpy()
        return replace(self, label=np.asarray(label, np.float64))


def paired_from_shadow(folder: Path, first: str, second: str, *, sample: int) -> Paired | None:
    """The newest `sample` requests that one of the two answered and the other scored beside; None without any.

    Raises EventDataError for a damaged file.
    """
    parts: list[pa.Table] = []
    for path in sorted(folder.glob("*.parquet"), reverse=True):
        parts.insert(0, _of_pair(_read(path), first, second))
        if sum(_request_count(part) for part in parts) >= sample:
            break
    rows = pa.concat_tables(parts) if parts else None
    if rows is None or not len(rows):
        return None
    starts = np.append(np.flatnonzero(rows["position"].to_numpy() == 0), len(rows))
    starts = starts[-sample - 1 :]
    rows = rows.slice(starts[0])
    heads = rows.take(pa.array(starts[:-1] - starts[0]))
    return Paired(
        versions=(first, second),
        source="shadow log",
        starts=starts - starts[0],
        requests=heads.select(["request_id", "user_id", "surface", "device"]),
        item_ids=rows["item_id"],
        scores=(_floats(rows["first"]), _floats(rows["second"])),
        micros=(_floats(heads["first_micros"]), _floats(heads["second_micros"])),
        label=np.full(len(rows), np.nan),
    )


def _of_pair(table: pa.Table, first: str, second: str) -> pa.Table:
    """Rows of the two, whichever of them answered, with the columns of each under its own name."""
    parts = []
    for served, beside, prefixes in ((first, second, ("", "shadow_")), (second, first, ("shadow_", ""))):
        chosen = table.filter(
            pc.and_(pc.equal(table["bundle_version"], served), pc.equal(table["shadow_version"], beside))
        )
        for name, prefix in zip(("first", "second"), prefixes, strict=True):
            chosen = chosen.append_column(name, chosen[f"{prefix}score"])
            chosen = chosen.append_column(f"{name}_micros", chosen[f"{prefix}score_micros"])
        parts.append(chosen)
    return pa.concat_tables(parts)


def _request_count(rows: pa.Table) -> int:
    return int(np.count_nonzero(rows["position"].to_numpy() == 0))


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise EventDataError(f"{path} is damaged ({error}); move it away") from error


def joined(parts: Sequence[Paired]) -> Paired:
    """Several of the same two bundles as one; a note that repeats stands once."""
    first = parts[0]
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    return replace(
        first,
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        requests=pa.concat_tables([part.requests for part in parts]),
        item_ids=pa.chunked_array([chunk for part in parts for chunk in part.item_ids.chunks], pa.string()),
        scores=_both([part.scores for part in parts]),
        micros=_both([part.micros for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _both(parts: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
