"""Which key types may be compared, and how: by value, never by a cast that makes different keys equal."""

from __future__ import annotations

NARROW = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
INTEGERS = NARROW | {"UBIGINT", "HUGEINT"}
FLOATS = frozenset({"FLOAT", "DOUBLE"})
EXACT_FLOAT = 2**53
"""From here on a float no longer tells neighbouring integers apart."""

Comparison = tuple[str, str]
"""SQL for the left and the right side, `{}` standing for the column."""


def comparison(left: str, right: str) -> Comparison | None:
    """How to compare keys of two DuckDB types; None where they have nothing in common.

    Integers of any width compare with each other, with decimals and with floats that hold whole numbers (pandas
    makes floats of integers with gaps); text with text; instants with instants; anything with its own type.
    """
    if "NULL" in (left, right):
        kind = "INTEGER" if left == right else left if right == "NULL" else right
        return f"{{}}::{kind}", f"{{}}::{kind}"
    families = {_family(left), _family(right)}
    if families == {"float"}:
        return "{}::DOUBLE", "{}::DOUBLE"
    if families <= {"integer", "float"}:
        kind = "BIGINT" if {left, right} <= NARROW | FLOATS else "HUGEINT"
        return _as_integer(left, kind), _as_integer(right, kind)
    if families <= {"integer", "decimal"}:
        kind = f"DECIMAL(38,{max(_scale(left), _scale(right))})"
        return f"TRY_CAST({{}} AS {kind})", f"TRY_CAST({{}} AS {kind})"
    if families == {"text"}:
        return "{}::VARCHAR", "{}::VARCHAR"
    if families == {"instant"}:
        kind = "TIMESTAMPTZ_NS" if left.endswith("_NS") or right.endswith("_NS") else "TIMESTAMPTZ"
        return f"{{}}::{kind}", f"{{}}::{kind}"
    return ("{}", "{}") if left == right else None


def is_float(kind: str) -> bool:
    return kind in FLOATS


def _family(kind: str) -> str:
    if kind in INTEGERS:
        return "integer"
    if kind in FLOATS:
        return "float"
    if kind.startswith("DECIMAL"):
        return "decimal"
    if kind == "VARCHAR" or kind.startswith("ENUM"):
        return "text"
    return "instant" if kind.startswith("TIMESTAMP") else kind


def _as_integer(kind: str, wanted: str) -> str:
    if kind in FLOATS:
        return f"CASE WHEN {{0}} = trunc({{0}}) AND abs({{0}}) < {EXACT_FLOAT} THEN {{0}}::{wanted} END"
    return "{}" if kind == wanted else f"{{}}::{wanted}"


def _scale(kind: str) -> int:
    return int(kind.partition(",")[2].strip(" )") or 0) if kind.startswith("DECIMAL") else 0
