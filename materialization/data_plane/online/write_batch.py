"""What Feast gives an online store to write, as packed rows and their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig

from feature_repo.errors import FeatureError
from materialization.data_plane.rows.entities import columns_of_keys, encoded_columns, located
from materialization.data_plane.rows.layout import NO_TIME, Layout
from materialization.data_plane.rows.values import pack_row
from materialization.data_plane.rows.view_layout import key_types, keys_of, layout_of

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
DataRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""Entity, values by feature, event time, created time; a naive time is UTC."""


@dataclass(frozen=True)
class Batch:
    """Rows of one view, ready to be written."""

    join_keys: tuple[str, ...]
    layout: Layout
    keys: list[bytes]
    fields: list[bytes] | None
    rows: list[bytes]

    @classmethod
    def of(cls, config: RepoConfig, view: Any, data: Sequence[DataRow]) -> Batch:
        """`data` has at least one row. Raises EntityError, FeatureError."""
        columns = columns_of_keys([key for key, *_ in data])
        view_keys, layout = keys_of(config, view, sorted(columns)), layout_of(view)
        keys, fields = located(view_keys, encoded_columns(view_keys, columns, key_types(view)))
        rows = [
            pack_row(layout, values, event=_event(view, event), created=_micros(created, missing=NO_TIME))
            for _, values, event, created in data
        ]
        return cls(view_keys.join_keys, layout, keys, fields, rows)


def _event(view: Any, event: datetime | None) -> int:
    micros = _micros(event, missing=NO_TIME)
    if micros == NO_TIME:
        raise FeatureError(f"view {view.name}: a row has no event time ({event!r}); every row needs one")
    return micros


def _micros(moment: datetime | None, *, missing: int) -> int:
    """Microseconds since 1970 UTC; pandas' NaT, which is not equal to itself, counts as missing."""
    if moment is None or moment != moment:
        return missing
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int((aware - EPOCH) // MICROSECOND)
