"""A skew report as JSON, and back: every field of `SkewReport` under its own name.

Instants are ISO 8601 in UTC, the outcome and all enumerations are words, missing is null. A number that JSON does not
have is an object: {"float": "nan"}, {"float": "inf"} or {"float": "-inf"}. `docs/skew-report.schema.json` is this
format as JSON Schema (`skew_checks.formats.json_schema`). Fields are added, never renamed: a reader ignores those it
does not know, and one that is missing has its default.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum, IntEnum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from feature_repo.errors import ReportError
from skew_checks.formats.first_schema import from_first_schema
from skew_checks.result.report import SCHEMA, SkewReport

NOT_FINITE = "float"
"""The one key of an object that stands for a number."""

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: from_first_schema}
"""Schema version to what makes the next version's dict of its own."""


def to_json(report: SkewReport) -> dict[str, Any]:
    """Plain JSON values, with "schema" and "exit_code" in front."""
    content: dict[str, Any] = plain(report)
    return {"schema": SCHEMA, "exit_code": report.exit_code, **content}


def from_json(content: Any) -> SkewReport:
    """The report that `to_json` took apart, of this schema version, an older or a newer one.

    Of a newer one, what is not known here is left out. Raises ReportError, with the place, for anything else.
    """
    if not isinstance(content, dict):
        raise ReportError(f"a skew report is a JSON object, not {_kind(content)}")
    version = content.get("schema", 0)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise ReportError(f"schema: expected a whole number from 0 on, found {version!r:.60}")
    for step in range(version, SCHEMA):
        content = UPGRADES[step](content)
    report = _read(SkewReport, content, "report")
    assert isinstance(report, SkewReport)
    return report


def dumps(report: SkewReport) -> str:
    """JSON text of `to_json`."""
    return json.dumps(to_json(report), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def loads(text: str) -> SkewReport:
    """The report of JSON text. Raises ReportError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"no JSON: {error}") from error
    return from_json(content)


def plain(value: Any) -> Any:
    """Anything that a report holds as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return _in_utc(value).isoformat()
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {NOT_FINITE: str(value)}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _in_utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _read(kind: Any, value: Any, place: str) -> Any:
    """A value of the type from plain JSON."""
    if kind is Any:
        return _read_any(value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_fields(kind, _of(dict, value, place), place)
    if get_origin(kind) in (Union, types.UnionType):
        (inner,) = [one for one in get_args(kind) if one is not type(None)]
        return None if value is None else _read(inner, value, place)
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), _of(list, value, place), place)
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return {key: _read(inner, one, f"{place}.{key}") for key, one in _of(dict, value, place).items()}
    return _read_scalar(kind, value, place)


def _read_fields(kind: type, content: dict[str, Any], place: str) -> Any:
    given = {}
    for name, (inner, is_needed) in _fields(kind).items():
        if name in content:
            given[name] = _read(inner, content[name], f"{place}.{name}")
        elif is_needed:
            raise ReportError(f"{place}.{name} is missing")
    return kind(**given)


@cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Name to type, and whether it must be there."""
    hints = get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    }


def _read_tuple(kinds: tuple[Any, ...], values: list[Any], place: str) -> tuple[Any, ...]:
    if kinds[-1] is not Ellipsis and len(values) != len(kinds):
        raise ReportError(f"{place}: expected {len(kinds)} values, found {len(values)}")
    every = (kinds[0],) * len(values) if kinds[-1] is Ellipsis else kinds
    return tuple(
        _read(kind, value, f"{place}[{index}]")
        for index, (kind, value) in enumerate(zip(every, values, strict=True))
    )


def _read_scalar(kind: Any, value: Any, place: str) -> Any:
    if kind is float:
        value = _read_any(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    if kind is datetime:
        return _read_instant(_of(str, value, place), place)
    if issubclass(kind, Enum):
        return _read_word(kind, _of(str, value, place), place)
    return _of(kind, value, place)


def _read_word(kind: type[Enum], word: str, place: str) -> Enum:
    words = {plain(member): member for member in kind}
    if word not in words:
        raise ReportError(
            f"{place}: {word!r:.60} is none of {', '.join(words)}; was it written by a newer Marquee?"
        )
    return words[word]


def _read_instant(text: str, place: str) -> datetime:
    try:
        return _in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise ReportError(f"{place}: {text!r:.60} is no ISO 8601 instant") from error


def _read_any(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {NOT_FINITE} and value[NOT_FINITE] in ("nan", "inf", "-inf"):
            return float(value[NOT_FINITE])
        return {key: _read_any(inner) for key, inner in value.items()}
    return [_read_any(inner) for inner in value] if isinstance(value, list) else value


def _of(kind: type, value: Any, place: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ReportError(f"{place}: expected {kind.__name__}, found {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return "nothing (null)" if value is None else type(value).__name__
