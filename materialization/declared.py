"""The repository's declarations as plain values: the one place that reads Feast objects for our own steps."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureService, FeatureView, Field, OnDemandFeatureView
from feast.type_map import feast_value_type_to_pa

from feature_repo.errors import FeatureError
from feature_repo.workspace import FEATURE_REPO
from materialization.events.schemas import TIMESTAMP

SQL = FEATURE_REPO / "sql"
PRELUDE = SQL / "_prelude.sql"
EVENT_TIMESTAMP = "event_timestamp"
CREATED_TIMESTAMP = "created_timestamp"
Scalar = float | str
LONGEST_INTERVAL = timedelta(days=3660)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class BatchView:
    """A batch feature view as the build sees it."""

    view: FeatureView
    sql_path: Path

    @property
    def name(self) -> str:
        return str(self.view.name)

    @property
    def join_keys(self) -> list[str]:
        """As the view lists its entities; Feast itself knows them only once they are applied."""
        keys = {entity.name: str(entity.join_key) for entity in entities()}
        return [keys[name] for name in self.view.entities]

    @property
    def fields(self) -> list[Field]:
        return list(self.view.features)

    @property
    def cadence(self) -> timedelta:
        """How often a snapshot is wanted (tag `cadence`); zero takes whatever the build's grid offers."""
        return parse_interval(self.view.tags.get("cadence", "0h"))

    @property
    def schema(self) -> pa.Schema:
        """Of a built partition: keys, features, both timestamps."""
        keys = [pa.field(key, pa.string(), nullable=False) for key in self.join_keys]
        features = [pa.field(field.name, arrow_type(field)) for field in self.fields]
        stamps = [pa.field(name, TIMESTAMP, nullable=False) for name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP)]
        return pa.schema([*keys, *features, *stamps])

    def sql(self) -> str:
        """The view's query; raises FeatureError where there is none."""
        if not self.sql_path.is_file():
            raise FeatureError(
                f"view {self.name} has no query: expected {self.sql_path.name} in feature_repo/sql; write it"
            )
        return self.sql_path.read_text()

    def fingerprint(self) -> str:
        """Changes with the view's keys, fields, ttl, query and the shared prelude; not with comments or spacing."""
        fields = [(field.name, str(field.dtype), field.tags.get("default")) for field in self.fields]
        ttl = self.view.ttl.total_seconds() if self.view.ttl else 0
        queries = [canonical_sql(self.sql()), canonical_sql(PRELUDE.read_text())]
        return digest([self.name, self.join_keys, fields, ttl, *queries])


def canonical_sql(sql: str) -> str:
    """The query without comments, spacing made single; quoted text stays as it is."""
    quoted_or_blank = r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|(?:--[^\n]*|/\*.*?\*/|\s)+"""
    return re.sub(quoted_or_blank, lambda match: match[1] or " ", sql, flags=re.DOTALL).strip()


def arrow_type(field: Field) -> pa.DataType:
    """The Arrow type a partition stores the field in."""
    return feast_value_type_to_pa(field.dtype.to_value_type())


def parse_default(declared: Field) -> Scalar:
    """The `default` tag as a value of the field's type; raises FeatureError where it is unusable."""
    text = declared.tags.get("default")
    if text is None:
        raise FeatureError(f"{declared.name} declares no default; give its field the tag `default`")
    value_type = declared.dtype.to_value_type().name
    if value_type == "STRING" or value_type.endswith("_LIST"):
        return str(text)
    try:
        return float(text)
    except ValueError:
        raise FeatureError(f"{declared.name}: default {text!r} is not a number; write one, or nan") from None


def digest(parts: Sequence[Any]) -> str:
    """Short stable hash of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def parse_interval(text: str) -> timedelta:
    """`6h`, `30m` or `1d`, at most ten years; raises FeatureError on anything else."""
    match = re.fullmatch(r"(\d{1,9})([mhd])", text)
    if match is None:
        raise FeatureError(f"interval {text!r} is not a whole number and m, h or d, such as 6h")
    interval = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if interval > LONGEST_INTERVAL:
        raise FeatureError(f"interval {text!r} is longer than {LONGEST_INTERVAL.days}d; take a shorter one")
    return interval


def declared_objects() -> dict[str, Any]:
    """Every object `feast apply` would register, by module-level name."""
    from feature_repo import definitions

    return {name: getattr(definitions, name) for name in definitions.__all__}


def batch_views() -> list[BatchView]:
    """All batch views, by name."""
    views = [value for value in declared_objects().values() if isinstance(value, FeatureView)]
    return sorted((BatchView(view, SQL / f"{view.name}.sql") for view in views), key=lambda view: view.name)


def entities() -> list[Entity]:
    """All entities, by name."""
    found = [value for value in declared_objects().values() if isinstance(value, Entity)]
    return sorted(found, key=lambda entity: str(entity.name))


def services() -> list[FeatureService]:
    """All feature services, by name."""
    found = [value for value in declared_objects().values() if isinstance(value, FeatureService)]
    return sorted(found, key=lambda service: str(service.name))


def on_demand_views() -> list[OnDemandFeatureView]:
    """All request-time views, by name."""
    found = [value for value in declared_objects().values() if isinstance(value, OnDemandFeatureView)]
    return sorted(found, key=lambda view: str(view.name))
