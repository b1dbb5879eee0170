"""Exposures as training rows: who was shown what, when, in which context, and the outcome to predict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.errors import TrainingDataError
from feature_repo.workspace import Workspace
from materialization.events.store import EventStore, reading
from ranking_service.contract import Contract

LABELS = ("long_view", "completed", "click", "like")
DAY = timedelta(days=1)
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Split:
    """Training before `validate_from`, validation before `test_from`, test before `end`; UTC instants."""

    start: datetime
    validate_from: datetime
    test_from: datetime
    end: datetime

    @classmethod
    def by_days(
        cls,
        first: datetime,
        last: datetime,
        *,
        validate_days: int = 1,
        test_days: int = 3,
        skip_first: bool = True,
    ) -> Split:
        """Whole UTC days: the last `test_days` with events test, the `validate_days` before them validate.

        Training starts with the first full day, when the first snapshot exists; without `skip_first`, which is for
        rows that need none, with the day of `first`.
        """
        end = _midnight(last) + DAY
        test_from = end - test_days * DAY
        start = _midnight(first) + (DAY if skip_first else timedelta(0))
        split = cls(start, test_from - validate_days * DAY, test_from, end)
        if not split.start < split.validate_from:
            raise TrainingDataError(
                f"events of {(end - start).days} full days leave none to train on after {validate_days} for "
                f"validation and {test_days} for test; simulate more days, or shorten them"
            )
        return split

    def to_json(self) -> dict[str, str]:
        """ISO 8601 instants by name."""
        return {
            name: getattr(self, name).isoformat() for name in ("start", "validate_from", "test_from", "end")
        }


def _midnight(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class Labelled:
    """Rows in time order, with everything training and evaluation ask of them."""

    requests: pa.Table
    """exposure_id, request_id, user_id, item_id, request_timestamp, the request fields, label."""
    label: npt.NDArray[np.float64]
    """0 or 1, float64 [rows]."""

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Unix seconds of each exposure."""
        return np.asarray(self.requests.column("request_timestamp").to_numpy())

    def between(self, start: datetime, end: datetime) -> npt.NDArray[np.bool_]:
        """Mask of the rows in [start, end)."""
        return np.asarray((self.seconds >= start.timestamp()) & (self.seconds < end.timestamp()), np.bool_)

    def user_codes(self) -> npt.NDArray[np.int64]:
        """One number per user, int64 [rows]."""
        encoded = self.requests.column("user_id").combine_chunks().dictionary_encode()
        return np.asarray(encoded.indices.to_numpy(), np.int64)

    def user_day_codes(self) -> npt.NDArray[np.int64]:
        """One number per (user, UTC day), int64 [rows]: the lists that ranking is judged on."""
        days = (self.seconds // SECONDS_PER_DAY).astype(np.int64)
        return np.asarray(np.unique(self.user_codes() * 1_000_000 + days, return_inverse=True)[1], np.int64)


def labelled_exposures(
    workspace: Workspace, contract: Contract, *, label: str, start: datetime, end: datetime
) -> Labelled:
    """The exposures in [start, end), by time and exposure id. Raises TrainingDataError for an unusable label."""
    if label not in LABELS:
        raise TrainingDataError(f"label {label!r} is not one of {', '.join(LABELS)}")
    context = ", ".join(_request_column(field.name) for field in contract.request_fields)
    store = EventStore(workspace.events)
    with reading(store.root / "exposures"), duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        table = connection.sql(
            f"""SELECT exposure_id, request_id, user_id, item_id, {context}, "{label}"::DOUBLE AS label
            FROM read_parquet('{store.glob("exposures")}', hive_partitioning = false)
            WHERE event_timestamp >= $start AND event_timestamp < $end
            ORDER BY event_timestamp, exposure_id""",
            params={"start": start, "end": end},
        ).to_arrow_table()
    values = table.column("label").to_numpy()
    if not len(values) or values.min() == values.max():
        raise TrainingDataError(
            f"{len(values)} exposures between {start.isoformat()} and {end.isoformat()} have the same {label}; "
            "choose another label or period"
        )
    return Labelled(table, values)


def _request_column(name: str) -> str:
    """An exposure's column as the request field of that name."""
    if name == "request_timestamp":
        return "epoch_us(event_timestamp) / 1e6 AS request_timestamp"
    if name == "session_position":
        return "session_position::DOUBLE AS session_position"
    return f'"{name}"'
